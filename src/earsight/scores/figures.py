"""Figures as PNG files, by matplotlib without its global state."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.extras import require
from earsight.scores.calibration import Reliability, RiskCoverage

_DPI = 120
# Okabe & Ito without yellow: told apart by colour-blind readers
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("-", "--", "-.")
CLASSES_WITH_NUMBERS = 20
CLASSES_BESIDE = 10
"""A confusion matrix of more takes the whole width of a page: its numbers were too small to be read."""
_LABEL_LETTERS = 28
_BARS_APART = 200  # more bars than this are one area
_TITLE_LETTERS = 34  # what fits over one image of the grid
_PITCH_TICKS_HZ = (10, 20, 50, 100, 250, 500, 1000, 2000, 4000, 8000, 16000)


def new_figure(width_in: float, height_in: float) -> Any:
    return require("matplotlib.figure").Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")


def _chart(title: str, x_name: str, y_name: str) -> tuple[Any, Any]:
    """A figure and its axes, with a grid and without a frame at the top and the right."""
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x_name, parse_math=False)
    axes.set_ylabel(y_name, parse_math=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):  # letters that the font lacks are drawn as boxes
        figure.savefig(path)
    return path


def short_label(label: str, most: int = _LABEL_LETTERS) -> str:
    """A label cut to ``most`` letters, without control characters, at which matplotlib would break the line."""
    shown = "".join(letter if letter.isprintable() else "·" for letter in label)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def draw_image_grid(
    path: Path,
    images: npt.NDArray[np.floating[Any]],
    titles: Sequence[str],
    *,
    hop_s: float,
    mel_hz: npt.NDArray[np.float64],
) -> Path:
    """The images in rows of four, low frequencies at the bottom.

    images: float [n, mels, frames], drawn on one scale each. hop_s: seconds a frame. mel_hz: centre of each mel bin.
    Raises DataError where titles or mel_hz don't fit the images.
    """
    if images.ndim != 3 or len(titles) != len(images) or mel_hz.shape != images.shape[1:2]:
        raise DataError(f"images {images.shape} with {len(titles)} titles and {mel_hz.shape} mel frequencies")
    rows_of_four = max(1, -(-len(images) // 4))
    figure = new_figure(12, 2.5 * rows_of_four + 0.4)
    all_axes = figure.subplots(rows_of_four, 4).ravel()  # all images have one extent; shared axes take longer to draw
    rows, names = _pitch_ticks(mel_hz)
    for number, axes in enumerate(all_axes):
        if number >= len(images):
            axes.set_visible(False)
            continue
        image = images[number]
        extent = (0, image.shape[1] * hop_s, -0.5, image.shape[0] - 0.5)
        axes.imshow(image, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
        axes.set_title(short_label(titles[number], _TITLE_LETTERS), fontsize=11, parse_math=False)
        if number % 4:
            axes.set_yticks([])
        else:
            axes.set_yticks(rows, names, fontsize=8)
        if number + 4 < len(images):
            axes.set_xticks([])
        else:
            axes.tick_params(axis="x", labelsize=8)
    figure.supxlabel("time (s)", fontsize=10)
    figure.supylabel("frequency (Hz, mel scale)", fontsize=10)
    return save_figure(figure, path)


def _pitch_ticks(mel_hz: npt.NDArray[np.float64]) -> tuple[list[float], list[str]]:
    """Rows of round frequencies that don't overlap as ticks, and their names."""
    ticks = [hz for hz in _PITCH_TICKS_HZ if mel_hz[0] <= hz <= mel_hz[-1]]
    rows = np.interp(ticks, mel_hz, np.arange(len(mel_hz)))
    names = [f"{hz / 1000:g} k" if hz >= 1000 else f"{hz}" for hz in ticks]
    spaced = [n for n in range(len(ticks)) if n == 0 or rows[n] - rows[n - 1] > 0.04 * len(mel_hz)]
    return [float(rows[n]) for n in spaced], [names[n] for n in spaced]


@dataclass(frozen=True)
class Explained:
    """A mel image with the evidence for an answer. decibel, heat: float [mels, frames], heat in [0, 1]. waveform:
    float [samples] at rate_hz. hop_s: seconds a frame. mel_hz: centre of each mel bin."""

    decibel: npt.NDArray[np.float32]
    heat: npt.NDArray[np.float32]
    waveform: npt.NDArray[np.float32]
    rate_hz: int
    hop_s: float
    mel_hz: npt.NDArray[np.float64]


