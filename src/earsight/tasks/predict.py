"""predict: a model and recordings → answers, one for each recording or for each window."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earsight import extras
from earsight.audio.decode import Samples
from earsight.audio.load import fixed_crops
from earsight.audio.settings import AudioSettings
from earsight.audio.stream import Window, read_waveform, windows
from earsight.dataset.loader import prefetch
from earsight.errors import DecodeError, ModelError, SettingsError
from earsight.network.description import read_description
from earsight.network.device import check_device_name
from earsight.network.exported import Exported
from earsight.network.hub import is_hub_name, resolve_run
from earsight.network.prediction import Prediction
from earsight.tasks.machine.cores import check_threads, free_cores, read_load, set_torch_threads, torch_threads
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.recordings import Recording, list_recordings

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier

_BATCH = 16
_SHORTEST_HOP_S = 0.001
LONGEST_S = 3600.0
"""The longest recording that is read as a whole: an hour at 48 kHz takes 700 MB, in one channel."""


@dataclass(frozen=True)
class Row:
    """The answer to a recording, or to a window of it. label and probabilities are None where it could not be read, and
    error says why; label is "unknown" where the model does not know (``Prediction.unknown``).

    labels: where clips can have several, those at or above their thresholds, the likeliest first; None for a network
    that answers with one label. likeliest: the class with the highest probability. start_s, end_s: of a window or a
    span; None for a whole recording. truncated: what is missing of a recording that was cut off or damaged, and
    answered as far as it goes. unheard_s: seconds of the recording that are in none of its crops. last: this is the
    last row of its recording.
    """

    path: str | Path
    label: str | None
    probabilities: dict[str, float] | None
    error: str | None = None
    labels: tuple[str, ...] | None = None
    likeliest: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    truncated: str | None = None
    unheard_s: float = 0.0
    last: bool = True

    @property
    def unknown(self) -> bool:
        return self.likeliest is not None and self.label != self.likeliest

    @property
    def failed(self) -> bool:
        """Whether the recording could not be read, or not to its end."""
        return self.error is not None or self.truncated is not None

    def much_unheard(self, audio: AudioSettings) -> bool:
        """Whether more than a crop of the recording was not heard."""
        return self.unheard_s > audio.crop_s

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``label``, or ``labels`` where clips can have several; null where it could not be read.
        ``likeliest`` is there for an unknown recording only."""
        span = {} if self.start_s is None else {"start_s": round(self.start_s, 6)}
        span |= {} if self.end_s is None else {"end_s": round(self.end_s, 6)}
        answer: dict[str, Any] = {"label": self.label}
        if self.labels is not None:
            answer = {"labels": None if self.error else list(self.labels)}
        if self.unknown:
            answer |= {"unknown": True, "likeliest": self.likeliest}
        wrong = {"error": self.error, "truncated": self.truncated}
        wrong = {name: text for name, text in wrong.items() if text is not None}
        return {"path": str(self.path), **span, **answer, "probabilities": self.probabilities, **wrong}


@dataclass(frozen=True)
class Sliding:
    """Windows of ``window_s`` seconds, one every ``hop_s``. Raises SettingsError."""

    window_s: float
    hop_s: float

    def __post_init__(self) -> None:
        if not 0 < self.window_s < float("inf"):
            raise SettingsError(f"--window must be above 0 s, got {self.window_s:g}")
        if not _SHORTEST_HOP_S <= self.hop_s <= self.window_s:
            raise SettingsError(
                f"--hop must be from {_SHORTEST_HOP_S} s to --window {self.window_s:g}, so that all is used, got "
                f"{self.hop_s:g}"
            )

    @classmethod
    def every(cls, window_s: float, hop_s: float | None) -> "Sliding":
        """hop_s: None: a third of the window."""
        return cls(window_s, hop_s if hop_s is not None else min(window_s, max(_SHORTEST_HOP_S, window_s / 3)))

    def of(self, audio: AudioSettings) -> "Sliding":
        """Rounded to whole samples at the network's rate. Raises SettingsError where a window is longer than a crop."""
        if self.window_s > audio.crop_s:
            raise SettingsError(
                f"--window {self.window_s:g} is longer than the {audio.crop_s:g} s that the network hears; "
                f"pass --window {audio.crop_s:g}, or less"
            )
        shortest = math.ceil(_SHORTEST_HOP_S * audio.rate_hz)
        hop_s = max(shortest, round(self.hop_s * audio.rate_hz)) / audio.rate_hz
        return Sliding(max(hop_s, round(self.window_s * audio.rate_hz) / audio.rate_hz), hop_s)


