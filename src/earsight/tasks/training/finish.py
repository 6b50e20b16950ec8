"""A trained run → its scores, figures and report."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earsight.audio.load import middle_crop
from earsight.dataset.split import Split
from earsight.files import write_whole
from earsight.network.checkpoint import keep_fitted
from earsight.network.classifier import Classifier
from earsight.network.description import REFIT_KEY
from earsight.plain import counted
from earsight.scores.calibration import Reliability, fit_temperature, reliability, risk_coverage, with_temperature
from earsight.scores.crossval import group_scores, resampled_scores
from earsight.scores.figures import (
    draw_confusion,
    draw_curve,
    draw_explanations,
    draw_reliability,
    draw_risk_coverage,
)
from earsight.scores.intervals import Interval
from earsight.scores.kinds import AnyMetrics, AnyPredictions, measure
from earsight.scores.multilabel import MultiMetrics, MultiPredictions, fit_thresholds
from earsight.scores.report import FigureEntry, LeftOut, Report, wav_bytes, worst_mistakes, write_report
from earsight.tasks.explain import explain_waveform
from earsight.tasks.progress import Progress
from earsight.tasks.training.decoded import Decoded
from earsight.tasks.training.finish_multilabel import draw_label_bars, draw_label_calibration
from earsight.tasks.training.history import Progressed
from earsight.tasks.training.plan import Plan
from earsight.tasks.training.refit import FOLDER_NAME, chosen_network, keep_refit
from earsight.tasks.training.scoring import score
from earsight.tasks.training.unknown import familiarity, fit_directions, fit_unknown, told


def finish(
    plan: Plan,
    decoded: Decoded,
    done: Progressed,
    again: Progressed | None,
    facts: dict[str, Any],
    device: torch.device,
    shown: Progress,
) -> tuple[AnyMetrics, AnyMetrics | None]:
    """Fit the temperature (and the thresholds of several labels) on the validation clips; score the kept network, each
    test clip once; write metrics.json, predictions.csv, figures and report.html. again: of the second training, whose
    network takes what was fitted over from the first one; None without."""
    run, store, parts, split = plan.run, decoded.store, decoded.parts, decoded.split
    classifier = Classifier.load(chosen_network(run) if again else run, str(device))
    classifier.temperature = 1.0  # where a run was stopped here before, model.json has one already
    valid, unknown = None, {}
    if not split.training_score:
        answers = score(classifier, store, parts["valid"])
        classifier.temperature = fit_temperature(answers)
        answers = with_temperature(answers, classifier.temperature)
        if isinstance(answers, MultiPredictions):
            classifier.thresholds = fit_thresholds(answers)
            answers = replace(answers, predicted=answers.probabilities >= np.array(classifier.thresholds))
        fit_directions(classifier, store, parts["train"])
        near = familiarity(classifier, store, parts["valid"])
        classifier.unknown = fit_unknown(near, answers, plan.recipe.unknown)
        if again:
            classifier = _second_network(run, classifier, decoded)
        else:
            keep_fitted(classifier, run)
        valid = measure(answers)
        answered = told(classifier.unknown, near, answers)
        unknown = {**classifier.unknown.to_dict(), "valid": answered}
        if (risk := plan.recipe.unknown.risk) is not None and not answered["coverage"]:
            shown.say(
                f"warning: no confidence keeps a risk of {risk:g} on the validation clips, so nearly all answers will "
                "be unknown; raise --unknown.risk"
            )
    predictions = score(classifier, store, parts["test"])
    test = measure(predictions)
    if unknown:
        near = familiarity(classifier, store, parts["test"])
        unknown["test"] = told(classifier.unknown, near, predictions)
    plain = with_temperature(predictions, 1 / classifier.temperature)  # what the network said before
    before, after = reliability(plain), reliability(predictions)
    calibration = {"temperature": classifier.temperature, "ece": after.error, "ece_uncalibrated": before.error}
    thresholds = dict(zip(classifier.labels, classifier.thresholds, strict=True)) if classifier.thresholds else {}
    names = tuple(store.clips[i].full_name for i in parts["test"])
    replace(predictions, paths=names).write_csv(run / "predictions.csv")
    part = "train" if split.training_score else "test"
    caveat = {"caveat": split.caveat} if split.caveat else {}
    groups = group_scores([predictions])
    intervals: dict[str, Interval] = {}
    if len(groups) > 1 and not split.training_score:
        resampled = resampled_scores([predictions])
        found = {name: resampled.interval(name) for name in test.NAMES}
        # Where no group differs from another, drawing them again tells nothing.
        intervals = {name: one for name, one in found.items() if one and one.low < one.high}
    numbers: dict[str, Any] = {
        part: {**caveat, **test.to_dict()},
        "intervals95": {name: list(one) for name, one in intervals.items()},
        "groups": [asdict(one) for one in groups],
        **({"valid": {**caveat, **valid.to_dict()}} if valid else {}),
        "calibration": calibration,
        **({"thresholds": thresholds} if thresholds else {}),
        **({"unknown": unknown} if unknown else {}),
        "best_epoch": done.best_epoch,
        **({"mean_of_epochs": done.mean_of_epochs} if done.mean_of_epochs else {}),
        "epochs": len(done.history),
        **({"refit": facts[REFIT_KEY]} if again else {}),
        "split": facts["split"],
        "synthetic": plan.dataset.synthetic,
        "fingerprint": facts["data"]["fingerprint"],
        "clips": {name: len(indices) for name, indices in parts.items()},
    }
    write_whole(run / "metrics.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    figures = [*_draw(run / "figures", done, again, test, split)]
    if valid:
        figures[1:1] = draw_calibration(run / "figures", predictions, before, after)
    facts = {
        **facts,
        **{"calibration": calibration, "thresholds": thresholds, "unknown": unknown},
        **{"intervals": intervals, "groups": groups},
    }
    explained = _explain(classifier, decoded, predictions, run / "figures" / "mistakes.png")
    report = run / "report.html"
    _write_report(report, plan, decoded, done, again, predictions, test, valid, tuple(figures), explained, facts)
    return test, valid


def _second_network(run: Path, chosen: Classifier, decoded: Decoded) -> Classifier:
    """With what was fitted on the validation clips before it had heard them; the run's from now on."""
    again = Classifier.load(run / FOLDER_NAME, str(next(chosen.parameters()).device))
    again.temperature, again.thresholds, again.unknown = chosen.temperature, chosen.thresholds, chosen.unknown
    fit_directions(again, decoded.store, decoded.refitted().parts["train"])
    keep_fitted(again, run / FOLDER_NAME)
    keep_refit(run)
    return again


