"""Limits of "unknown": fitted on validation clips; coverage and risk on test clips."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from earsight.dataset.loader import fixed_batches, label_matrix
from earsight.dataset.store import Store
from earsight.network.classifier import Classifier
from earsight.network.familiarity import main_directions
from earsight.network.prediction import UnknownLimits
from earsight.network.settings import UnknownSettings
from earsight.scores.calibration import risk_coverage
from earsight.scores.dispatch import AnyPredictions
from earsight.scores.predictions import Predictions

_TRAINING_CLIPS = 512
_OF_A_CLASS = 8
"""Training clips of each class, at least."""
_ROUNDING = 1e-5
Floats = npt.NDArray[np.float64]


def fit_directions(classifier: Classifier, store: Store, train: Sequence[int]) -> None:
    """Set ``classifier.directions`` from the features of training clips, spread over all classes."""
    has = label_matrix([store.clips[i] for i in train], classifier.labels)
    chosen = [train[i] for i in spread_over_classes(has, max(_OF_A_CLASS, _TRAINING_CLIPS // len(classifier.labels)))]
    found = [classifier.features_and_logits(crops)[0].cpu() for _, crops in fixed_batches(store, chosen, 32)]
    classifier.directions = main_directions(torch.cat(found)).to(next(classifier.parameters()).device)


def spread_over_classes(has: npt.NDArray[np.bool_], each: int) -> list[int]:
    """Indices of up to ``each`` clips of every class, evenly spaced, without duplicates. has: bool [clips, classes]."""
    found: set[int] = set()
    for places in map(np.flatnonzero, has.T):
        if places.size:
            found |= set(places[np.linspace(0, places.size - 1, min(each, places.size)).astype(int)].tolist())
    return sorted(found)


def familiarity(classifier: Classifier, store: Store, indices: Sequence[int]) -> Floats:
    """float64 [clips], in the order of ``indices``."""
    return np.concatenate([classifier.answers(crops).familiarity for _, crops in fixed_batches(store, indices, 32)])


def fit_unknown(familiar: Floats, answers: AnyPredictions, settings: UnknownSettings) -> UnknownLimits:
    """familiar: float64 [clips]. answers: predictions. Both of the validation clips. Where no confidence limit keeps
    the risk, the limit is above all of theirs."""
    ranked = np.sort(familiar)
    # How many clips may be unknown, never all: the limit is the familiarity of one of them.
    allowed = min(int(np.floor((1 - settings.coverage) * len(ranked) + 1e-9)), len(ranked) - 1)
    least = 0.0
    if settings.risk is not None and isinstance(answers, Predictions):
        found = risk_coverage(answers).for_risk(settings.risk)
        least = float(answers.confidence.max()) + 2 * _ROUNDING if found is None else found
        # A margin for other runtimes, which round differently, but below the next less confident clip.
        less_sure = float(answers.confidence[answers.confidence < least].max(initial=0.0))
        least -= min(_ROUNDING, (least - less_sure) / 2)
    return UnknownLimits(float(ranked[allowed]) - _ROUNDING, max(0.0, least))


def rejection_stats(unknown: UnknownLimits, familiar: Floats, answers: AnyPredictions) -> dict[str, Any]:
    """coverage: share of the clips that are answered. risk: share of wrong answers among these, of one label a clip."""
    known = _known(unknown, familiar, answers)
    if isinstance(answers, Predictions):
        right = (answers.predicted == answers.truth)[known & (answers.truth >= 0)]
        return {"coverage": float(known.mean()), "risk": float(1 - right.mean()) if right.size else None}
    return {"coverage": float(known.mean())}


def unknown_by_class(unknown: UnknownLimits, familiar: Floats, answers: Predictions) -> dict[str, dict[str, int]]:
    """Per class, how many clips are answered "unknown": new kinds of faults are, more often than normal sounds."""
    known = _known(unknown, familiar, answers)
    found = {label: answers.truth == number for number, label in enumerate(answers.labels)}
    return {
        label: {"unknown": int((has & ~known).sum()), "clips": int(has.sum())}
        for label, has in found.items()
        if has.any()
    }


def _known(unknown: UnknownLimits, familiar: Floats, answers: AnyPredictions) -> npt.NDArray[np.bool_]:
    known = familiar >= unknown.least_familiarity
    return known & (answers.confidence >= unknown.least_confidence) if isinstance(answers, Predictions) else known
