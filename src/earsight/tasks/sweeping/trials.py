"""What came of a sweep: its trials, and the best of them. Free of Optuna."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from earsight.tasks.recipe import Recipe

TABLE_NAME = "sweep.csv"
FEWEST_FOR_IMPORTANCE = 10
State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One recipe that was tried. number: from 1. value: validation score in [0, 1], of a pruned trial the one that it
    had reached; None where it failed. values: settings by their dotted names. reason: why it failed."""

    number: int
    state: State
    value: float | None
    values: Mapping[str, Any]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class SweepResult:
    """out: the folder. trials: those that have ended, in order. best: the best complete trial; None where none is
    complete. recipe: that of ``best``. importance: setting → its share in the difference between good trials and the
    others, summing to 1; empty where there are too few trials. measure: name of the values, UAR, or mAP where clips
    have several labels. sentence, caveat: for a reader."""

    out: Path
    trials: tuple[Trial, ...]
    best: Trial | None
    recipe: Recipe | None
    importance: Mapping[str, float]
    measure: str
    sentence: str
    caveat: str
    interrupted: bool