def _explain(classifier: Classifier, decoded: Decoded, predictions: AnyPredictions, path: Path) -> FigureEntry | None:
    """The first four mistakes that the report plays."""
    rows = predictions.mistakes(4)
    if not rows:
        return None
    found = [explain_waveform(classifier, decoded.store.waveform(decoded.parts["test"][row])) for row in rows]
    titles = [f"{one}; truth: {predictions.told(row)[0]}" for row, one in zip(rows, found, strict=True)]
    return FigureEntry(
        "What spoke for the first of them",
        "The mel image of the middle of each clip, bright where it spoke for the answer.",
        draw_explanations(path, found, titles),
        wide=True,
    )


def draw_calibration(
    folder: Path, predictions: AnyPredictions, before: Reliability, after: Reliability
) -> tuple[FigureEntry, ...]:
    if isinstance(predictions, MultiPredictions):
        return draw_label_calibration(folder, predictions, before, after)
    drawn = draw_reliability(folder / "reliability.png", before, after)
    curve = draw_risk_coverage(folder / "risk-coverage.png", risk_coverage(predictions))
    return (
        FigureEntry(
            "Calibration",
            "How often answers of each confidence are right, before and after the temperature that was fitted on the "
            "validation clips. On the dotted line a probability is worth what it says.",
            drawn,
        ),
        FigureEntry(
            "Risk and coverage",
            "If only the more confident clips are answered: the share of wrong answers among them.",
            curve,
        ),
    )


def _draw(
    folder: Path, done: Progressed, again: Progressed | None, test: AnyMetrics, split: Split
) -> tuple[FigureEntry, ...]:
    folder.mkdir(exist_ok=True)
    epochs = [row.epoch for row in done.history]
    held_out = not split.training_score
    marked = None if done.mean_of_epochs else done.best_epoch
    losses = {"training": [row.train_loss for row in done.history]}
    accuracies = {"training": [row.train_accuracy for row in done.history]}
    if held_out:
        losses["validation"] = [row.valid_loss for row in done.history]
        accuracies["validation"] = [row.valid_accuracy for row in done.history]
        if test.several:
            accuracies["mAP of validation"] = [row.valid_map for row in done.history]
    if again:
        after = [math.nan] * (len(epochs) - len(again.history))
        losses["second training"] = [row.train_loss for row in again.history] + after
        accuracies["second training"] = [row.train_accuracy for row in again.history] + after
    loss = draw_curve(
        folder / "loss.png",
        epochs,
        losses,
        title="Loss",
        y_name=f"{'binary ' if test.several else ''}cross entropy (nats)",
        marked_epoch=marked,
    )
    accuracy = draw_curve(
        folder / "accuracy.png",
        epochs,
        accuracies,
        title="Accuracy",
        y_name="accuracy",
        marked_epoch=marked,
    )
    which = ("test clips" if held_out else "training clips") + (
        f", {split.caveat}" if split.caveat and held_out else ""
    )
    if isinstance(test, MultiMetrics):
        first = draw_label_bars(folder / "labels.png", test, which)
        told = "Share of clips with every label right at 0.5, and the mAP that the epoch is chosen by."
    else:
        labels = [row.label for row in test.per_class]
        drawn = draw_confusion(folder / "confusion.png", test.confusion, labels, title=f"Confusion, {which}")
        first = FigureEntry("Confusion matrix", f"Truth in rows, answers in columns; {which}.", drawn)
        told = "Share of clips answered rightly."
    entries = [
        first,
        FigureEntry("Loss", "Training clips are augmented, so their loss may lie above.", loss),
        FigureEntry("Accuracy", f"{told} {_why_kept(done, test, held_out)}", accuracy),
    ]
    if (folder / "images.png").is_file():
        entries.append(
            FigureEntry("What the network sees", "Training clips as mel images.", folder / "images.png", wide=True)
        )
    return tuple(entries)


