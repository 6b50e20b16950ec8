"""A recording read in blocks, whole or in windows: memory does not grow with its length."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from earsight.audio.containers import Openable
from earsight.audio.decode import (
    Samples,
    Sound,
    check_span,
    failure_reason,
    float_blocks,
    open_sound,
    openable_source,
    skip_to,
    source_name,
)
from earsight.audio.load import prepare, to_pcm
from earsight.audio.resample import StreamResampler, to_channels
from earsight.audio.segment import crop
from earsight.audio.settings import AudioSettings
from earsight.errors import DecodeError, TruncatedError

_USUAL_HZ = 48000


@dataclass(frozen=True)
class Window:
    """start_s, end_s: in the recording. samples: float32 [channels, crop_samples], as the network hears them."""

    start_s: float
    end_s: float
    samples: Samples


def read_blocks(source: Openable, start_s: float = 0.0, end_s: float | None = None) -> Iterator[Sound]:
    """As ``decode``, block by block: the concatenated blocks are the samples of ``decode``.

    Raises DecodeError as ``decode`` does. Of a recording that is cut off or damaged, or ends before the span does, the
    blocks that can be read come first, then TruncatedError.
    """
    source = openable_source(source)
    with open_sound(source) as file:
        name, rate_hz = source_name(source), int(file.samplerate)
        whole_numbers = file.subtype.startswith("PCM_")
        first = min(round(start_s * rate_hz), file.frames)
        left = math.inf if end_s is None else max(0, round(end_s * rate_hz) - round(start_s * rate_hz))
        count = 0
        try:
            skip_to(file, first)
            for block in float_blocks(file, source, first, left):
                if not whole_numbers and not (math.isfinite(block.max()) and math.isfinite(block.min())):
                    raise DecodeError(f"NaN or infinite samples in: {name}")  # max and min propagate NaN
                count += len(block)
                yield Sound(np.ascontiguousarray(block.T), rate_hz)
        except (RuntimeError, OSError) as error:  # libsndfile's own error is a RuntimeError
            reason = failure_reason(source, error)
            if count:
                after_s = (first + count) / rate_hz
                raise TruncatedError(f"damaged after {after_s:.2f} s: {name} ({reason}); download it again") from error
            raise DecodeError(f"not readable as sound: {name} ({reason})") from error
    if not count:
        late = f" after {start_s:g} s" if start_s else ""
        raise DecodeError(f"no samples{late} in: {name}")
    check_span(name, rate_hz, first, left - count, count, end_s)


def read_waveform(
    source: Openable,
    settings: AudioSettings,
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    longest_s: float = math.inf,
) -> tuple[Samples, str | None]:
    """As ``load_waveform``, but a recording that was cut off is read as far as it goes.

    Returns float32 [channels, samples], and what is missing in words, None where nothing is. Raises DecodeError, also
    for a recording longer than ``longest_s`` (above 48 kHz: with more samples than ``longest_s`` has at 48 kHz).
    """
    pieces: list[Samples] = []
    cut_off = None
    blocks = _check_length(read_blocks(source, start_s, end_s), settings, longest_s, source)
    try:
        for piece in _resampled(blocks, settings):
            pieces.append(piece)
    except TruncatedError as error:
        if not pieces:
            raise
        cut_off = str(error)
    return prepare(Sound(np.concatenate(pieces, axis=1), settings.rate_hz), settings).floats(), cut_off


def _check_length(
    blocks: Iterable[Sound], settings: AudioSettings, longest_s: float, source: Openable
) -> Iterator[Sound]:
    """The same blocks. Raises DecodeError once they are longer than ``longest_s`` (see ``read_waveform``)."""
    samples = 0
    for block in blocks:
        samples += block.samples.shape[1]
        heard_s = longest_s * min(1.0, _USUAL_HZ / block.rate_hz)
        if samples > heard_s * block.rate_hz:
            raise DecodeError(
                f"longer than {heard_s / 60:g} minutes, of which only {settings.crop_s:g} s would be heard: "
                f"{source_name(source)}; take a piece of it, or windows (--window {settings.crop_s:g})"
            )
        yield block


def _resampled(blocks: Iterable[Sound], settings: AudioSettings) -> Iterator[Samples]:
    """Blocks with the channels and the rate of the network. Block by block, since a small file with many channels and a
    high rate may decode to very many samples. A TruncatedError is raised after all samples before it are out."""
    change: StreamResampler | None = None
    ended: TruncatedError | None = None
    channels = 1
    try:
        for block in blocks:
            mixed = to_channels(block.samples, settings.channels)
            channels = mixed.shape[0]
            change = change or StreamResampler(block.rate_hz, settings.rate_hz, channels)
            yield change.push(mixed)
    except TruncatedError as error:
        ended = error
    if change is not None:
        yield change.push(np.zeros((channels, 0), dtype=np.float32), last=True)
    if ended is not None:
        raise ended


class WindowCutter:
    """Cuts windows out of samples that come in blocks of any size.

    Windows begin every ``hop_samples``. The last one ends with the recording, so that all of it is covered; a recording
    shorter than a window is one window.
    """

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        self._window, self._hop = window_samples, hop_samples
        self._kept: Samples | None = None
        self._start = 0  # first sample of what is kept
        self._next = 0  # where the next window begins

    def push(self, samples: Samples) -> Iterator[tuple[int, Samples]]:
        """float32 [channels, samples] → (first sample, float32 [channels, window_samples]) of each window that is
        complete now."""
        kept = samples if self._kept is None else np.concatenate([self._kept, samples], axis=1)
        end = self._start + kept.shape[1]
        while self._next + self._window <= end:
            yield self._next, kept[:, self._next - self._start : self._next - self._start + self._window]
            self._next += self._hop
        # The last window reaches back by its length from an end that is not known yet.
        keep_from = max(self._start, min(self._next, end - self._window))
        self._kept, self._start = kept[:, keep_from - self._start :].copy(), keep_from

    def close(self) -> Iterator[tuple[int, Samples]]:
        """The last window, where the end is not covered yet; shorter than a window where the recording is."""
        if self._kept is None:
            return
        end = self._start + self._kept.shape[1]
        covered = self._next - self._hop + self._window if self._next else 0
        if covered < end:
            start = max(0, end - self._window)
            yield start, self._kept[:, start - self._start :]


def windows(
    source: Openable,
    settings: AudioSettings,
    window_s: float,
    hop_s: float,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Iterator[Window]:
    """Windows of a recording or a span of it, each prepared as ``load_waveform`` and ``middle_crop`` prepare a
    recording of its own, without trimming.

    window_s: at most ``settings.crop_s``; shorter windows are padded. Raises DecodeError and, after the windows before
    the damage, TruncatedError.
    """
    yield from cut_windows(read_blocks(source, start_s, end_s), settings, window_s, hop_s, start_s)


def cut_windows(
    blocks: Iterable[Sound], settings: AudioSettings, window_s: float, hop_s: float, start_s: float = 0.0
) -> Iterator[Window]:
    """``windows`` of blocks from any source, all at one rate. start_s: time of the first sample."""
    rate_hz = settings.rate_hz
    slide = WindowCutter(max(1, round(window_s * rate_hz)), max(1, round(hop_s * rate_hz)))

    def window(start: int, samples: Samples) -> Window:
        heard = crop(to_pcm(samples, settings).floats(), 0, settings.crop_samples)
        begin_s = start_s + start / rate_hz
        return Window(begin_s, begin_s + samples.shape[1] / rate_hz, heard)

    ended: TruncatedError | None = None
    try:
        for piece in _resampled(blocks, settings):
            for start, samples in slide.push(piece):
                yield window(start, samples)
    except TruncatedError as error:
        ended = error
    for start, samples in slide.close():
        yield window(start, samples)
    if ended is not None:
        raise ended