def predict(
    run: "str | Path | Classifier | Exported",
    sources: str | Path | Iterable[str | Path],
    *,
    device: str = "cpu",
    threads: int | None = None,
    unknown: bool = True,
    window_s: float | None = None,
    hop_s: float | None = None,
) -> Iterator[Row]:
    """Classify recordings lazily and in order; one that can't be read is a row with an error.

    run: a run folder, an exported file, a model of the hub by its name (user/name), or a loaded model, which stays on
    its device. sources: see ``list_recordings``. threads: of the CPU, while rows are computed; None: the cores that are
    free; for a loaded model, torch's current number. unknown: answer "unknown" for silence and for what the model does
    not know, else always the likeliest class. window_s, hop_s: answer windows of window_s seconds that start every
    hop_s (None: a third of window_s) instead of whole recordings. Raises EarsightError before the first row.
    """
    if window_s is None and hop_s is not None:
        raise SettingsError(f"hop_s {hop_s:g} only works with windows; pass window_s too")
    if isinstance(run, str | Path):
        ready = prepare(run, sources, device, threads, window_s, hop_s)
        rows = answer(ready.model, ready.recordings, unknown=unknown, sliding=ready.sliding)
        return _with_threads(rows, ready.threads)
    _check_loaded(run, device, threads)
    recordings = list_recordings(sources)
    sliding = None if window_s is None else Sliding.every(window_s, hop_s).of(run.audio)
    return _with_threads(answer(run, recordings, unknown=unknown, sliding=sliding), threads)


def _check_loaded(model: "Classifier | Exported", device: str, threads: int | None) -> None:
    """Raises SettingsError where it is no model, or where device or threads can only be set by loading it."""
    if not isinstance(model, Exported) and not (hasattr(model, "predictions") and hasattr(model, "audio")):
        raise SettingsError(
            f"{type(model).__name__} is not a model; pass a run folder, an exported file or a loaded model"
        )
    if device != "cpu" or (isinstance(model, Exported) and threads is not None):
        raise SettingsError("a loaded model has its device and threads from load_model; pass them there")
    check_threads(threads)


def _with_threads(rows: Iterator[Row], threads: int | None) -> Iterator[Row]:
    """The same rows, computed with ``threads`` torch threads (None: the current number); between rows, torch has its
    previous number."""
    if threads is None:
        yield from rows
        return
    while True:
        with torch_threads(threads):
            row = next(rows, None)
        if row is None:
            return
        yield row


@dataclass(frozen=True)
class Prepared:
    """What ``answer`` needs. place: where the model lies. threads: of torch, not set yet; None for a model that needs
    no torch."""

    model: "Classifier | Exported"
    recordings: list[Recording]
    sliding: Sliding | None
    place: Path
    threads: int | None


def prepare(
    run: str | Path,
    sources: str | Path | Iterable[str | Path],
    device: str,
    threads: int | None,
    window_s: float | None,
    hop_s: float | None,
) -> Prepared:
    """Arguments as those of ``predict``. The model, which takes seconds to load, comes last. Raises EarsightError."""
    check_model(run, device, threads)
    sliding = None if window_s is None else Sliding.every(window_s, hop_s)
    recordings = list_recordings(sources)
    place = resolve_run(run)
    model, chosen = _load(place, device, threads)
    return Prepared(model, recordings, sliding and sliding.of(model.audio), place, chosen)


def check_model(run: str | Path, device: str, threads: int | None) -> None:
    """Refuse what can be refused before anything is loaded. Raises EarsightError."""
    if Path(run).is_dir():
        read_description(Path(run))
    elif Path(run).suffix != ".onnx" and not is_hub_name(run):
        raise ModelError(f"no such run folder, exported file (.onnx) or model on the hub: {run}")
    check_device_name(device)
    check_threads(threads)
    if Path(run).suffix == ".onnx" and device != "cpu":
        raise SettingsError(f"an exported file runs on the CPU here, got --device {device}; leave it out")


def load_model(run: str | Path, device: str = "cpu", threads: int | None = None) -> "Classifier | Exported":
    """run: as for ``predict``. threads: of the CPU; None: the cores that are free. Sets torch's number of threads, for
    the whole process; ``Classifier.load`` leaves it. Raises EarsightError."""
    check_model(run, device, threads)
    return open_model(run, device, threads)


def open_model(run: str | Path, device: str, threads: int | None) -> "Classifier | Exported":
    """``load_model`` of arguments that ``check_model`` has accepted."""
    model, chosen = _load(run, device, threads)
    set_torch_threads(chosen)
    return model


