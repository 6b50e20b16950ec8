"""Predictions → accuracy, UAR, macro-F1, per class, confusion. scikit-learn is the oracle of the tests."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.scores.predictions import Predictions
from earsight.scores.ranking import Ranking

Counts = npt.NDArray[np.int64]
_MOSTLY = 0.8


@dataclass(frozen=True)
class ClassMetrics:
    """precision, recall, f1 in [0, 1], 0 where undefined. support: clips of the class. auc, ap: of its probability, the
    area under the ROC curve and the average precision against all other classes; None where it has no clip, and auc
    where no other has one."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    auc: float | None = None
    ap: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; null for the recall of a class without clips."""
        return {**asdict(self), **({} if self.support else {"recall": None})}


class ConfusedPair(NamedTuple):
    """clips: number of clips of class ``truth`` that were answered with class ``answer``, of ``of`` clips of that
    class."""

    truth: int
    answer: int
    clips: int
    of: int


@dataclass(frozen=True)
class Metrics:
    """accuracy, uar, macro_f1 in [0, 1]. cross_entropy: mean −ln p(truth), in nats. confusion: int64 [truth, answer].

    uar (unweighted average recall): the mean recall over the classes that occur in the truth, as scikit-learn's
    balanced_accuracy_score. macro_f1: the mean F1 over the classes that occur in truth or answers, as its
    f1_score(average="macro"). auc: the mean of the classes' own, as roc_auc_score(multi_class="ovr"); None where none
    has one.
    """

    NAMES: ClassVar[dict[str, str]] = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}
    several: ClassVar[Literal[False]] = False
    clips: int
    accuracy: float
    uar: float
    macro_f1: float
    cross_entropy: float
    per_class: tuple[ClassMetrics, ...]
    confusion: Counts
    auc: float | None = None

    @property
    def rarer(self) -> int | None:
        """The number of the class with fewer clips (the first, if equal), of two that both occur; None otherwise."""
        return _rarer([row.support for row in self.per_class])

    @property
    def mostly(self) -> bool:
        """Whether one class is so frequent that accuracy is high by itself."""
        return max(row.support for row in self.per_class) >= _MOSTLY * self.clips

    @property
    def mistakes(self) -> list[ConfusedPair]:
        """Pairs of confused classes, the most frequent first."""
        wrong = np.argwhere(self.confusion * (1 - np.eye(len(self.confusion), dtype=np.int64)))
        of = self.confusion.sum(axis=1)
        found = [ConfusedPair(int(t), int(a), int(self.confusion[t, a]), int(of[t])) for t, a in wrong]
        return sorted(found, key=lambda one: (-one.clips, one.truth, one.answer))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, under the names of the fields."""
        values = {
            name: getattr(self, name) for name in ("clips", "accuracy", "uar", "macro_f1", "auc", "cross_entropy")
        }
        per_class = [row.to_dict() for row in self.per_class]
        return {**values, "per_class": per_class, "confusion": self.confusion.tolist()}


def rarer_class(predictions: Predictions) -> int | None:
    """``Metrics.rarer`` of these predictions, without their other scores."""
    truth = predictions.truth[predictions.known]
    return _rarer(np.bincount(truth, minlength=len(predictions.labels)).tolist())


def _rarer(support: list[int]) -> int | None:
    return support.index(min(support)) if len(support) == 2 and all(support) else None


def confusion_matrix(truth: Counts, predicted: Counts, n_classes: int) -> Counts:
    """int64 [n_classes, n_classes]: clips of the class in the row that were answered with the class in the column.

    truth, predicted: int64 [clips]. Raises DataError where one is outside of 0 … n_classes − 1.
    """
    for name, numbers in (("truth", truth), ("answer", predicted)):
        # bincount would put a column number that is too high into the next row
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < n_classes):
            raise DataError(f"{name}s from {numbers.min()} to {numbers.max()}, outside of 0 … {n_classes - 1}")
    return np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def measure(predictions: Predictions, *, ranked: bool = True) -> Metrics:
    """Score all clips whose truth is known. ranked: with auc and ap, which sort the clips once for each class. Raises
    DataError where there is none, or a probability is not a number."""
    known = predictions.truth >= 0
    if not known.any():
        raise DataError(f"nothing to score: none of {len(known)} clips has a known label")
    broken = known & ~np.isfinite(predictions.probabilities).all(axis=1)
    if broken.any():
        first = predictions.paths[int(np.flatnonzero(broken)[0])]
        raise DataError(f"{int(broken.sum())} clips have a probability that is not a number, the first is {first}")
    truth, predicted = predictions.truth[known], predictions.predicted[known]
    confusion = confusion_matrix(truth, predicted, len(predictions.labels))
    right = np.diag(confusion).astype(float)
    support, answers = confusion.sum(axis=1), confusion.sum(axis=0)
    recall = right / np.maximum(support, 1)
    precision = right / np.maximum(answers, 1)
    f1 = 2 * right / np.maximum(support + answers, 1)
    of_truth, given = predictions.probabilities[known, truth], predictions.probabilities[known]
    none: list[float | None] = [None] * len(predictions.labels)
    aucs, aps = _ranked(truth, given) if ranked else (none, none)
    there = [auc for auc in aucs if auc is not None]
    return Metrics(
        clips=int(known.sum()),
        accuracy=float(right.sum() / known.sum()),
        uar=float(recall[support > 0].mean()),
        macro_f1=float(f1[support + answers > 0].mean()),
        cross_entropy=float(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1)).mean()),
        per_class=tuple(
            ClassMetrics(label, float(p), float(r), float(f), int(s), auc, ap)
            for label, p, r, f, s, auc, ap in zip(
                predictions.labels, precision, recall, f1, support, aucs, aps, strict=True
            )
        ),
        confusion=confusion,
        auc=float(np.mean(there)) if there else None,
    )


def _ranked(truth: Counts, probabilities: npt.NDArray[np.float64]) -> tuple[list[float | None], list[float | None]]:
    """The area under the ROC curve and the average precision of each class against all others."""
    aucs, aps = list[float | None](), list[float | None]()
    for number, p in enumerate(probabilities.T):
        has = truth == number
        ranking = Ranking.of(has, p) if has.any() else None
        aucs.append(ranking.roc_auc if ranking and not has.all() else None)
        aps.append(ranking.ap if ranking else None)
    return aucs, aps
