"""A network answers in eval mode, whatever mode it is in, and by several threads at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_lock = threading.Lock()
_users: dict[nn.Module, int] = {}
"""Modules that are in training mode for their owner, and how many answers they are needed for in eval mode now."""


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and in its own again when the last of the answers is there that threads ask for at the
    same time. A module that was in eval mode (frozen batch norm, say) stays so."""
    with _lock:  # not held while the network answers: threads need not wait for each other
        learning = [module for module in network.modules() if module.training or module in _users]
        for module in learning:
            _users[module] = _users.get(module, 0) + 1
            module.training = False  # and not train(): a network may have its own, which changes more
    try:
        yield
    finally:
        with _lock:
            for module in learning:
                _users[module] -= 1
                if not _users[module]:
                    del _users[module]
                    module.training = True
