"""Several labels a clip, or none: predictions and their scores. scikit-learn is the oracle of the tests."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.scores.predictions import AnswerText, BasePredictions, parse_cells, write_rows
from earsight.scores.ranking import Ranking, average_precision

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
COLUMNS = ("path", "group", "labels", "predicted")
_SEPARATOR = ";"


@dataclass(frozen=True)
class MultiPredictions(BasePredictions):
    """labels: names in the order of the columns. paths: one a clip. truth: bool [clips, labels]. probabilities: float64
    [clips, labels] in [0, 1], each by itself. predicted: bool [clips, labels], what was answered at the network's
    thresholds. groups: one a clip, "" where unknown.

    Raises DataError where the shapes do not fit each other, a label is named twice, or has a ``;``.
    """

    ARRAYS: ClassVar[tuple[str, ...]] = ("truth", "probabilities", "predicted")
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    truth: Bools
    probabilities: Floats
    predicted: Bools
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.paths), len(self.labels))
        check_labels(self.labels)
        if len(self.groups) != shape[0]:
            raise DataError(f"{shape[0]} paths, but {len(self.groups)} groups")
        for name in self.ARRAYS:
            values = getattr(self, name)
            if values.shape != shape or values.dtype.kind != ("f" if name == "probabilities" else "b"):
                raise DataError(f"{name} of shape {values.shape} and type {values.dtype}, not {shape}")

    @property
    def known(self) -> Bools:
        """bool [clips]: all True."""
        return np.ones(len(self.paths), dtype=np.bool_)

    @property
    def right(self) -> Bools:
        """bool [clips]: whether every label is correct."""
        return (self.predicted == self.truth).all(axis=1)

    def mistakes(self, n: int) -> list[int]:
        """Up to ``n`` clips with a wrong answer, the most confident first."""
        sureness = self._wrong_confidence().max(axis=1, initial=0.0)
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-sureness[wrong], kind="stable")][:n]]

    def describe(self, row: int) -> AnswerText:
        """Truth and answer as text, and the probability of the most confident wrong decision."""
        sureness = self._wrong_confidence()[row].max(initial=0.0)
        truth, answer = (", ".join(self._names(of[row])) or "none" for of in (self.truth, self.predicted))
        return AnswerText(truth, answer, float(sureness))

    def _wrong_confidence(self) -> Floats:
        """float64 [clips, labels]: probability of each wrong decision; 0 where it is correct."""
        of_answer = np.where(self.predicted, self.probabilities, 1 - self.probabilities)
        return np.where(self.predicted == self.truth, 0.0, of_answer)

    def _names(self, chosen: Bools) -> list[str]:
        return [label for label, one in zip(self.labels, chosen, strict=True) if one]

    def write_csv(self, path: Path) -> None:
        """Columns path, group, labels, predicted (with ``;`` between several), and prob:NAME for every label; read back
        exactly by ``dispatch.read_csv``."""
        answers = zip(self.paths, self.groups, self.truth, self.predicted, self.probabilities, strict=True)
        rows = (
            [name, group, *(_SEPARATOR.join(self._names(of)) for of in (truth, predicted)), *map(repr, row.tolist())]
            for name, group, truth, predicted, row in answers
        )
        write_rows(path, [*COLUMNS, *(f"prob:{label}" for label in self.labels)], rows)


def check_labels(labels: Sequence[str]) -> None:
    """Raise DataError for labels that a table could not list, separated by ``;``."""
    if len(set(labels)) != len(labels):
        raise DataError(f"a label is named twice among {', '.join(labels)}; name each once")
    if odd := [label for label in labels if _SEPARATOR in label or not label]:
        raise DataError(f"the label {odd[0]!r} has a ; in it, which stands between several labels; rename it")


def from_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> MultiPredictions:
    """Read what ``MultiPredictions.write_csv`` wrote. Raises DataError that names the row."""
    labels, rows, probabilities = parse_cells(path, header, rows)
    number = {label: n for n, label in enumerate(labels)}
    truth, predicted = np.zeros((2, len(rows), len(labels)), dtype=np.bool_)
    for n, row in enumerate(rows):
        for of, cell in ((truth, row[2]), (predicted, row[3])):
            for label in filter(None, cell.split(_SEPARATOR)):
                if label not in number:
                    raise DataError(f"{path}, row {n + 2}: label {label!r} has no column prob:{label}")
                of[n, number[label]] = True
    paths, groups = (tuple(row[place] for row in rows) for place in (0, 1))
    return MultiPredictions(labels, paths, truth, probabilities, predicted, groups)


@dataclass(frozen=True)
class LabelMetrics:
    """ap: average precision. precision, recall, f1: at the thresholds. All in [0, 1], 0 where undefined. support: clips
    with the label."""

    label: str
    ap: float
    precision: float
    recall: float
    f1: float
    support: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON; null for ap and recall of a label without clips."""
        return {**asdict(self), **({} if self.support else {"ap": None, "recall": None})}


