"""path | bytes | file object → Sound: the only place where encoded sound is read."""

import io
import math
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from earsight.audio import containers
from earsight.audio.containers import Openable
from earsight.audio.mp3 import Mp3WithFrameCount, find_longer
from earsight.audio.truncation import UNKNOWN_SAMPLES, MonitoredFile, check_whole, open_binary
from earsight.errors import DecodeError, TruncatedError, first_line

if TYPE_CHECKING:
    import soundfile

Samples = npt.NDArray[np.float32]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""A path, the encoded bytes, or a binary file object, which is read from its start."""

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
"""File name endings (lower case) that libsndfile reads; see ``suffixes``."""
_ALL_SUFFIXES = SUFFIXES | containers.SUFFIXES
BLOCK_SAMPLES = 1 << 16
"""Samples per channel in one block."""
_PIECE_SAMPLES = 256
_MAX_SAMPLES_AT_ONCE = 1 << 27  # of all channels: a header may declare more samples than the file has
_LEAD_IN_S = 1.0
_UNRECOGNISED = "Format not recognised"
_SPAN_TOLERANCE_S = 0.1
"""How far a span may reach beyond the end of its recording: tables of hand-made labels are rounded."""
SILENT_PEAK = 1e-30
"""Recordings whose samples are all smaller count as silent: no converter is so quiet, and to scale them up to full
scale would overflow in float32."""


def suffixes() -> frozenset[str]:
    """File name endings (lower case) that are taken for recordings when a folder is walked."""
    return _ALL_SUFFIXES if containers.can_read() else SUFFIXES


def suffix_list() -> str:
    """``suffixes`` as text, for error messages."""
    return ", ".join(sorted(suffixes()))


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


def openable_source(source: object) -> Openable:
    """``source`` as ``Openable``, at its start. Raises DecodeError where it is no ``Source``."""
    if isinstance(source, str | Path | bytes):
        return source
    if isinstance(source, os.PathLike):
        return Path(source)
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, io.TextIOBase):
        raise DecodeError("the file is open in text mode; open it with mode 'rb'")
    if not all(hasattr(source, name) for name in ("read", "seek", "tell")):
        raise DecodeError(
            f"{type(source).__name__} is not a recording; pass a path, encoded bytes or a binary file, or samples with "
            "their rate_hz"
        )
    file: Any = source
    try:
        if not getattr(file, "seekable", lambda: True)():
            return bytes(file.read())
        file.seek(0)
    except (ValueError, OSError) as error:
        raise DecodeError(f"the given file can't be read ({first_line(error)}); open it anew") from error
    return cast(IO[bytes], file)


def decode(source: Source, start_s: float = 0.0, end_s: float | None = None) -> Sound:
    """Decode a recording, or a span of it, with libsndfile, or with FFmpeg where PyAV is installed.

    start_s, end_s: seconds; None: to the end. Raises DecodeError where nothing readable, no sample, or a NaN or
    infinite sample is found, and where the recording was cut off, or ends before the span does. −0.0 becomes 0.0, so
    that equal sounds have equal bytes.
    """
    source = openable_source(source)
    with open_sound(source) as file:
        name = source_name(source)
        try:
            first = round(start_s * file.samplerate)
            begun = min(first, file.frames)
            left = file.frames - begun
            skip_to(file, begun)
            frames = math.inf if end_s is None else max(0, round(end_s * file.samplerate) - first)
            if min(frames, left) * file.channels > _MAX_SAMPLES_AT_ONCE:  # the header may not know the length
                blocks = list(float_blocks(file, source, first, frames))
                samples = np.concatenate(blocks or [np.zeros((0, 1), dtype=np.float32)])
            else:
                samples = read_floats(file, int(min(frames, left)))
                if len(samples) != frames:
                    check_whole(source, name, file, begun + len(samples))
        except (RuntimeError, OSError) as error:  # libsndfile's own error is a RuntimeError
            raise _unreadable(source, error) from error
        rate_hz, subtype = int(file.samplerate), file.subtype
    if samples.shape[0] == 0:
        late = f" after {start_s:g} s" if start_s else ""
        raise DecodeError(f"no samples{late} in: {name}")
    finite = subtype.startswith("PCM_") or (math.isfinite(samples.max()) and math.isfinite(samples.min()))
    if not finite:  # max and min propagate NaN
        raise DecodeError(f"NaN or infinite samples in: {name}")
    check_span(name, rate_hz, first, frames - len(samples), len(samples), end_s)
    return Sound(np.ascontiguousarray(samples.T), rate_hz)


def check_span(name: str, rate_hz: int, first: int, lacking: float, count: int, end_s: float | None) -> None:
    """Raise TruncatedError where a recording ends before a span of it does, by more than rounding explains. first:
    sample where the span begins. count: samples that were read. lacking: samples of the span that were not there."""
    if end_s is not None and lacking > _SPAN_TOLERANCE_S * rate_hz:
        ended_s = (first + count) / rate_hz
        raise TruncatedError(f"ends after {ended_s:.2f} s, a span of it was to end at {end_s:g} s: {name}")


def declared_length_s(file: "soundfile.SoundFile") -> float | None:
    """Duration by the header; None where the header does not have it."""
    if isinstance(file, containers.FFmpegFile):
        return file.declared_s
    return file.frames / file.samplerate if file.frames < UNKNOWN_SAMPLES else None


def header_length_s(path: str | Path) -> float | None:
    """As ``declared_length_s``; None also where the recording can't be opened: decoding it will say why."""
    try:
        with open_sound(path) as file:
            return declared_length_s(file)
    except DecodeError:
        return None


