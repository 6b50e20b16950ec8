"""report.html: a run on one page, in a single file that opens offline."""

import io
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from earsight.errors import DataError
from earsight.scores.alarms import AlarmThreshold
from earsight.scores.crossval import GroupScore
from earsight.scores.dispatch import AnyMetrics
from earsight.scores.intervals import Interval
from earsight.scores.page import write_page
from earsight.scores.predictions import BasePredictions
from earsight.settings import flatten


@dataclass(frozen=True)
class FigureEntry:
    """A PNG file to embed. wide: over the whole width of the page. alt: what is to be seen in it, in words."""

    title: str
    caption: str
    path: Path
    wide: bool = False
    alt: str = ""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer. wav_bytes: a WAV file to play, if there is one."""

    path: str
    truth: str
    predicted: str
    confidence: float
    wav_bytes: bytes | None = None


def worst_mistakes(predictions: BasePredictions, sound_of: Callable[[int], bytes | None]) -> tuple[Mistake, ...]:
    """The twelve most confident wrong answers. sound_of: row → a WAV file to play, if there is one."""
    return tuple(
        Mistake(predictions.paths[row], *predictions.describe(row), wav_bytes=sound_of(row))
        for row in predictions.mistakes(12)
    )


@dataclass(frozen=True)
class LeftOut:
    """A file that is in no score, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """split_sentence: how it was split, in words. training_score: the scored clips were trained on. synthetic: nobody
    spoke them. caveat: two or three words that stand beside every number, such as "speaker-dependent". extra_metrics:
    further scores by name, such as validation. thresholds: label → from where on it is answered, where clips can have
    several. facts: names and values for the summary. explained: what spoke for the first mistakes. settings: nested
    settings of the run. intervals: name of a score → its 95 % interval. groups: the score of each, the worst
    first. interval_groups: what the intervals are of, in words. alarms: thresholds by how many false alarms they may
    give."""

    title: str
    subtitle: str
    split_sentence: str
    training_score: bool
    synthetic: bool
    created: str
    metrics: AnyMetrics
    caveat: str = ""
    extra_metrics: Mapping[str, AnyMetrics] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    figures: tuple[FigureEntry, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    explained: FigureEntry | None = None
    failures: tuple[LeftOut, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    groups: tuple[GroupScore, ...] = ()
    group_name: str = "group"
    interval_groups: str = ""
    alarms: tuple[AlarmThreshold, ...] = ()


def write_report(path: Path, report: Report) -> None:
    """Write the page. Everything from the data is escaped."""
    write_page(path, "report.html.j2", report=report, groups=_grouped(report.settings))


def _grouped(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A table for each top-level mapping, flattened to dotted names; other values in the table "run"."""
    groups: dict[str, dict[str, Any]] = {"run": {}}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            groups.setdefault(name, {}).update(flatten(value))
        else:
            groups["run"][name] = value
    return groups


def wav_bytes(samples: np.ndarray, rate_hz: int) -> bytes:
    """float [samples] → a 16-bit mono WAV file; what exceeds [-1, 1] is clipped. Raises DataError on NaN and on
    more than one channel."""
    if samples.ndim != 1:
        raise DataError(f"samples of shape {samples.shape} to be played; give one channel, [samples]")
    if np.isnan(samples).any():
        raise DataError("NaN among the samples of a clip to be played")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
