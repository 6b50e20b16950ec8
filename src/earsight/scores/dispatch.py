"""Functions that take predictions of one label a clip or of several, and choose by their type."""

import math
from pathlib import Path
from typing import overload

from earsight.errors import DataError
from earsight.scores import metrics, multilabel, predictions
from earsight.scores.metrics import Metrics
from earsight.scores.multilabel import MultiMetrics, MultiPredictions
from earsight.scores.predictions import Predictions

AnyPredictions = Predictions | MultiPredictions
AnyMetrics = Metrics | MultiMetrics


@overload
def measure(answers: Predictions, *, ranked: bool = True) -> Metrics: ...
@overload
def measure(answers: MultiPredictions, *, ranked: bool = True) -> MultiMetrics: ...
def measure(answers: AnyPredictions, *, ranked: bool = True) -> AnyMetrics:
    """All scores. ranked: see ``metrics.measure``; clips of several labels are always ranked, since mAP needs it.
    Raises DataError where there is nothing to score."""
    if isinstance(answers, MultiPredictions):
        return multilabel.measure_labels(answers)
    return metrics.measure(answers, ranked=ranked)


def selection_score(metrics: AnyMetrics) -> tuple[float, float]:
    """The score that epochs are chosen by, UAR or mAP, in [0, 1], and its standard error.

    The error is that of a mean of proportions v of n clips with variance p (1 − p) / n: recalls are proportions, and
    average precision is close to one (Boyd, Eng and Page 2013, "Area under the precision-recall curve", section 2.2).
    p is (v n + 1) / (n + 2), Laplace's rule of succession: one correct clip does not make a class certain.
    """
    if isinstance(metrics, MultiMetrics):
        score, shares = metrics.map, [(row.ap, row.support) for row in metrics.per_class]
    else:
        score, shares = metrics.uar, [(row.recall, row.support) for row in metrics.per_class]
    likely = [((v * n + 1) / (n + 2), n) for v, n in shares if n]
    variances = [p * (1 - p) / n for p, n in likely]
    return score, math.sqrt(sum(variances)) / len(variances)


def read_csv(path: Path) -> AnyPredictions:
    """Read what ``write_csv`` of either kind wrote; the header tells which. Raises DataError for any other table."""
    header, rows = predictions.read_table(path)
    of_kind = multilabel if tuple(header[:4]) == multilabel.COLUMNS else predictions
    return of_kind.from_table(path, header, rows)


def require_single_label(answers: AnyPredictions, what: str, place: Path) -> Predictions:
    """``answers`` with one label a clip. Raises DataError where clips have several. what: the task that needs one."""
    if isinstance(answers, MultiPredictions):
        raise DataError(f"{what} needs one label per clip, but {place} has several; see mAP in metrics.json")
    return answers
