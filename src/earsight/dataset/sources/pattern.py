"""--group-pattern: the group of a clip from its path."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from earsight.dataset.clip import DataSet
from earsight.errors import DataError, SettingsError

_TIMEOUT_S = 5.0
_TIMEOUT_PER_CLIP_S = 1e-4  # a hundred times as long as a usual pattern takes


def regroup(dataset: DataSet, root: Path, pattern: str) -> DataSet:
    """Set the group of each clip to what ``pattern`` finds in its path, relative to ``root`` where it is below. Raises
    SettingsError where it is no pattern or takes too long, DataError where a path has no match."""
    try:
        form = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"--group-pattern {pattern!r} is not a regular expression: {error}") from error
    clips, missed = [], []
    with _time_limit(pattern, _TIMEOUT_S + _TIMEOUT_PER_CLIP_S * len(dataset.clips)):
        for clip in dataset.clips:
            name = _relative_name(str(clip.path), root)
            found = form.search(name)
            group = found and (found[1] if form.groups else found[0])
            if group:
                clips.append(clip._replace(group=group))
            else:
                missed.append(name)
    if missed:
        shown = ", ".join(missed[:10]) + (" …" if len(missed) > 10 else "")
        raise DataError(
            f"--group-pattern {pattern!r} finds no group in {len(missed)} of {len(dataset.clips)} names: {shown}; "
            "fix the pattern"
        )
    return replace(dataset, clips=tuple(clips), group_name="group")


def _relative_name(path: str, root: Path) -> str:
    """The path relative to ``root`` where it is below, with / between its parts."""
    top = "" if str(root) == "." else f"{root}{os.sep}".replace(os.sep * 2, os.sep)
    if os.path.isabs(path) and not os.path.isabs(top):  # noqa: PTH117 (a path object a clip would cost seconds)
        top = f"{os.path.abspath(top)}{os.sep}".replace(os.sep * 2, os.sep)  # noqa: PTH100
    return path.removeprefix(top).replace(os.sep, "/")


@contextmanager
def _time_limit(pattern: str, seconds: float) -> Iterator[None]:
    """Raise SettingsError after so many seconds of CPU time: a pattern such as (a+)+b can backtrack for years.

    By a process timer, which only the main thread of a Unix process can use; elsewhere there is no limit.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> None:
        raise SettingsError(
            f"--group-pattern {pattern!r} took longer than {seconds:.0f} s; if it has a repetition within a repetition "
            "such as (a+)+, write it with one"
        )

    before = signal.signal(signal.SIGVTALRM, give_up)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before or signal.SIG_DFL)
