"""The figures of a run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from earsight.dataset.loader import training_batches
from earsight.dataset.split import Split
from earsight.mel.spectrogram import decibels, mel_edges_hz
from earsight.network.classifier import Classifier
from earsight.scores.calibration import Reliability, risk_coverage
from earsight.scores.curves import curves_of, draw_false_alarms, draw_precision_recall
from earsight.scores.dispatch import AnyMetrics, AnyPredictions
from earsight.scores.figures import (
    CLASSES_BESIDE,
    draw_bars,
    draw_confusion,
    draw_curve,
    draw_explanations,
    draw_image_grid,
    draw_reliability,
    draw_risk_coverage,
)
from earsight.scores.metrics import Metrics
from earsight.scores.multilabel import MultiMetrics, MultiPredictions
from earsight.scores.report import FigureEntry
from earsight.tasks.explain import explain_waveform
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.history import TrainingProgress

_IMAGES = (
    "Eight training clips as mel images, each with its label: time from left to right, low frequencies at the bottom"
)


def draw_run(
    folder: Path, done: TrainingProgress, again: TrainingProgress | None, test: AnyMetrics, split: Split
) -> tuple[FigureEntry, ...]:
    """Draw scores and curves; the first batch is included where it was drawn. again: history of a refit."""
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
        caption = f"Truth in rows, answers in columns; {which}."
        first = FigureEntry("Confusion matrix", caption, drawn, len(labels) > CLASSES_BESIDE, confusion_alt(test))
        told = "Share of clips answered correctly."
    entries = [
        first,
        FigureEntry(
            "Loss", "Training clips are augmented, so their loss may be higher.", loss, alt=_curve_alt("Loss", losses)
        ),
        FigureEntry(
            "Accuracy",
            f"{told} {_why_kept(done, test, held_out)}",
            accuracy,
            alt=_curve_alt("Accuracy", accuracies),
        ),
    ]
    if (folder / "images.png").is_file():
        entries.append(
            FigureEntry(
                "What the network sees", "Training clips as mel images.", folder / "images.png", wide=True, alt=_IMAGES
            )
        )
    return tuple(entries)


def confusion_alt(metrics: Metrics) -> str:
    """How many clips are right, and what is most often taken for what."""
    label = [row.label for row in metrics.per_class]
    worst = [
        f"{label[one.truth]} taken for {label[one.answer]}: {one.clips} of {one.of}" for one in metrics.mistakes[:3]
    ]
    right = f"Confusion matrix: {int(metrics.confusion.trace())} of {metrics.clips} clips on the diagonal"
    return f"{right}. Most frequent mistakes: {'; '.join(worst)}." if worst else f"{right}."


def bars_alt(title: str, names: Sequence[str], values: Sequence[float]) -> str:
    """The first, and the last bar."""
    return f"{title}: from {names[0]} {values[0]:.3f} to {names[-1]} {values[-1]:.3f}." if names else f"{title}: none."


def _curve_alt(name: str, series: Mapping[str, Sequence[float]]) -> str:
    """Where each line begins and ends."""
    known = {one: [value for value in values if math.isfinite(value)] for one, values in series.items()}
    lines = [f"{one} from {values[0]:.3f} to {values[-1]:.3f}" for one, values in known.items() if values]
    return f"{name} over the epochs: {', '.join(lines)}."


def _calibration_alt(before: Reliability, after: Reliability) -> str:
    return f"Calibration: error {before.error:.3f} before and {after.error:.3f} after the temperature."


def _why_kept(done: TrainingProgress, test: AnyMetrics, held_out: bool) -> str:
    if not held_out:
        return "The last epoch was kept: nothing was held out to choose one by."
    if done.mean_of_epochs:
        return f"Kept: {done.kept}, which are the best on the validation clips."
    score = "mAP" if test.several else "UAR"
    return (
        f"The dotted epoch was kept: the last whose {score} on the validation clips is within one standard error of "
        "that of the best."
    )


def draw_label_bars(path: Path, metrics: MultiMetrics, which: str) -> FigureEntry:
    """Average precision of each label with clips, the lowest first. which: the clips in words."""
    rows = sorted((row for row in metrics.per_class if row.support), key=lambda row: (row.ap, row.label))
    values, names = [row.ap for row in rows], [row.label for row in rows]
    title = f"Average precision, {which}"
    drawn = draw_bars(path, values, names, title=title, x_name="average precision", marked=metrics.map)
    return FigureEntry(
        "Label by label",
        f"From the hardest to the easiest; the dotted line is the mAP; {which}.",
        drawn,
        alt=bars_alt(title, names, values),
    )


def draw_calibration(
    folder: Path, predictions: AnyPredictions, before: Reliability, after: Reliability
) -> tuple[FigureEntry, ...]:
    if isinstance(predictions, MultiPredictions):
        return _draw_label_calibration(folder, predictions, before, after)
    drawn = draw_reliability(folder / "reliability.png", before, after)
    risks = risk_coverage(predictions)
    curve = draw_risk_coverage(folder / "risk-coverage.png", risks)
    half = float(risks.risk[min(int((risks.coverage < 0.5).sum()), len(risks.risk) - 1)])
    return (
        FigureEntry(
            "Calibration",
            "How often answers of each confidence are right, before and after the temperature that was fitted on the "
            "validation clips. On the dotted line both are equal. The larger a point, the more clips it stands for; "
            "one of a few clips says little.",
            drawn,
            alt=_calibration_alt(before, after),
        ),
        FigureEntry(
            "Risk and coverage",
            "If only the more confident clips are answered: the share of wrong answers among them.",
            curve,
            alt=f"Wrong answers: {half:.1%} among the more confident half of the clips, {risks.risk[-1]:.1%} of all.",
        ),
        *draw_ranked(folder, predictions),
    )


def draw_ranked(folder: Path, predictions: AnyPredictions) -> tuple[FigureEntry, ...]:
    """What other thresholds would find; nothing where all scored clips are of one class, or classes are too many."""
    curves = curves_of(predictions)
    if not curves:
        return ()
    each = "of each class against all others" if len(curves) > 1 else f"of {curves[0].name}"
    return (
        FigureEntry(
            "Precision and recall",
            f"At every threshold on the probability {each}, from the highest at the left.",
            draw_precision_recall(folder / "precision-recall.png", curves),
        ),
        FigureEntry(
            "Recall and false alarms",
            f"The ROC curve {each}. The axis is logarithmic, so that it can be read where false alarms are few.",
            draw_false_alarms(folder / "false-alarms.png", curves),
        ),
    )


def _draw_label_calibration(
    folder: Path, predictions: MultiPredictions, before: Reliability, after: Reliability
) -> tuple[FigureEntry, ...]:
    """Precision over recall, and what a probability is worth."""
    curve = draw_precision_recall(folder / "precision-recall.png", curves_of(predictions))
    drawn = draw_reliability(
        folder / "reliability.png", before, after, x_name="probability of a label", y_name="share of clips that have it"
    )
    return (
        FigureEntry(
            "Precision and recall",
            "At every threshold, from the highest at the left.",
            curve,
            alt="Curves of precision over recall; the table of labels has the average precision of each.",
        ),
        FigureEntry(
            "Calibration",
            "How often clips have a label to which each probability was given, over all labels of all clips, before "
            "and after the temperature that was fitted on the validation clips. On the dotted line both are equal.",
            drawn,
            alt=_calibration_alt(before, after),
        ),
    )


def draw_mistakes(
    classifier: Classifier, decoded: DecodedData, predictions: AnyPredictions, path: Path
) -> FigureEntry | None:
    """Explanations of the four most confident mistakes; None without mistakes."""
    rows = predictions.mistakes(4)
    if not rows:
        return None
    found = [explain_waveform(classifier, decoded.store.waveform(decoded.parts["test"][row])) for row in rows]
    titles = [f"{one}; truth: {predictions.describe(row)[0]}" for row, one in zip(rows, found, strict=True)]
    return FigureEntry(
        "What led to the first of these mistakes",
        "The mel image of the middle of each clip, bright where it supported the answer.",
        draw_explanations(path, found, titles),
        wide=True,
        alt="; ".join(titles),
    )


def draw_first_batch(folder: Path, classifier: Classifier, decoded: DecodedData) -> None:
    """Draw some training clips as the network sees them, without augmentation."""
    folder.mkdir(parents=True, exist_ok=True)
    store, mel, rate_hz = decoded.store, classifier.mel, classifier.audio.rate_hz
    indices, crops = next(training_batches(store, decoded.parts["train"], 8, np.random.default_rng(rate_hz)))
    with torch.inference_mode():
        decibel = decibels(classifier.image.spectrogram(torch.from_numpy(crops[:8]))[:, 0], mel.power)
    draw_image_grid(
        folder / "images.png",
        decibel.numpy(),
        [", ".join(store.clips[i].labels) or "none" for i in indices[:8]],
        hop_s=mel.hop_length / rate_hz,
        mel_hz=mel_edges_hz(mel, rate_hz)[1:-1],
    )
