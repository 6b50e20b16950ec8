"""Ctrl-C between two steps, and not in the middle of one; SIGTERM so that what is open is closed."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C is only noted: ask what is yielded where the work may end. A second one raises
    KeyboardInterrupt at once, and so does the end of the block where one was noted and nothing else was raised.

    Python raises KeyboardInterrupt wherever it happens to be, also in a finaliser or a callback from C, where it is
    printed and forgotten. In a thread other than the main one signals can't be handled, and nothing changes.
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
    if asked:  # after the last time that anybody looked
        raise KeyboardInterrupt


@contextmanager
def closed_on_sigterm() -> Iterator[None]:
    """Where SIGTERM comes inside, or SIGHUP, as of a terminal that is closed, what was opened inside is closed before
    the process ends by it; by itself it ends Python at once, and temporary folders stay. In a thread other than the
    main one nothing changes."""
    came: list[int] = []

    def leave(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # One that is ignored, as nohup has it, stays so.
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
