"""Progress of long tasks: a bar on a terminal, lines elsewhere, nothing where it is not shown."""

from __future__ import annotations

import math
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from earsight.plain import plain_full

if TYPE_CHECKING:
    from earsight.tasks.training.history import Epoch


_LINE_S = 60.0
"""Seconds between lines, where there is no bar."""


class Progress:
    """Use as a context manager. shown: False prints nothing. Prints to standard error, since standard output has
    results. warnings: all that ``warn`` was called with."""

    def __init__(self, *, shown: bool = True) -> None:
        self.warnings: list[str] = []
        self._console = Console(stderr=True, quiet=not shown, highlight=False)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._scale = 1
        self._what, self._next_line_s = "", 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        self._console.print("\n".join(map(plain_full, line.split("\n"))), markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """As ``say``, and kept in ``warnings``."""
        self.warnings.append(text)
        self.say(f"warning: {text}")

    def start(self, what: str, total: int, done: int = 0, *, in_bytes: bool = False) -> None:
        """Begin a bar of ``total`` steps (or bytes, shown in MB) in place of the last one."""
        self._epochs = 0
        self._what, self._next_line_s = what, monotonic() + _LINE_S
        self._scale = 1_000_000 if in_bytes else 1
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(what, total=total, completed=done, facts="")

    def advance(self, done: int, total: int, facts: str = "") -> None:
        if self._bar is not None and self._task is not None:
            facts = facts or ("MB" if self._scale > 1 else "")
            self._bar.update(self._task, completed=done // self._scale, total=total // self._scale, facts=facts)
        elif done < total and monotonic() >= self._next_line_s:
            self._next_line_s = monotonic() + _LINE_S
            unit = " MB" if self._scale > 1 else ""
            self.say(f"{self._what}: {done // self._scale} of {total // self._scale}{unit}  {facts}".rstrip())

    def start_training(self, epochs: int, steps: int, done_epochs: int) -> None:
        self.start("training", epochs * steps, done_epochs * steps)
        self._epochs = epochs

    def step(self, epoch: int, step: int, steps: int, loss: float, accuracy: float, clips_per_s: float) -> None:
        facts = f"epoch {epoch}/{self._epochs}  loss {loss:.3f}  acc {accuracy:.3f}  {clips_per_s:.0f} clips/s"
        self.advance((epoch - 1) * steps + step, self._epochs * steps, facts)

    def epoch(self, row: Epoch, *, kept: bool) -> None:
        held_out = ""
        if not math.isnan(row.chosen_by):
            name = "UAR" if math.isnan(row.valid_map) else "mAP"
            held_out = f"  valid acc {row.valid_accuracy:.3f} {name} {row.chosen_by:.3f}"
        left_s = row.seconds * (self._epochs - row.epoch)
        left = f"  {left_s / 60:.0f} min left" if left_s >= 90 else f"  {left_s:.0f} s left" if left_s else ""
        self.say(
            f"epoch {row.epoch:3}/{self._epochs}  loss {row.train_loss:.3f}  acc {row.train_accuracy:.3f}{held_out}"
            f"  {row.clips_per_s:.0f} clips/s{left}{'  *' if kept and held_out else ''}"
        )