def draw_explanations(path: Path, found: Sequence[Explained], titles: Sequence[str]) -> Path:
    """Mel images, dim where nothing speaks for the answer and with contours around the strongest evidence, above their
    waveforms; two side by side. Raises DataError where sizes don't match."""
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(9 if columns == 1 else 13, 5.2 * rows if columns == 1 else 4.2 * rows)
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(4, 1) * rows)
    for number, (one, title) in enumerate(zip(found, titles, strict=True)):
        row, column = divmod(number, columns)
        _draw_explained(axes[2 * row, column], axes[2 * row + 1, column], one, short_label(title, 90 // columns))
    for number in range(len(found), rows * columns):
        for axis in axes[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]:
            axis.set_visible(False)
    return save_figure(figure, path)


def _draw_explained(above: Any, below: Any, one: Explained, title: str) -> None:
    decibel, heat = one.decibel, one.heat
    if decibel.shape != heat.shape or one.mel_hz.shape != heat.shape[:1]:
        raise DataError(f"an image of {decibel.shape} with heat of {heat.shape} and {one.mel_hz.shape} mel frequencies")
    extent = (0, heat.shape[1] * one.hop_s, -0.5, heat.shape[0] - 0.5)
    above.set_facecolor("black")
    above.imshow(
        decibel, origin="lower", aspect="auto", extent=extent, cmap="magma", alpha=0.35 + 0.65 * np.clip(heat, 0, 1)
    )
    seconds = (np.arange(heat.shape[1]) + 0.5) * one.hop_s
    if heat.max() > 0.5:
        above.contour(seconds, np.arange(heat.shape[0]), heat, levels=[0.5], colors="#56b4e9", linewidths=1.5)
    rows, names = _pitch_ticks(one.mel_hz)
    above.set_yticks(rows, names)
    above.set_ylabel("frequency (Hz, mel scale)")
    above.set_title(title, parse_math=False)
    above.sharex(below)
    above.tick_params(labelbottom=False)
    below.plot(np.arange(len(one.waveform)) / one.rate_hz, one.waveform, color=COLOURS[0], linewidth=0.5)
    below.set_xlim(0, len(one.waveform) / one.rate_hz)
    below.set_xlabel("time (s)")
    below.set_ylabel("waveform")


def draw_curve(
    path: Path,
    epochs: Sequence[int],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    y_name: str,
    marked_epoch: int | None = None,
) -> Path:
    """Lines over the epochs, one for each series; a dotted line marks the kept epoch."""
    figure, axes = _chart(title, "epoch", y_name)
    lines, names = [], list(series)
    for number, values in enumerate(series.values()):
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": _DASHES[number // len(COLOURS) % 3]}
        lines += axes.plot(epochs, values, marker="o", markersize=3, linewidth=1.6, **style)
    if marked_epoch is not None:
        lines.append(axes.axvline(marked_epoch, color="#777777", linestyle=":"))
        names.append(f"kept: epoch {marked_epoch}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if lines:
        # explicit handles: labels with a leading underscore would be left out otherwise
        for text in axes.legend(lines, names, frameon=False).get_texts():
            text.set_parse_math(False)
    return save_figure(figure, path)


def draw_confusion(path: Path, confusion: npt.NDArray[np.int64], labels: Sequence[str], *, title: str) -> Path:
    """Truth in rows, answers in columns, coloured by the share of the row; cells show count and percentage.

    confusion: int64 [classes, classes]. Above 20 classes the cells are too small for numbers and stay empty. Raises
    DataError where labels don't fit.
    """
    if confusion.shape != (len(labels), len(labels)):
        raise DataError(f"a confusion matrix of shape {confusion.shape} for {len(labels)} labels")
    roomy = len(labels) <= CLASSES_WITH_NUMBERS
    size_in = max(4.5, 0.5 * len(labels) + 1.8) if roomy else min(16.0, 0.24 * len(labels) + 4)
    figure = new_figure(size_in + 0.4, size_in)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if not roomy:
        figure.colorbar(shown, label="share of the clips of the truth", fraction=0.046, pad=0.02)
    labels = [short_label(label) for label in labels]
    places = range(len(labels))
    every = -(-len(labels) // 64)  # more names than this overlap
    names = {"parse_math": False, "fontsize": 11 if roomy else 8}
    axes.set_xticks(
        places[::every], labels[::every], rotation=45 if roomy else 90, ha="right" if roomy else "center", **names
    )
    axes.set_yticks(places[::every], labels[::every], **names)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title(title, parse_math=False)
    if roomy:
        for row in places:
            for column in places:
                if confusion[row, column]:
                    colour = "white" if shares[row, column] > 0.55 else "#222222"
                    text = f"{confusion[row, column]}\n{100 * shares[row, column]:.0f} %"
                    axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
    return save_figure(figure, path)


def draw_counts(
    path: Path, counts: npt.NDArray[np.int64], labels: Sequence[str], groups: Sequence[str], *, group_name: str
) -> Path:
    """Numbers of clips by class (rows) and group (columns). counts: int64 [classes, groups]. Cells show numbers where
    they fit."""
    wide, high = min(16.0, max(4.5, 0.42 * len(groups) + 2)), min(16.0, max(2.2, 0.36 * len(labels) + 1.2))
    figure = new_figure(wide, high)
    axes = figure.subplots()
    shown = axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(1.5, 2.2 * counts.max()), aspect="auto")
    every_row, every_column = -(-len(labels) // 48), -(-len(groups) // 40)
    labels, groups = [short_label(label) for label in labels], [short_label(group) for group in groups]
    rows, columns = range(len(labels)), range(len(groups))
    axes.set_yticks(rows[::every_row], labels[::every_row], parse_math=False, fontsize=10)
    turn = 90 if max(map(len, groups), default=0) > 3 else 0
    axes.set_xticks(columns[::every_column], groups[::every_column], parse_math=False, fontsize=9, rotation=turn)
    axes.set_xlabel(group_name, parse_math=False)
    if len(groups) <= 40 and len(labels) <= 48:
        for row in rows:
            for column in columns:
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9, color="#222222")
    else:
        figure.colorbar(shown, label="clips")
    return save_figure(figure, path)


def draw_histogram(path: Path, values: Sequence[float], *, title: str, x_name: str) -> Path:
    """A histogram with up to 40 bars."""
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    low, high = min(values, default=0.0), max(values, default=0.0)
    alike = high - low < 1e-6 * max(1.0, abs(high))  # a range too narrow to divide
    span = (low - 0.5, high + 0.5) if alike else (low, high)
    axes.hist(values, bins=min(40, max(5, len(set(values)))), range=span, color=COLOURS[0])
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x_name)
    axes.set_ylabel("clips")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)


def draw_bars(
    path: Path, values: Sequence[float], names: Sequence[str], *, title: str, x_name: str, marked: float | None = None
) -> Path:
    """Horizontal bars from 0 to 1, the first at the top, with a dotted line at ``marked``. Names that would overlap are
    left out."""
    figure = new_figure(6.4, min(12.0, 0.24 * len(values) + 1.4))
    axes = figure.subplots()
    places = range(len(values))
    if len(values) > _BARS_APART:
        axes.fill_betweenx(places, values, color=COLOURS[0], step="mid", linewidth=0)
        axes.set_ylim(-0.5, len(values) - 0.5)
    else:
        axes.barh(places, values, color=COLOURS[0], height=0.7)
    every = -(-len(names) // 48)
    axes.set_yticks(places[::every], [short_label(name) for name in names[::every]], parse_math=False, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    if marked is not None:
        axes.axvline(marked, color="#222222", linestyle=":")
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x_name)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)


def draw_search(path: Path, values: Mapping[str, Mapping[int, float]], *, title: str, y_name: str) -> Path:
    """The value of each trial by its number, and the best so far as a line.

    values: state → number of the trial → value. The line is that of the first state.
    """
    figure, axes = _chart(title, "trial", y_name)
    markers, handles, names = ("o", "x", "s"), [], []
    for number, (state, points) in enumerate(values.items()):
        if points:
            handles.append(
                axes.scatter(
                    list(points), list(points.values()), s=26, marker=markers[number % 3], color=COLOURS[number]
                )
            )
            names.append(state)
    first = next(iter(values.values()), {})
    if first:
        places = sorted(first)
        best = np.maximum.accumulate([first[place] for place in places])
        handles += axes.step(places, best, where="post", color="#222222", linewidth=1.2)
        names.append("best until then")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if handles:
        axes.legend(handles, names, frameon=False)
    return save_figure(figure, path)


def draw_reliability(
    path: Path, before: Reliability, after: Reliability, *, x_name: str = "confidence", y_name: str = "accuracy"
) -> Path:
    """Accuracy over confidence before and after calibration: a point for each bin, its area by the number of clips."""
    figure, axes = _chart("Calibration", x_name, y_name)
    axes.plot([0, 1], [0, 1], color="#777777", linestyle=":")
    for number, (name, one) in enumerate((("before", before), ("after", after))):
        filled = one.clips > 0
        place, height = one.confidence[filled], one.accuracy[filled]
        axes.plot(place, height, color=COLOURS[1 - number], linestyle=_DASHES[1 - number], linewidth=1.4)
        areas = 8 + 220 * one.clips[filled] / one.clips.max()
        label = f"{name}: error {one.error:.3f}"
        axes.scatter(place, height, s=areas, color=COLOURS[1 - number], alpha=0.65, label=label)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.02, 1.04)
    for handle in axes.legend(frameon=False, loc="upper left").legend_handles:
        handle.set_sizes([30])
    return save_figure(figure, path)


def draw_risk_coverage(path: Path, curve: RiskCoverage) -> Path:
    """Risk (share of wrong answers) over coverage (share of clips that are answered, the most confident first)."""
    title = f"Risk and coverage, area {curve.area:.3f}"
    figure, axes = _chart(title, "coverage: share of the clips that are answered", "risk: share of wrong answers")
    # Steps as in the area: a risk holds from the coverage before it on.
    axes.step([0, *curve.coverage], [curve.risk[0], *curve.risk], where="pre", color=COLOURS[0], linewidth=1.6)
    axes.set_xlim(0, 1.02)
    top = max(0.05, 1.08 * float(curve.risk.max()))
    axes.set_ylim(-0.02 * top, top)  # a line at 0 does not lie on the axis
    axes.set_xlabel("coverage: share of the clips that are answered")
    axes.set_ylabel("risk: share of wrong answers")
    axes.set_title(f"Risk and coverage, area {curve.area:.3f}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)
