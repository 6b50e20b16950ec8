"""An inspection → one HTML page with figures."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earsight.audio.load import load_waveform, middle_crop
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import fold_order
from earsight.errors import DecodeError, MissingExtraError
from earsight.extras import check
from earsight.files import write_atomic
from earsight.mel.settings import MelSettings
from earsight.plain import counts_text, pluralise
from earsight.scores.figures import draw_counts, draw_histogram, draw_image_grid
from earsight.scores.page import write_page
from earsight.scores.report import FigureEntry
from earsight.tasks.inspect import Inspection, source_facts

_MOST_IMAGES = 52
_MOST_LISTED = 200
_MOST_COLUMNS = 120


def write_inspection(path: Path, inspection: Inspection) -> Path:
    """Write counts, figures and lists of suspicious files. Needs matplotlib and jinja2; mel images also need torch."""
    dataset, values = inspection.dataset, inspection.to_dict()
    known = source_facts(dataset.source)
    duration = values["duration_s"] or {"sum": 0.0, "min": 0.0, "median": 0.0, "max": 0.0}
    contradicting, identical = values["contradicting"], values["identical"]
    warnings = []
    if contradicting:
        warnings.append(f"Identical recordings with different labels: {pluralise(len(contradicting), 'set')}.")
    if inspection.failures:
        warnings.append(f"{pluralise(len(inspection.failures), 'file')} can't be used.")
    warnings += [f"{doubt[0].upper()}{doubt[1:]}." for doubt in values["doubts"]]
    with tempfile.TemporaryDirectory() as work:
        page = write_page(
            Path(work) / "page.html",
            "data.html.j2",
            title=dataset.place.resolve().name,
            subtitle=f"Read as: {known.get('title', dataset.source)}",
            synthetic=dataset.synthetic,
            warnings=warnings,
            numbers=(
                (len(dataset.clips), "clips"),
                (len(dataset.labels), "classes"),
                (len(values["groups"]) or "none", f"{dataset.group_name}s known"),
            ),
            facts=(
                ("Files", dataset.files),
                ("Total duration", f"{duration['sum'] / 60:.1f} min"),
                (
                    "Clip duration",
                    f"{duration['min']:.2f} to {duration['max']:.2f} s, median {duration['median']:.2f} s",
                ),
                ("Folds", counts_text(values["folds"]) or "none"),
                ("Sample rates", counts_text(values["rates_hz"], " Hz")),
                ("Channels", counts_text(values["channels"])),
                *((name.capitalize(), text) for name, text in known.items() if name != "title"),
            ),
            figures=_figures(Path(work), inspection),
            lists=(
                ("Identical recordings, different labels", _sets(contradicting)),
                ("Identical recordings", _sets(identical)),
                ("Silent", _rows(values["silent"])),
                ("Clipped", _rows(values["clipped"])),
                ("Mostly a constant offset", _rows(values["offset"])),
                ("With a silent channel", _rows(values["silent_channels"])),
                (f"Shorter than {inspection.short_s:g} s", _rows(values["short"])),
                ("Truncated", _rows([[f.path, f.reason] for f in inspection.truncated])),
                ("Left out", _rows([[f.path, f.reason] for f in inspection.failures])),
            ),
        )
        write_atomic(path, page.read_bytes())
    return path


def _rows(entries: list[object]) -> list[list[object]]:
    """Table rows; the end of a long list is only counted."""
    rows = [entry if isinstance(entry, list) else [entry] for entry in entries[:_MOST_LISTED]]
    more = len(entries) - len(rows)
    return [*rows, [f"… and {more} more"]] if more else rows


def _sets(sets: list[list[object]]) -> list[list[object]]:
    named = [
        [f"{one['path']}: {one['label']}" if isinstance(one, dict) else one for one in members] for members in sets
    ]
    return _rows([[" = ".join(map(str, members))] for members in named])


def _span(values: Sequence[float] | np.ndarray, form: str) -> str:
    middle = "" if form == "d" else f", median {np.median(values):{form}}"
    return f"{min(values):{form}} to {max(values):{form}}{middle}"


def _figures(work: Path, inspection: Inspection) -> list[FigureEntry]:
    dataset = inspection.dataset
    figures = []
    for name, of in (
        ("group", [clip.group for clip in dataset.clips]),
        ("fold", [clip.fold for clip in dataset.clips]),
    ):
        places = sorted(set(of) - {""}, key=fold_order)
        if 1 < len(places) <= _MOST_COLUMNS:
            counts = np.zeros((len(dataset.labels), len(places)), dtype=np.int64)
            row, column = ({value: n for n, value in enumerate(values)} for values in (dataset.labels, places))
            for clip, place in zip(dataset.clips, of, strict=True):
                if place:
                    counts[[row[label] for label in clip.labels], column[place]] += 1
            what = dataset.group_name if name == "group" else "fold"
            seen = f"Clips of each class in each {what}: {_span(counts.ravel(), 'd')}."
            drawn = draw_counts(work / f"{name}.png", counts, dataset.labels, places, group_name=what)
            figures.append(FigureEntry(f"Class by {what}", "Clips of each.", drawn, len(places) > 8, seen))
    if inspection.facts:
        seconds = [facts.duration_s for facts in inspection.facts]
        levels = [facts.rms_dbfs for facts in inspection.facts if not facts.silent]
        durations = draw_histogram(work / "durations.png", seconds, title="Durations", x_name="seconds")
        figures.append(
            FigureEntry(
                "Durations", "Of the clips as they are stored.", durations, alt=f"Durations: {_span(seconds, '.2f')} s."
            )
        )
        if levels:
            drawn = draw_histogram(work / "levels.png", levels, title="Loudness", x_name="RMS level (dB full scale)")
            figures.append(
                FigureEntry(
                    "Loudness", "RMS level over each whole clip.", drawn, alt=f"Loudness: {_span(levels, '.1f')} dB."
                )
            )
        figures += _mel_images(work, inspection)
    return figures


def _mel_images(work: Path, inspection: Inspection) -> list[FigureEntry]:
    """The mel image of the clip of median length of each class, with the default recipe."""
    try:
        check("torch")
    except MissingExtraError:
        return []
    import torch

    from earsight.mel.spectrogram import MelSpectrogram, decibels, mel_edges_hz

    audio, mel = AudioSettings(), MelSettings()
    front_end = MelSpectrogram(mel, audio.rate_hz)
    images, titles = [], []
    for label in inspection.dataset.labels[:_MOST_IMAGES]:
        pairs = [(f.duration_s, n) for n, f in enumerate(inspection.facts) if label in inspection.clips[n].labels]
        if not pairs:
            continue
        clip = inspection.clips[sorted(pairs)[len(pairs) // 2][1]]
        try:
            waveform = load_waveform(clip.path, audio, clip.start_s or 0.0, clip.end_s)
        except DecodeError:  # a rate that can't be right; the page says so elsewhere
            continue
        with torch.inference_mode():
            spectrum = front_end(torch.from_numpy(middle_crop(waveform, audio))[None])
        images.append(decibels(spectrum, mel.power)[0, 0].numpy())
        titles.append(", ".join(clip.labels))
    if not images:
        return []
    hz = mel_edges_hz(mel, audio.rate_hz)[1:-1]
    hop_s = mel.hop_length / audio.rate_hz
    drawn = draw_image_grid(work / "mel.png", np.stack(images), titles, hop_s=hop_s, mel_hz=hz)
    return [
        FigureEntry(
            "One mel image a class", "The clip of median length.", drawn, True, f"Mel images of {', '.join(titles)}."
        )
    ]
