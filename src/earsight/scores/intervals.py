"""How sure a score is: intervals from resampled groups (speakers), not clips, since clips of one speaker are alike."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.plain import counted
from earsight.scores.kinds import AnyPredictions
from earsight.scores.multilabel import MultiMetrics, MultiPredictions, Ranking
from earsight.scores.predictions import Predictions

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
RATES = ("accuracy", "uar", "macro_f1")
FEWEST_GROUPS = 5
"""Fewer tell nothing of their kind: of networks alike, 4 groups would call one in ten better, and 2 nearly half."""
_DRAWS_AT_ONCE = 256


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """Scores of resampled groups. groups: how many there are. values: name → float64 [draws]."""

    groups: int
    values: dict[str, Floats]
    level: float = 0.95

    def interval(self, name: str) -> Interval | None:
        """Of the resampled values, the percentiles of Hesterberg 2015 ("What teachers should know about the bootstrap",
        section 4.1.3): further out than 2.5 % and 97.5 %, since a sample of few groups varies less than their kind.
        None of fewer than ``FEWEST_GROUPS``."""
        if self.groups < FEWEST_GROUPS:
            return None
        tail = _tail(self.groups, self.level)
        low, high = np.quantile(self.values[name], [tail, 1 - tail])
        return Interval(float(low), float(high))

    def interval_of_score(self, name: str) -> Interval | None:
        """None too where all groups have the same score: drawing them again tells nothing then."""
        found = self.interval(name)
        return found if found and found.low < found.high else None


def resample(runs: Sequence[Predictions], *, draws: int = 4000, seed: int = 0, level: float = 0.95) -> Resampled:
    """Draw as many groups as there are, with replacement, and score their clips; ``draws`` times.

    runs: predictions of the same clips by one network or several (seeds), whose scores are averaged in each draw. Where
    a clip has no group it is one by itself. Raises DataError where the runs differ in labels or clips, or nothing is
    known.
    """
    tables = per_group(runs)
    found: dict[str, list[Floats]] = {name: [] for name in RATES}
    for tallies in drawn_again(tables, draws, seed):
        for name, values in rates(tallies).items():
            found[name].append(values.mean(axis=0))
    return Resampled(tables.shape[1], {name: np.concatenate(parts) for name, parts in found.items()}, level)


def drawn_again(tables: Floats, draws: int, seed: int) -> Iterator[Floats]:
    """tables: of ``per_group``. Yields [runs, some draws, 3, classes]: each the sum of as many groups as there are,
    drawn with replacement. The same seed draws the same groups."""
    n_groups, rng = tables.shape[1], np.random.default_rng(seed)
    for start in range(0, draws, _DRAWS_AT_ONCE):
        count = min(_DRAWS_AT_ONCE, draws - start)
        times = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=count).astype(float)  # [draws, groups]
        yield np.tensordot(tables, times, axes=(1, 1)).transpose(0, 3, 1, 2)


def per_group(runs: Sequence[Predictions]) -> Floats:
    """[runs, groups, 3, classes]: of each group and class, clips of it that were answered rightly, clips of it, and
    clips answered with it; whole numbers. Groups are sorted by name. A confusion matrix of each group would be large
    where both are many."""
    first = runs[0]
    known = first.truth >= 0
    if not known.any():
        raise DataError(f"nothing to score: none of {len(known)} clips has a known label")
    if any((run.labels, run.paths, run.groups) != (first.labels, first.paths, first.groups) for run in runs):
        raise DataError("the runs did not score the same clips; give runs of one data set and one split")
    groups, place = _places(first)
    tables = np.zeros((len(runs), groups, 3, len(first.labels)))
    for table, run in zip(tables, runs, strict=True):
        truth, answer = run.truth[known], run.predicted[known]
        right = truth == answer
        for kind, (places, classes) in enumerate(((place[right], truth[right]), (place, truth), (place, answer))):
            np.add.at(table[:, kind], (places, classes), 1)
    return tables


def rates(tallies: Floats) -> dict[str, Floats]:
    """accuracy, uar, macro_f1 [...] of what ``per_group`` counts [..., 3, classes], as ``metrics.measure`` has them."""
    right, support, answers = np.moveaxis(tallies, -2, 0)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + answers, 1)
    occurs, named = support > 0, support + answers > 0
    return {
        "accuracy": right.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "uar": recall.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1),
        "macro_f1": f1.sum(axis=-1) / np.maximum(named.sum(axis=-1), 1),
    }


def resample_labels(
    runs: Sequence[MultiPredictions], *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> Resampled:
    """As ``resample``, where clips have several labels: map, macro_f1 and micro_f1."""
    first = runs[0]
    if any((run.labels, run.paths, run.groups) != (first.labels, first.paths, first.groups) for run in runs):
        raise DataError("the runs did not score the same clips; give runs of one data set and one split")
    groups, place = _places(first)
    rng = np.random.default_rng(seed)
    rankings = [
        [Ranking.of(*columns) for columns in zip(run.truth.T, run.probabilities.T, strict=True)] for run in runs
    ]
    found: dict[str, list[Floats]] = {name: [] for name in MultiMetrics.NAMES}
    for start in range(0, draws, _DRAWS_AT_ONCE):
        of_groups = rng.multinomial(groups, np.full(groups, 1 / groups), size=min(_DRAWS_AT_ONCE, draws - start))
        times = of_groups.T[place].T  # [draws, clips], those of one clip side by side
        scored = [_label_rates(run, ranking, times) for run, ranking in zip(runs, rankings, strict=True)]
        for name, values in found.items():
            values.append(np.mean([one[name] for one in scored], axis=0))
    return Resampled(groups, {name: np.concatenate(parts) for name, parts in found.items()}, level)


def _label_rates(run: MultiPredictions, rankings: Sequence[Ranking], times: Counts) -> dict[str, Floats]:
    """As ``measure_labels`` has them, [draws]; 0 where no clip that was drawn has a label."""
    ap = np.stack([ranking.average_precision(times) for ranking in rankings], axis=1)  # [draws, labels]
    weights = times.T.astype(np.float64).T  # whole numbers, which BLAS multiplies faster than integers
    right, either = weights @ (run.truth & run.predicted), weights @ (run.truth + run.predicted.astype(np.float64))
    named = either > 0
    return {
        "map": np.nansum(ap, axis=1) / np.maximum(np.isfinite(ap).sum(axis=1), 1),
        "macro_f1": (2 * right / np.maximum(either, 1)).sum(axis=1) / np.maximum(named.sum(axis=1), 1),
        "micro_f1": 2 * right.sum(axis=1) / np.maximum(either.sum(axis=1), 1),
    }


def what_is_drawn(run: AnyPredictions, group_name: str) -> str:
    """In words: named groups, clips without one, or both."""
    groups = [group for group, known in zip(run.groups, run.known, strict=True) if known]
    named, alone = len(set(groups) - {""}), groups.count("")
    told = [counted(named, group_name)] if named else []
    told += [counted(alone, "clip") + (f" without a {group_name}" if named else "")] if alone else []
    return " and ".join(told)


def _places(run: AnyPredictions) -> tuple[int, Counts]:
    """How many groups there are, and the number of each known clip's, by name; without a group, it is one by itself."""
    names = [group or f"\0{path}" for group, path in zip(run.groups, run.paths, strict=True)]
    _, place = np.unique(np.array(names, dtype=object)[run.known].astype(str), return_inverse=True)
    return int(place.max()) + 1, place


def _tail(groups: int, level: float) -> float:
    """Φ(−√(n / (n − 1)) · t), t the quantile of Student's distribution with n − 1 degrees of freedom."""
    return NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * student_quantile((1 + level) / 2, groups - 1))


def student_quantile(probability: float, degrees: int) -> float:
    """Of Student's t. Exact for 1 and 2 degrees of freedom, else the expansion of Abramowitz and Stegun 1964, 26.7.5:
    within 0.5 % of the value for 0.9 to 0.99 and 3 degrees or more."""
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