def _load(run: str | Path, device: str, threads: int | None) -> "tuple[Classifier | Exported, int | None]":
    """The model, and the number of torch threads to answer with, which is not set here; None: it needs no torch."""
    before = read_load()
    if Path(run).suffix == ".onnx":
        return Exported.load(run, threads or free_cores(before)), None
    extras.check("torch", "timm", "safetensors")
    from earsight.network.classifier import Classifier

    classifier = Classifier.load(resolve_run(run), device)
    keep_freed_memory()
    return classifier, threads or free_cores(before)


def answer(
    model: "Classifier | Exported",
    recordings: Sequence[Recording],
    *,
    unknown: bool = True,
    sliding: Sliding | None = None,
    longest_s: float = LONGEST_S,
) -> Iterator[Row]:
    """Rows of all recordings, in order. sliding: of ``Sliding.of``; None: each recording as a whole, of at most
    ``longest_s``."""
    pieces = (piece for recording in recordings for piece in _pieces(recording, model.audio, sliding, longest_s))
    ready = prefetch(pieces, 2 * _BATCH)
    while part := list(islice(ready, _BATCH)):
        yield from answer_pieces(model, part, unknown)


def answer_pieces(model: "Classifier | Exported", part: Sequence["Piece"], unknown: bool) -> Iterator[Row]:
    """A row for each piece, in order. All pieces are one batch of the network."""
    crops = [piece.crops for piece in part if piece.crops is not None]
    answers = iter(model.predictions(np.concatenate(crops))) if crops else iter(())
    for piece in part:
        yield piece.failed(model.multilabel) if piece.crops is None else piece.answered(next(answers), unknown)


@dataclass(frozen=True)
class Piece:
    """The input of one row: a recording, a window, or the point beyond which a recording can't be read. crops: float32
    [score_crops, channels, crop_samples]; None with an error."""

    path: str | Path
    crops: Samples | None
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None
    unheard_s: float = 0.0
    last: bool = True

    @classmethod
    def of_window(cls, path: str | Path, window: Window, audio: AudioSettings) -> "Piece":
        # All score_crops crops of a window are the same: it is no longer than a crop.
        crops = np.repeat(window.samples[None], audio.score_crops, axis=0)
        return cls(path, crops, window.start_s, window.end_s, last=False)

    def answered(self, answer: Prediction, unknown: bool) -> Row:
        said, labels = (answer.answer, answer.labels) if unknown else (answer.label, answer.labels)
        return Row(
            self.path,
            said,
            answer.probabilities,
            labels=() if said != answer.label and labels is not None else labels,
            likeliest=answer.label,
            start_s=self.start_s,
            end_s=self.end_s,
            truncated=self.error,
            unheard_s=self.unheard_s,
            last=self.last,
        )

    def failed(self, multilabel: bool) -> Row:
        labels = () if multilabel else None
        return Row(self.path, None, None, self.error, labels, start_s=self.start_s, end_s=self.end_s, last=self.last)


def _pieces(recording: Recording, audio: AudioSettings, sliding: Sliding | None, longest_s: float) -> Iterator[Piece]:
    """The pieces of a recording, one or more; the final one has ``last`` set."""
    try:
        with recording.opened() as source:
            if sliding is None:
                yield _whole(recording, source, audio, longest_s)
                return
            before: Piece | None = None
            try:
                for window in windows(
                    source, audio, sliding.window_s, sliding.hop_s, recording.start_s, recording.end_s
                ):
                    if before is not None:
                        yield before
                    before = Piece.of_window(recording.path, window, audio)
            except DecodeError as error:
                end_s = recording.start_s
                if before is not None:
                    yield before
                    end_s = before.end_s or 0.0
                yield Piece(recording.path, None, end_s, None, str(error))
            else:
                if before is None:
                    raise _too_short(recording, audio)
                yield replace(before, last=True)
    except DecodeError as error:
        yield Piece(recording.path, None, *recording.span, str(error))


def _whole(recording: Recording, source: Any, audio: AudioSettings, longest_s: float) -> Piece:
    """Raises DecodeError."""
    samples, cut_off = read_waveform(source, audio, recording.start_s, recording.end_s, longest_s=longest_s)
    if not samples.shape[1]:
        raise _too_short(recording, audio)
    unheard_s = max(0.0, samples.shape[1] / audio.rate_hz - audio.score_crops * audio.crop_s)
    return Piece(recording.path, fixed_crops(samples, audio), *recording.span, cut_off, unheard_s)


def _too_short(recording: Recording, audio: AudioSettings) -> DecodeError:
    return DecodeError(f"too short: no sample is left at {audio.rate_hz} Hz: {recording.path}")