def _why_kept(done: Progressed, test: AnyMetrics, held_out: bool) -> str:
    if not held_out:
        return "The last epoch was kept: nothing was held out to choose one by."
    if done.mean_of_epochs:
        return f"Kept: {done.kept}, which are the best on the validation clips."
    score = "mAP" if test.several else "UAR"
    return (
        f"The dotted epoch was kept: the last whose {score} on the validation clips is within one standard error of "
        "that of the best."
    )


def _refit(facts: dict[str, Any]) -> str:
    told, thresholds = facts[REFIT_KEY], ", the thresholds" if facts["thresholds"] else ""
    return (
        f"trained once more from the start: {counted(told['epochs'], 'epoch')} on {told['clips']} clips, training and "
        f"validation together; the temperature{thresholds} and the limits of unknown are the first network's"
    )


def _unknown(numbers: dict[str, Any]) -> str:
    if not numbers:
        return "only silence: nothing was held out to fit more on"
    test = numbers["test"]
    wrong = "" if test.get("risk") is None else f", {test['risk']:.1%} of these wrongly"
    return f"{test['coverage']:.1%} of the scored clips are known enough to be answered{wrong}"


def _write_report(
    path: Path,
    plan: Plan,
    decoded: Decoded,
    done: Progressed,
    again: Progressed | None,
    predictions: AnyPredictions,
    test: AnyMetrics,
    valid: AnyMetrics | None,
    figures: tuple[FigureEntry, ...],
    explained: FigureEntry | None,
    facts: dict[str, Any],
) -> None:
    store, parts, split = decoded.store, decoded.parts, decoded.split

    def sound_of(row: int) -> bytes:
        heard = middle_crop(store.waveform(parts["test"][row]), store.settings)
        return wav_bytes(heard[0], store.settings.rate_hz)

    groups = {clip.group for clip in store.clips} - {""}
    total_s = sum(row.seconds for row in (*done.history, *(again.history if again else ())))
    listed = (
        ("Clips", f"{len(store.clips)} from {plan.dataset.files} files, {store.duration_s / 60:.1f} min"),
        ("Train / valid / test", " / ".join(str(len(parts[part])) for part in ("train", "valid", "test"))),
        ("Groups", f"{len(groups)} {plan.dataset.group_name}s" if groups else "none known"),
        ("Epochs", f"{len(done.history)}, kept: {done.kept}"),
        *([("Refit", _refit(facts))] if again else []),
        (
            "Calibration error",
            f"{facts['calibration']['ece']:.3f} (before the temperature of {facts['calibration']['temperature']:.2f}: "
            f"{facts['calibration']['ece_uncalibrated']:.3f})"
            if valid
            else "not calibrated: nothing was held out to do it on",
        ),
        ("Unknown", _unknown(facts["unknown"])),
        ("Training time", f"{total_s / 60:.1f} min, {done.history[-1].clips_per_s:.0f} clips/s"),
        ("Silent clips", str(store.silent)),
        ("Data fingerprint", facts["data"]["fingerprint"]),
    )
    write_report(
        path,
        Report(
            title=plan.run.name,
            subtitle=f"{plan.recipe.network.model} on {plan.dataset.place.resolve().name}",
            split_sentence=facts["split"]["sentence"],
            caveat=split.caveat,
            training_score=split.training_score,
            synthetic=plan.dataset.synthetic,
            created=facts["created"],
            metrics=test,
            extra_metrics={"validation (before the refit)" if again else "validation": valid} if valid else {},
            facts=listed,
            figures=figures,
            mistakes=worst_mistakes(predictions, sound_of),
            explained=explained,
            failures=tuple(LeftOut(str(f.path), f.reason) for f in decoded.failures),
            settings=facts["recipe"],
            versions=facts["versions"],
            thresholds=facts["thresholds"],
            intervals=facts["intervals"],
            groups=facts["groups"] if len(facts["groups"]) > 1 else (),
            group_name=plan.dataset.group_name,
        ),
    )
