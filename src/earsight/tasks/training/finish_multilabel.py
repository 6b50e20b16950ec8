"""Pictures of answers with several labels a clip, for the report."""

from pathlib import Path

from earsight.scores.calibration import Reliability
from earsight.scores.figures import draw_bars, draw_precision_recall, draw_reliability
from earsight.scores.multilabel import MultiMetrics, MultiPredictions
from earsight.scores.report import FigureEntry


def draw_label_bars(path: Path, metrics: MultiMetrics, which: str) -> FigureEntry:
    """The average precision of each label that some clip has, the lowest first. which: clips, in words."""
    rows = sorted((row for row in metrics.per_class if row.support), key=lambda row: (row.ap, row.label))
    values, names = [row.ap for row in rows], [row.label for row in rows]
    title = f"Average precision, {which}"
    drawn = draw_bars(path, values, names, title=title, x_name="average precision", marked=metrics.map)
    return FigureEntry(
        "Label by label", f"From the hardest to the easiest; the dotted line is the mAP; {which}.", drawn
    )


def draw_label_calibration(
    folder: Path, predictions: MultiPredictions, before: Reliability, after: Reliability
) -> tuple[FigureEntry, ...]:
    """Precision over recall, and what a probability is worth."""
    curve = draw_precision_recall(folder / "precision-recall.png", predictions)
    drawn = draw_reliability(
        folder / "reliability.png", before, after, x_name="probability of a label", y_name="how often it is there"
    )
    return (
        FigureEntry("Precision and recall", "At every threshold, from the highest at the left.", curve),
        FigureEntry(
            "Calibration",
            "How often a label is there that was given each probability, over all labels of all clips, before and "
            "after the temperature that was fitted on the validation clips. On the dotted line a probability is worth "
            "what it says.",
            drawn,
        ),
    )
