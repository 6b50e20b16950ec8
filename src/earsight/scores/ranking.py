"""Clips ranked by the probability of one class: what each threshold on it finds. Tests compare with scikit-learn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """Clips in the order of falling probability of one label. order: int64 [clips]. truth: bool [clips], in that order.
    last: bool [clips], in that order: the last clip of each run of equal probabilities."""

    order: npt.NDArray[np.int64]
    last: Bools
    truth: Bools

    @classmethod
    def of(cls, truth: Bools, score: Floats) -> "Ranking":
        order = np.argsort(-score, kind="stable")
        return cls(order, np.append(np.diff(score[order]) != 0, True), truth[order])

    def curve(self) -> tuple[Floats, Floats]:
        """Recall and precision at each threshold, from the highest down; recall is 0 where no clip has the label."""
        found, answered = np.cumsum(self.truth)[self.last], np.flatnonzero(self.last) + 1
        return found / max(1, found[-1]), found / answered

    def average_precision(self, times: npt.NDArray[np.int64]) -> Floats:
        """float64 [ways]; NaN where no clip that counts has the label. times: int64 [ways, clips], how often each clip
        counts."""
        ends, has = np.flatnonzero(self.last), np.flatnonzero(self.truth)
        steps, first = np.unique(np.searchsorted(ends, has), return_index=True)  # thresholds at which recall rises
        if not steps.size:
            return np.full(len(times), np.nan)
        ends = ends[steps]
        drawn = times.T[self.order[: ends[-1] + 1]]  # [clips, ways]: whole rows are moved and added
        gained = np.add.reduceat(drawn[has], first, axis=0)
        answered = np.cumsum(np.add.reduceat(drawn, np.append(0, ends[:-1] + 1), axis=0), axis=0)
        found = np.cumsum(gained, axis=0)
        with np.errstate(invalid="ignore"):
            return (gained * (found / np.maximum(answered, 1))).sum(axis=0) / found[-1]

    @property
    def ap(self) -> float:
        """As the function ``average_precision``, where some clip has the label."""
        recall, precision = self.curve()
        return float((np.diff(recall, prepend=0.0) * precision).sum())

    @property
    def roc_auc(self) -> float:
        """As the function ``roc_auc``, where some clip has the label and another has not."""
        return float(self.auc(np.ones((1, len(self.truth)), dtype=np.int64))[0])

    def alarms(self) -> Floats:
        """At each threshold, from the highest down, the share of the clips without the label that reach it; 0 where
        every clip has the label."""
        others = np.cumsum(~self.truth)[self.last]
        return others / max(1, others[-1])

    def auc(self, times: npt.NDArray[np.int64]) -> Floats:
        """As ``roc_auc``: float64 [ways]; NaN where all clips that count have the label, or none. times: int64 [ways,
        clips], how often each clip counts."""
        starts = np.append(0, np.flatnonzero(self.last)[:-1] + 1)
        drawn = times.T[self.order].astype(np.float64)  # [clips, ways]
        has = np.add.reduceat(drawn * self.truth[:, None], starts, axis=0)  # clips of one probability together
        others = np.add.reduceat(drawn * ~self.truth[:, None], starts, axis=0)
        below = others.sum(axis=0) - np.cumsum(others, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (has * (below + others / 2)).sum(axis=0) / (has.sum(axis=0) * others.sum(axis=0))


def average_precision(truth: Bools, score: Floats) -> float:
    """Σ (R_n − R_{n−1}) P_n over the thresholds, as scikit-learn's average_precision_score; 0 where truth is nowhere.

    truth: bool [clips]; score: [clips]. Clips of one score count together.
    """
    if not truth.any():
        return 0.0
    return Ranking.of(truth, score).ap


def roc_auc(truth: Bools, score: Floats) -> float | None:
    """The area under the ROC curve, as scikit-learn's roc_auc_score: how often a clip with the label has a higher score
    than one without, ties half. None where all clips have the label, or none has. truth: bool [clips]."""
    if truth.all() or not truth.any():
        return None
    return Ranking.of(truth, score).roc_auc
