"""Two networks on the same clips: is one better, or might it be the choice of speakers?"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from earsight.errors import DataError
from earsight.plain import pluralise
from earsight.scores.intervals import RATES, Floats, Interval, Jackknife, group_tallies, rates
from earsight.scores.predictions import Predictions


@dataclass(frozen=True)
class Difference:
    """a, b: the scores. difference: b − a. interval: 95 % of the difference, from how it differs between groups;
    None where they are too few."""

    a: float
    b: float
    interval: Interval | None

    @property
    def difference(self) -> float:
        return self.b - self.a

    @property
    def sure(self) -> bool:
        """Whether zero is outside of the interval."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True)
class Comparison:
    """clips: that both scored. groups: of these; a clip whose group nobody names is one by itself. named: whether
    all have a name. scores: accuracy, uar, macro_f1. recall: of each class.
    only_a, only_b: clips that one alone answered rightly. p: of McNemar's exact test, two-sided, that these are as
    many; it takes clips for independent, which clips of one speaker are not. caveat_a, caveat_b: what belongs beside
    the scores of each, "" where nothing does or is known."""

    clips: int
    groups: int
    named: bool
    scores: dict[str, Difference]
    recall: dict[str, Difference]
    only_a: int
    only_b: int
    p: float
    caveat_a: str = ""
    caveat_b: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON, under stable names."""

        def plain(one: Difference) -> dict[str, float | None]:
            low, high = one.interval or (None, None)
            return {"a": one.a, "b": one.b, "difference": one.difference, "low95": low, "high95": high}

        named = {name: {key: plain(one) for key, one in getattr(self, name).items()} for name in ("scores", "recall")}
        return {**asdict(self), **named}


def compare(a: Sequence[Predictions], b: Sequence[Predictions]) -> Comparison:
    """a, b: predictions of each network, one a seed, whose scores are averaged; for McNemar's test their probabilities.

    Only clips that all have scored are compared, with the groups that any of them names. Raises DataError where there
    are none, or labels, truth or groups differ.
    """
    common = sorted(set.intersection(*(set(run.paths) for run in (*a, *b))))
    if not common:
        shown = " and ".join(
            f"{pluralise(len(run.paths), 'clip')}, such as {next(iter(run.paths), 'none')}," for run in (a[0], b[0])
        )
        raise DataError(f"no clip in common: {shown} were scored; compare runs with the same test clips")
    if any(run.labels != a[0].labels for run in (*a, *b)):
        raise DataError(
            f"different labels: {', '.join(a[0].labels)} and {', '.join(b[0].labels)}; compare networks with the same"
        )
    a, b = ([_of(run, common) for run in runs] for runs in (a, b))
    if any(not np.array_equal(run.truth, a[0].truth) for run in (*a, *b)):
        raise DataError("the same clips have different labels in A and B; score both with the same labels")
    groups = _groups([*a, *b])
    tallies_a, tallies_b = (group_tallies([replace(run, groups=groups) for run in runs]) for runs in (a, b))
    point_a, point_b = _points(tallies_a.whole), _points(tallies_b.whole)
    left_a, left_b = _points(tallies_a.left_out), _points(tallies_b.left_out)

    def difference(name: str, place: int | None = None) -> Difference:
        which = ... if place is None else (..., place)
        before, after = float(point_a[name][which]), float(point_b[name][which])
        left_out = left_b[name][which] - left_a[name][which]
        jackknife = Jackknife(tallies_a.groups, {name: after - before}, {name: left_out})
        return Difference(before, after, jackknife.interval_of_difference(name))

    right_a, right_b = _right(a), _right(b)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return Comparison(
        clips=int((a[0].truth >= 0).sum()),
        groups=tallies_a.groups,
        named=all(groups),
        scores={name: difference(name) for name in RATES},
        recall={label: difference("recall", place) for place, label in enumerate(a[0].labels)},
        only_a=only_a,
        only_b=only_b,
        p=mcnemar(only_a, only_b),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """p of the exact two-sided test (binomial, 1/2) that both are equally often the only one to be correct."""
    n, fewer = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def _points(counts: Floats) -> dict[str, Floats]:
    """counts: [runs, ..., 3, classes] of ``Tallies``. The means over the runs: ``RATES`` [...], and recall
    [..., classes], 0 where no clip of a class is left, in both networks alike."""
    recall = counts[..., 0, :] / np.maximum(counts[..., 1, :], 1)
    return {name: values.mean(axis=0) for name, values in (*rates(counts).items(), ("recall", recall))}


def _right(runs: Sequence[Predictions]) -> np.ndarray:
    probabilities = np.mean([run.probabilities for run in runs], axis=0)
    return (probabilities.argmax(axis=1) == runs[0].truth) & (runs[0].truth >= 0)


def _groups(runs: Sequence[Predictions]) -> tuple[str, ...]:
    """The group of each clip, from any run that has it; where two runs have the same groups by other names, the names
    of the first. Raises DataError where groups differ."""
    first = runs[0].groups
    renamed = [run for run in runs if run.groups != first and all(run.groups) and all(first)]
    if all(len(set(zip(first, run.groups, strict=True))) == len(set(first)) == len(set(run.groups)) for run in renamed):
        runs = [run for run in runs if not any(run is one for one in renamed)]
    found = []
    for path, *named in zip(runs[0].paths, *(run.groups for run in runs), strict=True):
        known = set(named) - {""}
        if len(known) > 1:
            raise DataError(
                f"{path} is of group {' and '.join(sorted(known))} in the two; score them with one list of groups"
            )
        found.append(known.pop() if known else "")
    return tuple(found)


def _of(run: Predictions, paths: Sequence[str]) -> Predictions:
    place = {path: n for n, path in enumerate(run.paths)}
    return run.take([place[path] for path in paths])
