"""path | bytes | file object → Sound: the only place where encoded sound is read."""

import io
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from earsight.audio.truncated import check_whole
from earsight.errors import DecodeError

if TYPE_CHECKING:
    import soundfile

Samples = npt.NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
"""File name endings (lower case) that are taken for recordings when a folder is walked."""
BLOCK_SAMPLES = 1 << 16
"""Of each channel, that are read at once where a recording is read block by block."""
_PIECE_SAMPLES = 256
SILENT_PEAK = 1e-30
"""A recording without a larger sample is silent: no converter is so quiet, and its 32-bit arithmetic would overflow."""


@dataclass(frozen=True)
class Sound:
    """Decoded sound.

    samples: float32 [channels, samples]; full scale is [-1, 1] (float files may exceed it).
    rate_hz: samples a second, > 0.
    """

    samples: Samples
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.rate_hz


def decode(source: str | Path | bytes | IO[bytes], start_s: float = 0.0, end_s: float | None = None) -> Sound:
    """Decode a recording, or a span of it, with libsndfile.

    source: a path, the encoded bytes, or a binary file object open for reading. start_s, end_s: seconds; None: to the
    end. Raises DecodeError where nothing readable, no sample, or a NaN or infinite sample is found, where the recording
    ends before the span begins, and where it was cut off before its end, or that of the span. A zero is never negative:
    the same sound has the same samples.
    """
    with open_sound(source) as file:
        name = source_name(source)
        try:
            first = round(start_s * file.samplerate)
            if first:
                file.seek(min(first, file.frames))
            frames = -1 if end_s is None else max(0, round(end_s * file.samplerate) - first)
            samples = read_floats(file, frames)
            if len(samples) != frames:
                check_whole(source, name, file, min(first, file.frames) + len(samples))
        except (RuntimeError, OSError) as error:  # libsndfile's own error is a RuntimeError
            raise _unreadable(name, error) from error
        rate_hz, subtype = int(file.samplerate), file.subtype
    if samples.shape[0] == 0:
        late = f" after {start_s:g} s" if start_s else ""
        raise DecodeError(f"no samples{late} in: {name}")
    finite = subtype.startswith("PCM_") or (math.isfinite(samples.max()) and math.isfinite(samples.min()))
    if not finite:  # max and min both hand on NaN
        raise DecodeError(f"NaN or infinite samples in: {name}")
    return Sound(np.ascontiguousarray(samples.T), rate_hz)


def read_floats(file: "soundfile.SoundFile", frames: int) -> Samples:
    """The next samples, float32 [samples, channels]; frames: how many, −1 for all. A zero is never negative: −0.0 is
    the same sound as 0.0, and other bytes."""
    if file.subtype != "PCM_16":
        samples: Samples = np.asarray(file.read(frames, dtype="float32", always_2d=True))
        if not file.subtype.startswith("PCM_"):  # whole numbers have one zero
            samples += np.float32(0.0)
        return samples
    # The same numbers in a third of the time: libsndfile takes long to turn 16 bits into floats.
    return file.read(frames, dtype="int16", always_2d=True) * np.float32(1 / 32768)


def float_blocks(
    file: "soundfile.SoundFile", source: str | Path | bytes | IO[bytes], first: int, frames: float
) -> Iterator[Samples]:
    """The next ``frames`` samples, or all there are, float32 [samples, channels], from frame ``first``, where ``file``,
    opened from ``source``, stands. Raises TruncatedError after what there is of a recording that was cut off, and
    libsndfile's errors (RuntimeError, OSError)."""
    # soundfile's blocks() hands on rubbish where a file ends before its header says
    count = 0
    while count < frames:
        wanted = int(min(frames - count, BLOCK_SAMPLES))
        try:
            block = read_floats(file, wanted)
        except (RuntimeError, OSError):
            yield from _before_damage(source, first + count, wanted)
            raise
        if not len(block):
            check_whole(source, source_name(source), file, first + count)
            return
        count += len(block)
        yield block


def _before_damage(source: str | Path | bytes | IO[bytes], first: int, frames: int) -> Iterator[Samples]:
    """What can be read of a block that can't be read as a whole: smaller ones, from the recording opened anew, since a
    decoder that has failed may stay so; skipped from its start, since seeking in a damaged one fails."""
    if not isinstance(source, str | Path | bytes):
        source.seek(0)
    with open_sound(source) as file:
        reached = 0
        while reached < first + frames:
            pieces = _PIECE_SAMPLES if reached >= first else min(BLOCK_SAMPLES, first - reached)
            try:
                block = read_floats(file, min(pieces, first + frames - reached))
            except (RuntimeError, OSError):
                return
            if not len(block):
                return
            reached += len(block)
            if reached > first:
                yield block


def open_sound(source: str | Path | bytes | IO[bytes]) -> "soundfile.SoundFile":
    """For reading block by block. Raises DecodeError."""
    import soundfile  # here: a program that decodes nothing need not load libsndfile

    name = source_name(source)
    if isinstance(source, str | Path):
        try:
            found = os.stat(source)  # noqa: PTH116 — once, and without a Path: a data set has many files
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise DecodeError(f"no such recording: {name}") from error
        if not stat.S_ISREG(found.st_mode):
            closed = stat.S_ISDIR(found.st_mode) and not os.access(source, os.R_OK | os.X_OK)
            raise DecodeError(f"permission denied: {name}" if closed else f"not a file: {name}")
        if found.st_size == 0:
            raise DecodeError(f"empty file (0 bytes): {name}")
    try:
        if isinstance(source, str | Path):
            # As bytes: soundfile would refuse a name that is not UTF-8.
            return soundfile.SoundFile(os.fsencode(source) if os.name == "posix" else str(source))
        return soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (RuntimeError, OSError) as error:
        if isinstance(source, str | Path) and not os.access(source, os.R_OK):
            raise DecodeError(f"permission denied: {name}") from error
        raise _unreadable(name, error) from error


def source_name(source: str | Path | bytes | IO[bytes]) -> str:
    return str(source) if isinstance(source, str | Path) else "the given bytes"


def _unreadable(name: str, error: Exception) -> DecodeError:
    reason = getattr(error, "error_string", None) or str(error)
    return DecodeError(f"not readable as sound: {name} ({reason.strip().rstrip('.')})")
