"""What each threshold on a probability finds, as pictures: precision over recall, and recall over false alarms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from earsight.scores.dispatch import AnyPredictions
from earsight.scores.figures import COLOURS, new_figure, save_figure, short_label
from earsight.scores.metrics import rarer_class
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.ranking import Bools, Floats, Ranking

_STEPS = 4000  # of a curve: several to a pixel
_FEWEST_ALARMS = 1e-3


class Curve(NamedTuple):
    """name: of the line. truth: bool [clips], which have the label. score: float64 [clips], its probability. answered:
    bool [clips], who was given it. every: all labels as one."""

    name: str
    truth: Bools
    score: Floats
    answered: Bools
    every: bool = False

    @property
    def alarms(self) -> float:
        """The share of the clips without the label that were given it."""
        return float(self.answered[~self.truth].mean()) if not self.truth.all() else 0.0

    @property
    def recall(self) -> float:
        return float(self.answered[self.truth].mean())

    @property
    def precision(self) -> float | None:
        """None where no clip was given the label."""
        return float(self.truth[self.answered].mean()) if self.answered.any() else None

    @property
    def style(self) -> dict[str, Any]:
        return {"color": "black", "linewidth": 2.2} if self.every else {"linewidth": 1.4}


def curves_of(answers: AnyPredictions) -> list[Curve]:
    """Of two classes that of the rarer one. Of more, and of several labels a clip, each that some clip has and some has
    not, where there are at most seven; of several labels first all decisions as one. Empty where there is nothing to
    rank."""
    if isinstance(answers, MultiPredictions):
        truth, p, given = answers.truth, answers.probabilities, answers.predicted
        found = [Curve("all labels", truth.ravel(), p.ravel(), given.ravel(), every=True)]
        numbers: Sequence[int] = range(len(answers.labels)) if len(answers.labels) < len(COLOURS) else ()
    else:
        known = np.flatnonzero(answers.known)
        classes = np.arange(len(answers.labels))
        truth, given = (of[known, None] == classes for of in (answers.truth, answers.predicted))
        p, found = answers.probabilities[known], []
        rarer = rarer_class(answers)
        numbers = [rarer] if rarer is not None else range(len(classes)) if len(classes) <= len(COLOURS) else ()
    found += [Curve(answers.labels[n], truth[:, n], p[:, n], given[:, n]) for n in numbers if truth[:, n].any()]
    return [curve for curve in found if curve.every or not curve.truth.all()]


def draw_precision_recall(path: Path, curves: Sequence[Curve]) -> Path:
    """One line each; a single one with a point where the answers are, and a dotted line at what chance would reach."""
    figure, axes, lines, names = _begun(curves)
    for line, one in zip(lines, curves, strict=True):
        recall, precision = Ranking.of(one.truth, one.score).curve()
        keep = _seen(recall)
        line.set(xdata=np.append(0, recall[keep]), ydata=np.append(precision[0], precision[keep]), drawstyle="steps")
    if len(curves) == 1:
        one = curves[0]
        if one.precision is not None:
            lines += axes.plot([one.recall], [one.precision], "o", color="black", markersize=7, clip_on=False)
            names.append("as it is answered")
        lines.append(axes.axhline(one.truth.mean(), color="#777777", linestyle=":"))
        names.append("by chance")
    axes.set_xlabel("recall: share of the clips of a label that are found")
    axes.set_ylabel("precision: share of the answers that are right")
    axes.set_title("Precision and recall")
    return _finished(figure, axes, lines, names, path)


def draw_false_alarms(path: Path, curves: Sequence[Curve]) -> Path:
    """Recall over false alarms (the ROC curve), one line each; false alarms on a logarithmic axis down to one clip of
    the others, since thresholds are chosen where they are few. A single one has a point where the answers are."""
    figure, axes, lines, names = _begun(curves)
    for line, one in zip(lines, curves, strict=True):
        ranking = Ranking.of(one.truth, one.score)
        recall, alarms = np.append(0, ranking.curve()[0]), np.append(0, ranking.alarms())
        keep = _seen(alarms)
        line.set(xdata=alarms[keep], ydata=recall[keep], drawstyle="steps-post")
    fewest = max(_FEWEST_ALARMS, min(1 / max(10, int((~one.truth).sum())) for one in curves))
    axes.set_xscale("symlog", linthresh=fewest, linscale=0.3)
    ticks = [0.0, *(at for at in (0.001, 0.01, 0.1, 1.0) if at >= fewest)]
    axes.set_xticks(ticks, [f"{100 * at:g} %" for at in ticks])
    axes.set_xticks([], minor=True)
    if len(curves) == 1:
        lines += axes.plot([curves[0].alarms], [curves[0].recall], "o", color="black", markersize=7, clip_on=False)
        names.append("as it is answered")
    chance = np.linspace(0, 1, _STEPS)
    lines += axes.plot(chance, chance, color="#777777", linestyle=":")
    names.append("by chance")
    axes.set_xlabel("false alarms: share of the other clips that are taken for it")
    axes.set_ylabel("recall: share that is found")
    axes.set_title("Recall and false alarms (ROC)")
    return _finished(figure, axes, lines, names, path)


def _seen(along: Floats) -> Bools:
    """Of points along a rising axis the first and the last on each step of a pixel: millions are no finer picture."""
    moved = np.diff(np.floor(along * _STEPS)) != 0
    return np.append(True, moved) | np.append(moved, True)


def _begun(curves: Sequence[Curve]) -> tuple[Any, Any, list[Any], list[str]]:
    """A figure, its axes, a line without points for each curve, and the lines' names."""
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    lines = [axes.plot([], [], **{"color": COLOURS[n % len(COLOURS)]} | one.style)[0] for n, one in enumerate(curves)]
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.04)
    return figure, axes, lines, [short_label(one.name) for one in curves]


def _finished(figure: Any, axes: Any, lines: Sequence[Any], names: Sequence[str], path: Path) -> Path:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(lines, names, frameon=False, loc="best").get_texts():
        text.set_parse_math(False)
    return save_figure(figure, path)
