"""The epochs of a training, and which of them is kept. Free of torch."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from earsight.files import write_atomic


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv. Accuracies, UAR and mAP in [0, 1]; losses in nats. valid_uar is for one label a clip,
    valid_map for several, the other is NaN; both are NaN where nothing is held out. valid_error: standard error of the
    one that is set."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    valid_uar: float
    seconds: float
    clips_per_s: float
    valid_map: float = math.nan
    valid_error: float = 0.0

    @property
    def chosen_by(self) -> float:
        """The validation score by which an epoch is kept; NaN where nothing is held out."""
        return self.valid_uar if math.isnan(self.valid_map) else self.valid_map


def kept_epoch(history: Sequence[Epoch]) -> int:
    """The latest epoch whose validation score is within one standard error of the best one; the last one where nothing
    is held out. docs/decisions/0010-the-kept-epoch.md

    A later epoch is either chosen itself, or leaves best and choice as they are; an epoch that was passed over is never
    chosen later. So keeping one network at a time is enough.
    """
    best = max(history, key=lambda row: (row.chosen_by, row.epoch))
    enough = best.chosen_by - best.valid_error
    return max((row.epoch for row in history if row.chosen_by >= enough), default=len(history))


@dataclass
class TrainingProgress:
    """The state of a training without tensors. best_epoch: of ``kept_epoch``. mean_of_epochs: epochs whose mean weights
    are kept instead; [] for none."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    mean_of_epochs: list[int] = field(default_factory=list)
    interrupted: bool = False

    @property
    def scores(self) -> list[float]:
        """``chosen_by`` of each epoch."""
        return [row.chosen_by for row in self.history]

    @property
    def kept(self) -> str:
        """The kept epoch or epochs in words."""
        several = ", ".join(map(str, self.mean_of_epochs))
        return f"the mean of epochs {several}" if several else str(self.best_epoch)


def _cell(value: float) -> str:
    """A number as text; "" for NaN."""
    return str(value) if isinstance(value, int) else f"{value:.6g}" if math.isfinite(value) else ""


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write history.csv, one row an epoch."""
    text = io.StringIO()
    # Of mAP and UAR the one that the task has; UAR where nothing is held out.
    other = "valid_map" if all(math.isnan(row.valid_map) for row in history) else "valid_uar"
    columns = [name for name in Epoch.__dataclass_fields__ if name != other]
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in asdict(row).items()} for row in history)
    write_atomic(path, text.getvalue())
