"""Scores of a cross-validation: of each fold and seed, of all clips together, and of each group."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.scores.dispatch import AnyMetrics, AnyPredictions, measure
from earsight.scores.intervals import (
    Interval,
    Jackknife,
    counted_groups,
    jackknife,
    jackknife_labels,
    ranking_intervals,
)
from earsight.scores.metrics import rarer_class
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.predictions import A, Predictions, concatenated
from earsight.scores.ranking import roc_auc


@dataclass(frozen=True)
class FoldScore:
    """The score of the test clips of one fold with one seed."""

    fold: str
    seed: int
    metrics: AnyMetrics


@dataclass(frozen=True)
class GroupScore:
    """accuracy: share of the group's clips with every label correct, averaged over the seeds. auc: area under the ROC
    curve, likewise, of two classes that both occur in the group; None otherwise."""

    group: str
    clips: int
    accuracy: float
    auc: float | None = None


@dataclass(frozen=True)
class Spread:
    """mean: over seeds, of the score of all clips together. sd: between seeds (n − 1), None for one seed. interval: 95
    %, from resampled groups; None for too few groups. fold_mean, fold_sd: of the scores of the folds, each averaged
    over seeds where these have the same folds."""

    mean: float
    sd: float | None
    interval: Interval | None
    fold_mean: float
    fold_sd: float


@dataclass(frozen=True)
class CrossScores:
    """folds: every fold of every seed. scores: name of a metric (NAMES) → Spread. groups: the worst first.
    every_answer: metrics of all clips of all seeds. runs: out-of-fold predictions of each seed, sorted by path.
    ranking: of two classes, the 95 % intervals of auc and ap of the rarer one, over the answers of all seeds."""

    seeds: tuple[int, ...]
    folds: tuple[FoldScore, ...]
    scores: dict[str, Spread]
    groups: tuple[GroupScore, ...]
    every_answer: AnyMetrics
    runs: tuple[AnyPredictions, ...]
    ranking: dict[str, Interval] = field(default_factory=dict)

    def counted_groups(self, group_name: str) -> str:
        """What the intervals are of, in words."""
        return counted_groups(self.runs[0], group_name)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, under stable names."""
        return {
            "clips": len(self.runs[0].paths),
            "seeds": list(self.seeds),
            **{
                name: {
                    "mean": spread.mean,
                    "sd_over_seeds": spread.sd,
                    "low95": spread.interval.low if spread.interval else None,
                    "high95": spread.interval.high if spread.interval else None,
                    "fold_mean": spread.fold_mean,
                    "fold_sd": spread.fold_sd,
                }
                for name, spread in self.scores.items()
            },
            "folds": [
                {"fold": one.fold, "seed": one.seed, "clips": one.metrics.clips}
                | {name: getattr(one.metrics, name) for name in self.scores}
                for one in self.folds
            ],
            "groups": [asdict(one) for one in self.groups],
            "ranking95": {name: list(one) for name, one in self.ranking.items()},
            "all_seeds": self.every_answer.to_dict(),
        }


def join_folds(parts: Sequence[A]) -> A:
    """Predictions of several folds as one, sorted by path. Raises DataError where the labels differ."""
    whole = concatenated(parts)
    return whole.take(sorted(range(len(whole.paths)), key=whole.paths.__getitem__))


def cross_scores(found: Mapping[tuple[int, str], AnyPredictions]) -> CrossScores:
    """found: (seed, fold) → predictions of its test clips; each seed has every fold. Raises DataError."""
    seeds, folds = sorted({seed for seed, _ in found}), list(dict.fromkeys(fold for _, fold in found))
    runs = [join_folds([found[seed, fold] for fold in folds]) for seed in seeds]
    twice = len(runs[0].paths) - len(set(runs[0].paths))
    if twice:
        raise DataError(f"{twice} clips are in the test part of two folds; each clip must be scored once")
    left_out = jackknife_scores(runs)
    whole = [measure(run) for run in runs]
    scored = {key: measure(predictions) for key, predictions in found.items()}
    tested = {key: set(predictions.paths) for key, predictions in found.items()}
    if all(tested[seed, fold] == tested[seeds[0], fold] for seed, fold in found):
        alike = [[(seed, fold) for seed in seeds] for fold in folds]
    else:  # each seed has its own folds
        alike = [[key] for key in found]
    every = concatenated(runs)
    scores = {}
    for name in whole[0].NAMES:
        of_seeds = [getattr(one, name) for one in whole]
        by_fold = [np.mean([getattr(scored[key], name) for key in keys]) for keys in alike]
        scores[name] = Spread(
            mean=float(np.mean(of_seeds)),
            sd=float(np.std(of_seeds, ddof=1)) if len(seeds) > 1 else None,
            interval=left_out.interval(name),
            fold_mean=float(np.mean(by_fold)),
            fold_sd=float(np.std(by_fold, ddof=1)) if len(by_fold) > 1 else 0.0,
        )
    return CrossScores(
        seeds=tuple(seeds),
        folds=tuple(FoldScore(fold, seed, scored[seed, fold]) for seed in seeds for fold in folds),
        scores=scores,
        groups=group_scores(runs),
        every_answer=measure(every),
        runs=tuple(runs),
        ranking=rarer_class_intervals(every),
    )


def group_scores(runs: Sequence[AnyPredictions]) -> tuple[GroupScore, ...]:
    """Scores of named groups, the worst first. runs: predictions of the same clips."""
    known = runs[0].known
    right = np.mean([run.right for run in runs], axis=0)
    names, place = np.unique(np.array(runs[0].groups)[known], return_inverse=True)
    clips, shares = np.bincount(place), np.bincount(place, right[known])
    groups = [
        GroupScore(str(name), int(count), float(share / count), _auc(runs, np.flatnonzero(known)[place == number]))
        for number, (name, count, share) in enumerate(zip(names, clips, shares, strict=True))
        if name
    ]
    return tuple(sorted(groups, key=lambda one: (one.accuracy, one.group)))


def _auc(runs: Sequence[AnyPredictions], rows: npt.NDArray[np.int64]) -> float | None:
    """Of two classes, the mean over the runs."""
    single = [run for run in runs if isinstance(run, Predictions) and len(run.labels) == 2]
    found = [roc_auc(run.truth[rows] == 0, run.probabilities[rows, 0]) for run in single]
    values = [one for one in found if one is not None]
    return float(np.mean(values)) if values else None


def rarer_class_intervals(answers: AnyPredictions) -> dict[str, Interval]:
    """95 % intervals of auc and ap of the rarer of two classes; empty where there is none."""
    if not isinstance(answers, Predictions) or (rarer := rarer_class(answers)) is None:
        return {}
    return ranking_intervals(answers, rarer)


def jackknife_scores(runs: Sequence[AnyPredictions]) -> Jackknife:
    """Of either kind of answers. runs: of the same clips."""
    several = [run for run in runs if isinstance(run, MultiPredictions)]
    if several:
        return jackknife_labels(several)
    return jackknife([run for run in runs if isinstance(run, Predictions)])
