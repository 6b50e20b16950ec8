"""How sure a score is: intervals from how it differs between groups (speakers), not clips, since clips of one speaker
are alike. Why the jackknife: docs/decisions/0013-intervals.md."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.plain import pluralise
from earsight.scores.dispatch import AnyPredictions
from earsight.scores.multilabel import MultiMetrics, MultiPredictions
from earsight.scores.predictions import Predictions
from earsight.scores.ranking import Ranking

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
RATES = ("accuracy", "uar", "macro_f1")
FEWEST_GROUPS = 3
"""Of two groups an interval would reach from 0 to 1, nearly, and yet cover too little."""
MOST_PARTS = 1000
"""Where there are more groups (clips of nobody, mostly), those of one part are left out together."""
_AT_ONCE = 256


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Jackknife:
    """Scores of all groups, and with each of them left out in turn.

    groups: how many there are. scores: name → of all. left_out: name → float64 [parts], a part being a group, or
    several where there are more than ``MOST_PARTS``. level: of the intervals, in (0, 1).
    """

    groups: int
    scores: dict[str, float]
    left_out: dict[str, Floats]
    level: float = 0.95

    def interval(self, name: str) -> Interval | None:
        """Of a score in [0, 1]: ± t standard errors on the logit scale, so that it ends inside of [0, 1]. t is the
        quantile of Student's distribution with one degree of freedom less than there are parts. None of fewer than
        ``FEWEST_GROUPS``, and where they are all answered alike, which tells nothing of others."""
        score, error = self.scores[name], self._error(name)
        if self.groups < FEWEST_GROUPS or not (error and 0 < score < 1):
            return None
        middle, reach = math.log(score / (1 - score)), self._t(name) * error / (score * (1 - score))
        return Interval(_logistic(middle - reach), _logistic(middle + reach))

    def interval_of_difference(self, name: str) -> Interval | None:
        """The same of a difference of scores, in [−1, 1], as it is. None of fewer than ``FEWEST_GROUPS``."""
        if self.groups < FEWEST_GROUPS:
            return None
        reach = self._t(name) * self._error(name)
        return Interval(self.scores[name] - reach, self.scores[name] + reach)

    def _error(self, name: str) -> float:
        """√((n − 1) / n · Σ (θᵢ − θ̄)²), the jackknife's standard error (Efron and Tibshirani 1993, eq. 11.5); 0 where
        all are alike but for rounding."""
        values = self.left_out[name]
        if np.ptp(values) < 1e-12:
            return 0.0
        return float(np.sqrt((len(values) - 1) * np.var(values)))

    def _t(self, name: str) -> float:
        return student_quantile((1 + self.level) / 2, len(self.left_out[name]) - 1)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else 1 - 1 / (1 + math.exp(x))


def jackknife(runs: Sequence[Predictions], *, level: float = 0.95) -> Jackknife:
    """accuracy, uar and macro_f1 of all groups, and with each left out in turn.

    runs: predictions of the same clips by one network or several (seeds), whose scores are averaged. Where a clip has
    no group it is one by itself. Raises DataError where the runs differ in labels or clips, or nothing is known.
    """
    tallies = group_tallies(runs)
    whole, left_out = rates(tallies.whole), rates(tallies.left_out)
    return Jackknife(
        tallies.groups,
        {name: float(values.mean()) for name, values in whole.items()},
        {name: values.mean(axis=0) for name, values in left_out.items()},
        level,
    )


class Tallies(NamedTuple):
    """groups: how many there are. counts: float64 [runs, parts, 3, classes]: of each part (see ``Jackknife``) and
    class, clips of it that were answered rightly, clips of it, and clips answered with it; whole numbers."""

    groups: int
    counts: Floats

    @property
    def whole(self) -> Floats:
        """[runs, 3, classes]"""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def left_out(self) -> Floats:
        """[runs, parts, 3, classes], of all but each."""
        return np.asarray(self.whole[:, None] - self.counts)


def group_tallies(runs: Sequence[Predictions]) -> Tallies:
    """Of the same clips by all runs, group by group in the order of their names. A confusion matrix of each group would
    be large where both are many. Raises DataError as ``jackknife``."""
    first = runs[0]
    known = first.truth >= 0
    if not known.any():
        raise DataError(f"nothing to score: none of {len(known)} clips has a known label")
    _check_same_clips(runs)
    groups, place = _part_numbers(first)
    tables = np.zeros((len(runs), int(place.max()) + 1, 3, len(first.labels)))
    for table, run in zip(tables, runs, strict=True):
        truth, answer = run.truth[known], run.predicted[known]
        right = truth == answer
        for kind, (places, classes) in enumerate(((place[right], truth[right]), (place, truth), (place, answer))):
            np.add.at(table[:, kind], (places, classes), 1)
    return Tallies(groups, tables)


def rates(tallies: Floats) -> dict[str, Floats]:
    """accuracy, uar, macro_f1 [...] of tallies [..., 3, classes] (``group_tallies``), as ``metrics.measure`` has it."""
    right, support, answers = np.moveaxis(tallies, -2, 0)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + answers, 1)
    occurs, named = support > 0, support + answers > 0
    return {
        "accuracy": right.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "uar": recall.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1),
        "macro_f1": f1.sum(axis=-1) / np.maximum(named.sum(axis=-1), 1),
    }


def jackknife_labels(runs: Sequence[MultiPredictions], *, level: float = 0.95) -> Jackknife:
    """As ``jackknife``, where clips have several labels: map, macro_f1 and micro_f1."""
    first = runs[0]
    _check_same_clips(runs)
    groups, place = _part_numbers(first)
    rankings = [
        [Ranking.of(*columns) for columns in zip(run.truth.T, run.probabilities.T, strict=True)] for run in runs
    ]

    def scores(kept: Counts) -> dict[str, Floats]:
        scored = [_label_rates(run, ranking, kept) for run, ranking in zip(runs, rankings, strict=True)]
        return {name: np.mean([one[name] for one in scored], axis=0) for name in MultiMetrics.NAMES}

    return _leave_out(groups, place, scores, level)


def _leave_out(
    groups: int, place: Counts, scores: Callable[[Counts], dict[str, Floats]], level: float = 0.95
) -> Jackknife:
    """groups, place: of ``_part_numbers``. scores: 0 or 1 [ways, clips], whether each clip counts → name → [ways]."""
    whole, parts = scores(np.ones((1, len(place)), dtype=np.int64)), np.arange(place.max() + 1)
    left_out = [
        scores((place != parts[start : start + _AT_ONCE, None]).astype(np.int64))
        for start in range(0, len(parts), _AT_ONCE)
    ]
    return Jackknife(
        groups,
        {name: float(values[0]) for name, values in whole.items()},
        {name: np.concatenate([one[name] for one in left_out]) for name in whole},
        level,
    )


def _label_rates(run: MultiPredictions, rankings: Sequence[Ranking], times: Counts) -> dict[str, Floats]:
    """As ``measure_labels`` has them. times: int64 [ways, clips], how often each clip counts → [ways]; 0 where none
    that counts has a label."""
    ap = np.stack([ranking.average_precision(times) for ranking in rankings], axis=1)  # [ways, labels]
    weights = times.T.astype(np.float64).T  # whole numbers, which BLAS multiplies faster than integers
    right, either = weights @ (run.truth & run.predicted), weights @ (run.truth + run.predicted.astype(np.float64))
    named = either > 0
    return {
        "map": np.nansum(ap, axis=1) / np.maximum(np.isfinite(ap).sum(axis=1), 1),
        "macro_f1": (2 * right / np.maximum(either, 1)).sum(axis=1) / np.maximum(named.sum(axis=1), 1),
        "micro_f1": 2 * right.sum(axis=1) / np.maximum(either.sum(axis=1), 1),
    }


def ranking_intervals(run: Predictions, number: int) -> dict[str, Interval]:
    """auc and ap of class ``number`` against the others, 95 %. Empty where fewer than ``FEWEST_GROUPS`` have the class,
    or others: hundreds of clips say little where the faults are those of two machines."""
    groups, place = _part_numbers(run)
    has = run.truth[run.known] == number
    if min(len(np.unique(place[of])) for of in (has, ~has)) < FEWEST_GROUPS:
        return {}
    ranking = Ranking.of(has, run.probabilities[run.known, number])

    def scores(kept: Counts) -> dict[str, Floats]:
        return {"auc": ranking.auc(kept), "ap": ranking.average_precision(kept)}

    found = _leave_out(groups, place, scores)
    return {name: one for name in found.scores if (one := found.interval(name))}


def counted_groups(run: AnyPredictions, group_name: str) -> str:
    """What the intervals are of, in words: named groups, clips without one, or both."""
    groups = [group for group, known in zip(run.groups, run.known, strict=True) if known]
    named, alone = len(set(groups) - {""}), groups.count("")
    told = [pluralise(named, group_name)] if named else []
    told += [pluralise(alone, "clip") + (f" without a {group_name}" if named else "")] if alone else []
    return " and ".join(told)


def _check_same_clips(runs: Sequence[AnyPredictions]) -> None:
    first = runs[0]
    if any((run.labels, run.paths, run.groups) != (first.labels, first.paths, first.groups) for run in runs):
        raise DataError("the runs did not score the same clips; give runs of one data set and one split")


def _part_numbers(run: AnyPredictions) -> tuple[int, Counts]:
    """How many groups there are, and which part each known clip is of, by the names of the groups; without a group, it
    is one by itself."""
    names = [group or f"\0{path}" for group, path in zip(run.groups, run.paths, strict=True)]
    _, place = np.unique(np.array(names, dtype=object)[run.known].astype(str), return_inverse=True)
    groups = int(place.max()) + 1
    if groups > MOST_PARTS:  # at random: those of one class may stand side by side
        place = np.random.default_rng(0).permutation(groups)[place] % MOST_PARTS
    return groups, place


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t. Exact for 1 and 2 degrees of freedom, else the expansion of Abramowitz and Stegun 1964,
    26.7.5: within 0.5 % for probabilities from 0.9 to 0.99 and 3 degrees or more."""
    p = 2 * probability - 1
    if degrees == 1:
        return math.tan(math.pi * p / 2)
    if degrees == 2:
        return p * math.sqrt(2 / (1 - p * p))
    z, n = NormalDist().inv_cdf(probability), degrees
    return z + sum(
        (
            (z**3 + z) / (4 * n),
            (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
            (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4),
        )
    )