def read_floats(file: "soundfile.SoundFile", frames: int) -> Samples:
    """The next ``frames`` samples, float32 [samples, channels], without negative zeros (see ``decode``)."""
    if file.subtype != "PCM_16":
        samples: Samples = np.asarray(file.read(frames, dtype="float32", always_2d=True))
        if not file.subtype.startswith("PCM_"):  # integers have no negative zero
            samples += np.float32(0.0)
        return samples
    # The same numbers in a third of the time: libsndfile is slow at converting 16 bits to float.
    return file.read(frames, dtype="int16", always_2d=True) * np.float32(1 / 32768)


def float_blocks(file: "soundfile.SoundFile", source: Openable, first: int, frames: float) -> Iterator[Samples]:
    """Up to ``frames`` samples in blocks, float32 [samples, channels]. file: opened from ``source``, now at frame
    ``first``. Raises TruncatedError after the last sample of a recording that was cut off, and the errors of libsndfile
    (RuntimeError, OSError) after the last sample before damage."""
    # not soundfile's blocks(): it returns garbage where a file ends before its header says
    count = 0
    while count < frames:
        wanted = int(min(frames - count, BLOCK_SAMPLES))
        try:
            block = read_floats(file, wanted)
        except (RuntimeError, OSError):
            if _read_error(source) is not None:
                check_whole(source, source_name(source), file, first + count)
            yield from _read_up_to_damage(source, first + count, wanted)
            raise
        if not len(block):
            check_whole(source, source_name(source), file, first + count)
            return
        count += len(block)
        yield block


def _read_up_to_damage(source: Openable, first: int, frames: int) -> Iterator[Samples]:
    """What can be read of a damaged block, in smaller blocks. The recording is opened again, since a decoder may not
    recover from an error, and read from its start, since seeking fails in a damaged file."""
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


def open_sound(source: Openable) -> "soundfile.SoundFile":
    """Open a recording at its start, to be read block by block. Raises DecodeError."""
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
            file = soundfile.SoundFile(os.fsencode(source) if os.name == "posix" else str(source))
        elif isinstance(source, bytes):
            file = soundfile.SoundFile(io.BytesIO(source))
        else:
            source.seek(0)  # it may have been read, by libsndfile too
            file = soundfile.SoundFile(source)
        if file.format == "MP3":
            file = _with_counted_frames(file, source)
    except (RuntimeError, OSError, TypeError) as error:  # TypeError: what is called .raw has no header for soundfile
        if isinstance(source, str | Path) and not os.access(source, os.R_OK):
            raise DecodeError(f"permission denied: {name}") from error
        if _read_error(source) is None and containers.can_read():
            try:
                return containers.FFmpegFile(source)
            except OSError as other:
                if _UNRECOGNISED in str(error) and not isinstance(other, containers.UnrecognisedError):
                    error = other
        raise _unreadable(source, error) from error
    # soundfile seeks to the end of what it has read. That fails at the end of a file of unknown length, and an MP3
    # decoder loses the bits that its next frame takes from earlier ones.
    file.seekable = lambda: False
    return file


def _with_counted_frames(file: "soundfile.SoundFile", source: Openable) -> "soundfile.SoundFile":
    """An MP3; opened again with a counted length where libsndfile's guess is too short."""
    import soundfile

    with open_binary(source) as plain:
        found = find_longer(plain, file.frames)
    if found is None:
        return file
    file.close()
    if not isinstance(source, str | Path):
        return soundfile.SoundFile(
            Mp3WithFrameCount(io.BytesIO(source) if isinstance(source, bytes) else source, *found)
        )
    with ExitStack() as stack:
        whole = stack.enter_context(Path(source).open("rb"))
        file = soundfile.SoundFile(Mp3WithFrameCount(whole, *found))
        own, both = file.close, stack.pop_all()
    both.callback(own)
    file.close = both.close
    return file


def skip_to(file: "soundfile.SoundFile", first: int) -> None:
    """Continue at frame ``first``. MP3 and Opus are decoded from a second before: their frames depend on earlier
    ones."""
    if first:
        lead_in = round(_LEAD_IN_S * file.samplerate) if file.format == "MP3" or file.subtype == "OPUS" else 0
        file.seek(max(0, first - lead_in))
        if lead_in:
            read_floats(file, min(first, lead_in))


def source_name(source: Openable) -> str:
    if isinstance(source, MonitoredFile):
        return source.address
    return str(source) if isinstance(source, str | Path) else "the given bytes"


def failure_reason(source: Openable, error: Exception) -> str:
    """Why ``source`` can't be read: the error of the file object where it had one, else libsndfile's; and what to
    do."""
    failed = _read_error(source)
    told = getattr(error, "error_string", None) or str(error) if failed is None else first_line(failed)
    install = "" if containers.can_read() else "pip install 'earsight[av]' for m4a, mp4, webm and others, or "
    unknown = f"; {install}convert it to WAV or FLAC" if _UNRECOGNISED in told else ""
    return told.strip().rstrip(".") + unknown


def _read_error(source: Openable) -> Exception | None:
    return source.error if isinstance(source, MonitoredFile) else None


def _unreadable(source: Openable, error: Exception) -> DecodeError:
    return DecodeError(f"not readable as sound: {source_name(source)} ({failure_reason(source, error)})")
