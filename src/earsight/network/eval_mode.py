"""Eval mode for the time of an answer, also where several threads ask at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_lock = threading.Lock()
_users: dict[nn.Module, int] = {}
"""Module that its owner has in training mode → how many answers now need it in eval mode."""


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode. When the last of several concurrent answers has left, modules that were in
    training mode are again; those that were not (frozen batch norm, say) stay in eval mode."""
    with _lock:  # released while the network answers, so that threads don't wait for each other
        learning = [module for module in network.modules() if module.training or module in _users]
        for module in learning:
            _users[module] = _users.get(module, 0) + 1
            module.training = False  # not train(False): a network may override it to change more
    try:
        yield
    finally:
        with _lock:
            for module in learning:
                _users[module] -= 1
                if not _users[module]:
                    del _users[module]
                    module.training = True
