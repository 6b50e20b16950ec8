"""Probabilities over time and events of a recording → a PNG file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earsight.extras import require
from earsight.scores.detection import Annotation
from earsight.scores.events import Event, Step
from earsight.scores.figures import COLOURS, new_figure, save_figure, short_label

_ROWS = 30
"""Most labels that are drawn; of more, the strongest."""
_COLUMNS = 2000
"""Most steps that are drawn; of longer recordings, each column is the maximum of several."""


def draw_timeline(
    path: Path,
    labels: Sequence[str],
    steps: Sequence[Step],
    events: Sequence[Event],
    title: str,
    *,
    annotated: Sequence[Annotation] | None = None,
) -> Path:
    """A row for each label, darker where it is likelier, with its events as frames; hatched where the answer is
    "unknown".

    steps: all of a recording, one or more, of ``events.Track``. annotated: annotations, drawn as lines under the
    frames.
    """
    shares = np.stack([step.probabilities for step in steps])  # [steps, labels]
    edges_s = np.array([step.start_s for step in steps] + [steps[-1].end_s])
    unknown = np.array([step.known <= 0.5 for step in steps])
    if len(steps) > _COLUMNS:
        starts = np.unique(np.linspace(0, len(steps), _COLUMNS, endpoint=False).astype(int))
        shares = np.maximum.reduceat(shares, starts)
        unknown = np.add.reduceat(unknown, starts) * 2 > np.diff([*starts, len(steps)])
        edges_s = np.append(edges_s[starts], edges_s[-1])
    strength = shares.max(axis=0)
    strength[np.isin(labels, [one.label for one in annotated or ()])] += (
        1  # annotated labels are shown, detected or not
    )
    shown = np.sort(np.argsort(-strength, kind="stable")[:_ROWS])
    figure = new_figure(12, 1.2 + 0.32 * max(3, len(shown)))
    axes = figure.subplots()
    edges_row = np.arange(len(shown) + 1) - 0.5
    mesh = axes.pcolormesh(edges_s, edges_row, shares[:, shown].T, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    if unknown.any():
        turns = np.flatnonzero(np.diff(np.concatenate([[False], unknown, [False]]).astype(int)))  # starts and ends
        spans = [(edges_s[one], edges_s[two] - edges_s[one]) for one, two in turns.reshape(-1, 2).tolist()]
        axes.broken_barh(
            spans, (-0.5, len(shown)), facecolor="none", edgecolor="grey", hatch="///", linewidth=0, zorder=2
        )
    rows = {labels[place]: row for row, place in enumerate(shown)}
    frame = require("matplotlib.patches").Rectangle
    height = 0.84 if annotated is None else 0.7
    for event in events:
        if event.label in rows:
            at = (event.start_s, rows[event.label] - 0.42)
            box = frame(
                at, event.end_s - event.start_s, height, fill=False, edgecolor=COLOURS[1], linewidth=1.6, zorder=3
            )
            axes.add_patch(box)
    for one in annotated or ():
        if one.label in rows:
            below = rows[one.label] + 0.39
            axes.plot([one.start_s, one.end_s], [below, below], color=COLOURS[2], linewidth=4, solid_capstyle="butt")
    axes.set_yticks(range(len(shown)), [short_label(labels[place]) for place in shown], fontsize=9, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(edges_s[0], edges_s[-1])
    long = edges_s[-1] - edges_s[0] > 600
    axes.set_xlabel("time (min:s)" if long else "time (s)", fontsize=10)
    if long:
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{int(seconds) // 60}:{int(seconds) % 60:02}")
    drawn = f"; the strongest {len(shown)} of {len(labels)} labels" if len(shown) < len(labels) else ""
    hatch = "; hatched: unknown" if unknown.any() else ""
    lines = "; frames: found, lines: annotated" if annotated is not None else ""
    axes.set_title(f"{short_label(title, 80)}{lines}{drawn}{hatch}", fontsize=11, parse_math=False)
    figure.colorbar(mesh, ax=axes, pad=0.01, label="probability")
    return save_figure(figure, path)
