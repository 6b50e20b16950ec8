"""Numbers → PNG files, on matplotlib's Agg canvas and without its global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from earsight.extras import require

_DPI = 120
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe & Ito: told apart by colour-blind readers
_PITCH_TICKS_HZ = (10, 20, 50, 100, 250, 500, 1000, 2000, 4000, 8000, 16000)


def _figure(width_in: float, height_in: float) -> Any:
    return require("matplotlib.figure").Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")


def draw_image_grid(
    path: Path,
    images: npt.NDArray[np.floating[Any]],
    titles: Sequence[str],
    *,
    hop_s: float,
    mel_hz: npt.NDArray[np.float64],
) -> Path:
    """The first eight images, two rows of four, low frequencies at the bottom.

    images: float [n, mels, frames], drawn on one scale each. hop_s: seconds a frame. mel_hz: centre of each mel bin.
    """
    figure = _figure(12, 5.4)
    all_axes = figure.subplots(2, 4, sharex=True, sharey=True).ravel()
    ticks = [hz for hz in _PITCH_TICKS_HZ if mel_hz[0] <= hz <= mel_hz[-1]]
    rows = np.interp(ticks, mel_hz, np.arange(len(mel_hz)))
    names = [f"{hz / 1000:g} k" if hz >= 1000 else f"{hz}" for hz in ticks]
    spaced = [n for n in range(len(ticks)) if n == 0 or rows[n] - rows[n - 1] > 0.04 * len(mel_hz)]
    for number, axes in enumerate(all_axes):
        if number >= len(images):
            axes.set_visible(False)
            continue
        image = images[number]
        extent = (0, image.shape[1] * hop_s, -0.5, image.shape[0] - 0.5)
        axes.imshow(image, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
        axes.set_title(titles[number], fontsize=11)
        axes.set_yticks([rows[n] for n in spaced], [names[n] for n in spaced], fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
    figure.supxlabel("time (s)", fontsize=10)
    figure.supylabel("frequency (Hz, mel scale)", fontsize=10)
    figure.savefig(path)
    return path


def draw_curve(
    path: Path,
    epochs: Sequence[int],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    y_name: str,
    marked_epoch: int | None = None,
) -> Path:
    """One line a series over the epochs; a dotted line marks the epoch that was kept."""
    figure = _figure(6.4, 4)
    axes = figure.subplots()
    for (name, values), colour in zip(series.items(), _COLOURS, strict=False):
        axes.plot(epochs, values, label=name, color=colour, marker="o", markersize=3, linewidth=1.6)
    if marked_epoch is not None:
        axes.axvline(marked_epoch, color="#777777", linestyle=":", label=f"kept: epoch {marked_epoch}")
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(y_name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path


def draw_confusion(path: Path, confusion: npt.NDArray[np.int64], labels: Sequence[str], *, title: str) -> Path:
    """Truth in rows, answers in columns; the colour is the share of the row, each cell has its count and percent."""
    size_in = max(4.5, 0.72 * len(labels) + 1.8)
    figure = _figure(size_in + 0.4, size_in)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=45, ha="right")
    axes.set_yticks(places, labels)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title(title)
    if len(labels) <= 20:
        for row in places:
            for column in places:
                if confusion[row, column]:
                    colour = "white" if shares[row, column] > 0.55 else "#222222"
                    text = f"{confusion[row, column]}\n{100 * shares[row, column]:.0f} %"
                    axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    figure.savefig(path)
    return path
