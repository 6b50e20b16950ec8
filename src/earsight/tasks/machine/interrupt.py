"""Signals: Ctrl-C deferred to the end of a step, and clean-up on SIGTERM."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only sets a flag; call what is yielded, where work may end, to ask for it. A second
    Ctrl-C raises KeyboardInterrupt at once, and so does the end of the block after a first one, unless it ends by an
    exception.

    By default Python raises KeyboardInterrupt anywhere, also in a finaliser or a callback from C, where it is printed
    and lost. Has no effect outside of the main thread, where signals can't be handled.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:  # it came after the last check
        raise KeyboardInterrupt


@contextmanager
def closed_on_sigterm() -> Iterator[None]:
    """On SIGTERM, or SIGHUP of a closed terminal, context managers inside are exited before the process ends by the
    signal. By default these signals end Python at once, and temporary folders stay. Has no effect outside of the main
    thread."""
    came: list[int] = []

    def leave(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # A signal that is ignored (nohup) stays ignored.
    before = {number: was for number in numbers if (was := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
        if came:
            signal.raise_signal(came[0])
