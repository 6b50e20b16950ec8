"""After the last epoch: fit on validation clips, score the test clips, write both."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earsight.files import write_json
from earsight.network.checkpoint import save_fitted
from earsight.network.classifier import Classifier
from earsight.network.description import METRICS_NAME, PREDICTIONS_NAME, REFIT_KEY
from earsight.scores.alarms import AlarmThreshold, alarm_thresholds
from earsight.scores.calibration import Reliability, fit_temperature, reliability, with_temperature
from earsight.scores.crossval import GroupScore, group_scores, jackknife_scores, rarer_class_intervals
from earsight.scores.dispatch import AnyMetrics, AnyPredictions, measure
from earsight.scores.intervals import Interval
from earsight.scores.multilabel import MultiPredictions, fit_thresholds
from earsight.scores.predictions import Predictions
from earsight.tasks.progress import Progress
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.history import TrainingProgress
from earsight.tasks.training.plan import Plan
from earsight.tasks.training.refit import FOLDER_NAME, first_network_folder, promote_refit
from earsight.tasks.training.scoring import score
from earsight.tasks.training.unknown import familiarity, fit_directions, fit_unknown, rejection_stats, unknown_by_class


@dataclass(frozen=True)
class ScoredRun:
    """A finished run. classifier: its network, with all that was fitted. predictions: of its test clips. test, valid:
    their metrics; valid: None where nothing was held out. before, after: reliability without and with the temperature.
    unknown: what ``unknown`` is told by, and what comes of it on the validation and the test clips. intervals: 95 %, of
    test scores that differ from group to group. groups: the test score of each, the worst first. alarms: of two
    classes, thresholds of the rarer one."""

    classifier: Classifier
    predictions: AnyPredictions
    test: AnyMetrics
    valid: AnyMetrics | None
    before: Reliability
    after: Reliability
    unknown: dict[str, Any]
    intervals: dict[str, Interval]
    groups: tuple[GroupScore, ...]
    alarms: tuple[AlarmThreshold, ...]

    @property
    def thresholds(self) -> dict[str, float]:
        """Label → threshold, where clips can have several; else {}."""
        classifier = self.classifier
        return dict(zip(classifier.labels, classifier.thresholds, strict=True)) if classifier.thresholds else {}


def finish(
    plan: Plan,
    decoded: DecodedData,
    done: TrainingProgress,
    facts: dict[str, Any],
    device: torch.device,
    shown: Progress,
    *,
    refitted: bool,
) -> ScoredRun:
    """Fit temperature, thresholds and limits of the unknown on the validation clips; score the test clips; write
    metrics.json and predictions.csv. refitted: there is a second network, which takes over what is fitted for the
    first."""
    run, store, tested = plan.run, decoded.store, decoded.parts["test"]
    classifier, answers, unknown = _fitted(plan, decoded, refitted, device, shown)
    predictions = score(classifier, store, tested)
    if unknown:
        near = familiarity(classifier, store, tested)
        unknown["test"] = rejection_stats(classifier.unknown, near, predictions)
        if isinstance(predictions, Predictions):
            unknown["test"]["classes"] = unknown_by_class(classifier.unknown, near, predictions)
    plain = with_temperature(predictions, 1 / classifier.temperature)  # what the network said before
    groups, test = group_scores([predictions]), measure(predictions)
    held_out = not decoded.split.training_score
    scored = ScoredRun(
        classifier=classifier,
        predictions=predictions,
        test=test,
        valid=measure(answers) if answers else None,
        before=reliability(plain),
        after=reliability(predictions),
        unknown=unknown,
        intervals=_intervals(predictions, test) if held_out and len(groups) > 1 else {},
        groups=groups,
        alarms=_alarms(answers, predictions),
    )
    names = tuple(store.clips[i].full_name for i in tested)
    replace(predictions, paths=names).write_csv(run / PREDICTIONS_NAME)
    numbers = _numbers(plan, decoded, done, scored, facts)
    write_json(run / METRICS_NAME, numbers)
    return scored


def _fitted(
    plan: Plan, decoded: DecodedData, refitted: bool, device: torch.device, shown: Progress
) -> tuple[Classifier, AnyPredictions | None, dict[str, Any]]:
    """The run's network with its temperature, thresholds and limits of unknown, which are written, its answers to the
    validation clips, and what ``unknown`` does there."""
    run, store, split = plan.run, decoded.store, decoded.split
    classifier = Classifier.load(first_network_folder(run) if refitted else run, str(device))
    classifier.temperature = 1.0  # a run that was stopped here before has one already
    if split.training_score:
        return classifier, None, {}
    answers = score(classifier, store, decoded.parts["valid"])
    classifier.temperature = fit_temperature(answers)
    answers = with_temperature(answers, classifier.temperature)
    if isinstance(answers, MultiPredictions):
        classifier.thresholds = fit_thresholds(answers)
        answers = replace(answers, predicted=answers.probabilities >= np.array(classifier.thresholds))
    fit_directions(classifier, store, decoded.parts["train"])
    near = familiarity(classifier, store, decoded.parts["valid"])
    classifier.unknown = fit_unknown(near, answers, plan.recipe.unknown)
    answered = rejection_stats(classifier.unknown, near, answers)
    risk = plan.recipe.unknown.risk
    if risk is not None and not answered["coverage"]:
        shown.warn(
            f"no confidence threshold keeps the risk on the validation clips within {risk:g}, so nearly all answers "
            "will be unknown; raise --unknown.risk"
        )
    unknown = {**classifier.unknown.to_dict(), "valid": answered}
    if refitted:
        classifier = _second_network(run, classifier, decoded)
    else:
        save_fitted(classifier, run)
    return classifier, answers, unknown


def _second_network(run: Path, chosen: Classifier, decoded: DecodedData) -> Classifier:
    """The refitted network with the values fitted for the first, which had not heard the validation clips. It replaces
    the network of the run."""
    again = Classifier.load(run / FOLDER_NAME, str(next(chosen.parameters()).device))
    again.temperature, again.thresholds, again.unknown = chosen.temperature, chosen.thresholds, chosen.unknown
    fit_directions(again, decoded.store, decoded.refitted().parts["train"])
    save_fitted(again, run / FOLDER_NAME)
    promote_refit(run)
    return again


def _intervals(predictions: AnyPredictions, test: AnyMetrics) -> dict[str, Interval]:
    left_out = jackknife_scores([predictions])
    found = {name: left_out.interval(name) for name in test.NAMES}
    return {name: one for name, one in found.items() if one} | rarer_class_intervals(predictions)


def _alarms(valid: AnyPredictions | None, test: AnyPredictions) -> tuple[AlarmThreshold, ...]:
    if not isinstance(valid, Predictions) or not isinstance(test, Predictions):
        return ()
    return alarm_thresholds(valid, test)


def _numbers(
    plan: Plan, decoded: DecodedData, done: TrainingProgress, scored: ScoredRun, facts: dict[str, Any]
) -> dict[str, Any]:
    """The content of metrics.json."""
    split = decoded.split
    caveat = {"caveat": split.caveat} if split.caveat else {}
    optional = {
        "thresholds": scored.thresholds,
        "unknown": scored.unknown,
        "mean_of_epochs": done.mean_of_epochs,
        "refit": facts.get(REFIT_KEY),
        "alarm_thresholds": [one.to_dict() for one in scored.alarms],
    }
    return {
        "train" if split.training_score else "test": {**caveat, **scored.test.to_dict()},
        "intervals95": {name: list(one) for name, one in scored.intervals.items()},
        "groups": [asdict(one) for one in scored.groups],
        **({"valid": {**caveat, **scored.valid.to_dict()}} if scored.valid else {}),
        "calibration": {
            "temperature": scored.classifier.temperature,
            "ece": scored.after.error,
            "ece_uncalibrated": scored.before.error,
            "ece_by_chance": scored.after.by_chance,
        },
        **{name: value for name, value in optional.items() if value},
        "best_epoch": done.best_epoch,
        "epochs": len(done.history),
        "split": facts["split"],
        "synthetic": plan.dataset.synthetic,
        "fingerprint": facts["data"]["fingerprint"],
        "clips": {name: len(indices) for name, indices in decoded.parts.items()},
    }
