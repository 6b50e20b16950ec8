"""Thresholds on the probability of the rarer of two classes by their false alarm rate: chosen on validation clips,
counted on test clips."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from earsight.scores.metrics import rarer_class
from earsight.scores.predictions import Predictions
from earsight.scores.ranking import Bools, Floats

SHARES = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Tally:
    """found: how many of the ``of`` clips with the label. alarms: how many of the ``others`` were taken for it."""

    found: int
    of: int
    alarms: int
    others: int

    @property
    def recall(self) -> float | None:
        return self.found / self.of if self.of else None

    @property
    def false_alarms(self) -> float | None:
        return self.alarms / self.others if self.others else None


@dataclass(frozen=True)
class AlarmThreshold:
    """label is answered where its probability is ``threshold`` or more. at_most: the false alarm rate that was allowed
    among the clips of ``fitted``. tested: the result on others."""

    label: str
    at_most: float
    threshold: float
    fitted: Tally
    tested: Tally

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def alarm_thresholds(
    fitted: Predictions, tested: Predictions, shares: Sequence[float] = SHARES
) -> tuple[AlarmThreshold, ...]:
    """For each share, the lowest threshold with at most that false alarm rate among the clips of ``fitted``; none where
    the share is less than one clip, and none at all unless there are two classes."""
    number = rarer_class(fitted)
    if number is None:
        return ()
    truth, score = fitted.truth[fitted.known] == number, fitted.probabilities[fitted.known, number]
    found = []
    for share in shares:
        threshold = lowest_threshold(truth, score, share)
        if threshold is not None:
            tallies = (tally(one, number, threshold) for one in (fitted, tested))
            found.append(AlarmThreshold(fitted.labels[number], share, threshold, *tallies))
    return tuple(found)


def lowest_threshold(truth: Bools, score: Floats, share: float) -> float | None:
    """About halfway between the highest score that must stay below it and the next one, in few digits. None where the
    share is less than one clip, or a score that must stay below is 1. truth: bool [clips]. score: float64 [clips] in
    [0, 1]."""
    others = -np.sort(-score[~truth])
    allowed = int(np.floor(share * len(others) + 1e-9))
    if not 0 < allowed < len(others):
        return None
    left_out = float(others[allowed])
    above = float(score[score > left_out].min(initial=1.0))
    typed = (float(f"{(left_out + above) / 2:.{digits}g}") for digits in range(2, 18))
    return next((one for one in typed if left_out < one <= above), None)


def tally(answers: Predictions, number: int, threshold: float) -> Tally:
    """For class ``number``; clips of unknown truth don't count."""
    has = answers.truth[answers.known] == number
    given = answers.probabilities[answers.known, number] >= threshold
    return Tally(int((has & given).sum()), int(has.sum()), int((~has & given).sum()), int((~has).sum()))