@dataclass(frozen=True)
class MultiMetrics:
    """All in [0, 1] but cross_entropy: the binary one, the mean over clips and labels, in nats.

    map, micro_map: mean average precision over the labels that some clip has, and of all decisions as one label
    (average_precision_score with macro and micro). macro_f1: the mean F1 over the labels that occur in truth or
    answers; micro_f1: of all decisions together. accuracy: share of clips with every label right (accuracy_score).
    """

    NAMES: ClassVar[dict[str, str]] = {"map": "mAP", "macro_f1": "macro-F1", "micro_f1": "micro-F1"}
    several: ClassVar[Literal[True]] = True
    clips: int
    map: float
    micro_map: float
    macro_f1: float
    micro_f1: float
    accuracy: float
    cross_entropy: float
    per_class: tuple[LabelMetrics, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, under the names of the fields."""
        names = ("clips", "map", "micro_map", "macro_f1", "micro_f1", "accuracy", "cross_entropy")
        return {**{name: getattr(self, name) for name in names}, "per_class": [row.to_dict() for row in self.per_class]}


def measure_labels(predictions: MultiPredictions) -> MultiMetrics:
    """Raises DataError where there is no clip, none of them has a label, or a probability is not a number."""
    truth, predicted, p = predictions.truth, predictions.predicted, predictions.probabilities
    if not truth.any():
        raise DataError(f"nothing to score: none of {len(truth)} clips has a label")
    broken = np.flatnonzero(~np.isfinite(p).all(axis=1))
    if broken.size:
        first = predictions.paths[broken[0]]
        raise DataError(f"{broken.size} clips have a probability that is not a number, the first is {first}")
    right, support, answers = (truth & predicted).sum(axis=0), truth.sum(axis=0), predicted.sum(axis=0)
    f1 = 2 * right / np.maximum(support + answers, 1)
    precision, recall = right / np.maximum(answers, 1), right / np.maximum(support, 1)
    ap = np.array([average_precision(truth[:, n], p[:, n]) for n in range(len(predictions.labels))])
    sure = np.clip(np.where(truth, p, 1 - p), np.finfo(np.float64).eps, 1)
    return MultiMetrics(
        clips=len(truth),
        map=float(ap[support > 0].mean()),
        micro_map=average_precision(truth.ravel(), p.ravel()),
        macro_f1=float(f1[support + answers > 0].mean()),
        micro_f1=float(2 * right.sum() / (support.sum() + answers.sum())),
        accuracy=float(predictions.right.mean()),
        cross_entropy=float(-np.log(sure).mean()),
        per_class=tuple(
            LabelMetrics(label, float(ap[n]), float(precision[n]), float(recall[n]), float(f1[n]), int(support[n]))
            for n, label in enumerate(predictions.labels)
        ),
    )


def fit_thresholds(predictions: MultiPredictions) -> tuple[float, ...]:
    """The threshold of each label with the highest F1, halfway between the lowest probability above it and the next one
    below; the higher one for equal F1; 0.5 where no clip has the label. Fit it on validation clips."""
    found = []
    for truth, p in zip(predictions.truth.T, predictions.probabilities.T, strict=True):
        if not truth.any():
            found.append(0.5)
            continue
        ranking = Ranking.of(truth, p)
        heights = np.append(p[ranking.order][ranking.last], 0.0)
        hits, answered = np.cumsum(ranking.truth)[ranking.last], np.flatnonzero(ranking.last) + 1
        best = int(np.argmax(2 * hits / (answered + truth.sum())))
        middle = (heights[best] + heights[best + 1]) / 2
        found.append(float(middle if middle > heights[best + 1] else heights[best]))
    return tuple(found)
