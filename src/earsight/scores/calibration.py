"""Calibration of probabilities: temperature, expected calibration error, risk and coverage."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError, SettingsError
from earsight.scores.dispatch import AnyPredictions
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.predictions import Predictions

Floats = npt.NDArray[np.float64]
_LOWEST, _HIGHEST = 0.05, 20.0
_SMALLEST = 1e-300
P = TypeVar("P", bound=AnyPredictions)


def fit_temperature(predictions: AnyPredictions) -> float:
    """The likeliest T in [0.05, 20] for softmax(logits / T) (Guo et al. 2017, "On calibration of modern neural
    networks"), or sigmoid(logits / T) for several labels. Above 1: the network was overconfident. 1 where no truth is
    known. Fit it on validation clips.

    Minimises n · (mean cross entropy) + log(T)² / (2 log(2)²), n being the number of groups (a clip without one counts
    as a group): clips of two speakers, however many, say little about all others, so the prior is that T is 1 within a
    factor of 2 (docs/decisions/0009-temperature.md)."""
    if not predictions.known.any():
        return 1.0
    mean = _binary_loss(predictions) if isinstance(predictions, MultiPredictions) else _loss(predictions)
    groups = [group for group, known in zip(predictions.groups, predictions.known, strict=True) if known]
    observed = len(set(groups) - {""}) + groups.count("")

    def loss(log_t: float) -> float:
        return mean(math.exp(-log_t)) + log_t**2 / (2 * math.log(2) ** 2 * observed)

    # There may be several minima: golden-section search around the lowest point of a grid.
    grid = np.linspace(math.log(_LOWEST), math.log(_HIGHEST), 61)
    best = int(np.argmin([loss(log_t) for log_t in grid]))
    low, high = float(grid[max(0, best - 1)]), float(grid[min(60, best + 1)])
    golden = (math.sqrt(5) - 1) / 2
    one, two = high - golden * (high - low), low + golden * (high - low)
    at_one, at_two = loss(one), loss(two)
    while high - low > 1e-9:
        if at_one <= at_two:
            high, two, at_two = two, one, at_one
            one = high - golden * (high - low)
            at_one = loss(one)
        else:
            low, one, at_one = one, two, at_two
            two = low + golden * (high - low)
            at_two = loss(two)
    return math.exp((low + high) / 2)


def _loss(predictions: Predictions) -> Callable[[float], float]:
    """1/T → mean cross entropy."""
    known = predictions.known
    logits, truth = _logits(predictions.probabilities[known]), predictions.truth[known]
    of_truth = logits[np.arange(len(truth)), truth]

    def loss(inverse: float) -> float:
        scaled = logits * inverse
        highest = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0] - of_truth * inverse).mean())

    return loss


def _binary_loss(predictions: MultiPredictions) -> Callable[[float], float]:
    """1/T → mean binary cross entropy."""
    signed = np.where(predictions.truth, 1, -1) * _log_odds(predictions.probabilities)
    return lambda inverse: float(np.logaddexp(0, -signed * inverse).mean())


def with_temperature(predictions: P, temperature: float) -> P:
    """The predictions with softmax(logits / temperature), or the sigmoid; answers stay the same. Raises SettingsError
    unless temperature is above 0."""
    if not temperature > 0:
        raise SettingsError(f"a temperature is above 0, got {temperature:g}")
    if isinstance(predictions, MultiPredictions):
        odds = _log_odds(predictions.probabilities) / temperature
        return replace(predictions, probabilities=np.exp(-np.logaddexp(0, -odds)))
    scaled = _logits(predictions.probabilities) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return replace(predictions, probabilities=powers / powers.sum(axis=1, keepdims=True))


def _logits(probabilities: Floats) -> Floats:
    """Logits up to a constant in each row, which softmax ignores."""
    return np.log(np.maximum(probabilities, _SMALLEST))


def _log_odds(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _SMALLEST)) - np.log(np.maximum(1 - probabilities, _SMALLEST))


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence, in bins of equal width over (0, 1]. confidence, accuracy: means of each bin, NaN where it
    is empty. clips: count of each bin. For several labels a clip: pairs of clip and label, by the label's probability;
    accuracy is how often it is there. by_chance: the error that perfectly calibrated probabilities would show, about,
    with so few clips."""

    confidence: Floats
    accuracy: Floats
    clips: npt.NDArray[np.int64]
    by_chance: float = 0.0

    @property
    def error(self) -> float:
        """The expected calibration error: |accuracy − confidence|, averaged over the clips (Naeini et al. 2015)."""
        gaps = np.abs(np.nan_to_num(self.accuracy - self.confidence))
        return float((gaps * self.clips).sum() / self.clips.sum())


def reliability(predictions: AnyPredictions, bins: int = 15) -> Reliability:
    """Raises DataError where no truth is known."""
    if isinstance(predictions, MultiPredictions):
        confidence, right = predictions.probabilities.ravel(), predictions.truth.ravel()
    else:
        confidence, right = _confidence_and_correct(predictions)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    clips = np.bincount(place, minlength=bins)
    # The mean absolute value of a normal variable is √(2 / π) standard deviations.
    deviations = np.sqrt(np.bincount(place, confidence * (1 - confidence), minlength=bins))
    by_chance = float(math.sqrt(2 / math.pi) * deviations.sum() / len(confidence))
    with np.errstate(invalid="ignore"):
        return Reliability(
            np.bincount(place, confidence, minlength=bins) / clips,
            np.bincount(place, right, minlength=bins) / clips,
            clips,
            by_chance,
        )


@dataclass(frozen=True)
class RiskCoverage:
    """Answering only clips of confidence ≥ threshold: coverage is their share, risk the share of wrong answers among
    them. All float64 [thresholds], from the highest threshold down, with coverage rising to 1."""

    threshold: Floats
    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """Area under the curve of risk over coverage; smaller is better (Geifman and El-Yaniv 2017)."""
        widths = np.diff(self.coverage, prepend=0.0)
        return float((self.risk * widths).sum())

    def for_risk(self, share: float) -> float | None:
        """The lowest threshold whose risk is at most ``share``; None where there is none."""
        if not 0 <= share < 1:
            raise SettingsError(f"a risk lies between 0 and 1, got {share:g}")
        good = np.flatnonzero(self.risk <= share + 1e-12)
        return float(self.threshold[good[-1]]) if good.size else None


def risk_coverage(predictions: Predictions) -> RiskCoverage:
    """Raises DataError where no truth is known."""
    confidence, right = _confidence_and_correct(predictions)
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong = confidence[order], np.cumsum(~right[order])
    last = np.append(np.diff(confidence) < 0, True)  # clips of equal confidence are answered together
    answered = np.arange(1, len(confidence) + 1)[last]
    return RiskCoverage(confidence[last], answered / len(confidence), wrong[last] / answered)


def _confidence_and_correct(predictions: Predictions) -> tuple[Floats, npt.NDArray[np.bool_]]:
    known = predictions.known
    if not known.any():
        raise DataError(f"nothing to score: none of {len(known)} clips has a known label")
    return predictions.confidence[known], predictions.right[known]
