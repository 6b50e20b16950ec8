"""Formats that FFmpeg decodes and libsndfile does not (m4a, mp4, webm, wma …), with the interface of soundfile."""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from earsight.extras import require

if TYPE_CHECKING:
    import numpy.typing as npt

Openable = str | Path | bytes | IO[bytes]
"""What can be opened as it is: a path, the encoded bytes, or a seekable binary file object."""

SUFFIXES = frozenset(
    {
        ".3g2", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2",
        ".mp4", ".mpeg", ".mpg", ".mpga", ".tta", ".weba", ".webm", ".wma", ".wmv", ".wv",
    }
)  # fmt: skip
"""File name endings (lower case) that are taken for recordings where PyAV is installed."""
# FFmpeg's names for these formats. Its playlist formats are left out: they open other files and addresses.
_DEMUXERS = "mov,matroska,ogg,aac,ac3,amr,ape,asf,avi,mp3,mpeg,mpegts,tta,wav,wv"
_UNKNOWN_SAMPLES = (1 << 63) - 1
# The headers of these formats have the duration; for others FFmpeg estimates it from the file size.
_FORMATS_WITH_LENGTH = frozenset({"mov", "matroska", "asf"})


@cache
def can_read() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


class UnrecognisedError(OSError):
    """A file in none of the formats that FFmpeg is allowed to read."""


class FFmpegFile:
    """The first audio stream of a file, with the part of the interface of ``soundfile.SoundFile`` that is used here.

    Raises OSError where there is no such stream or nothing of it can be decoded; of a damaged one, ``read`` raises it
    after the samples before the damage.
    declared_s: duration of the stream by the header; None where the format does not know it.
    """

    format, subtype = "FFMPEG", "FLOAT"
    frames = _UNKNOWN_SAMPLES  # known only after decoding: containers count in milliseconds or packets

    def __init__(self, source: Openable) -> None:
        self._source = source
        self._open()

    def _open(self) -> None:
        av = require("av")
        with ExitStack() as stack:
            if isinstance(self._source, str | Path):  # opened here: FFmpeg may take a name for a pattern or address
                file: IO[bytes] = stack.enter_context(Path(os.fsdecode(self._source)).open("rb"))
            else:
                file = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
                file.seek(0)
            with _as_os_error():
                box = stack.enter_context(_open_container(file))
                if not box.streams.audio:
                    raise OSError("no sound in it")
                stream = box.streams.audio[0]
                self._resampler = av.AudioResampler(format="fltp")
            self._frames: Iterator[Any] = box.decode(stream)
            self._waiting: list[npt.NDArray[np.float32]] = []
            self._failed: OSError | None = None
            self.samplerate = self.channels = 0
            self._decode_frame()  # HE-AAC: the header may have half of the rate and channels that are decoded
            if not self._waiting:
                raise self._failed or OSError("no samples in it")
            self.declared_s = _declared_s(box, stream)
            self._stack = stack.pop_all()

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> "npt.NDArray[np.float32]":
        """The next samples, float32 [samples, channels]; fewer than ``frames`` at the end or before damage."""
        count = sum(len(block) for block in self._waiting)
        while count < frames and self._decode_frame():
            count += len(self._waiting[-1])
        if not count and self._failed is not None:
            raise self._failed
        joined = np.concatenate(self._waiting or [np.zeros((0, self.channels), dtype=np.float32)])
        self._waiting = [joined[frames:]] if len(joined) > frames else []
        return joined[:frames]

    def seek(self, frame: int) -> None:
        """Continue at this frame, counted from the start: by decoding all before it again."""
        left = frame
        self.close()
        self._open()
        while left > 0 and (block := self.read(min(left, 1 << 16))).size:
            left -= len(block)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "FFmpegFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode_frame(self) -> bool:
        """Decode one more frame into ``_waiting``; False at the end, and where decoding failed (``_failed``)."""
        if self._failed is not None:
            return False
        try:
            with _as_os_error():
                for decoded in self._frames:
                    for frame in self._resampler.resample(decoded):
                        samples = frame.to_ndarray().T  # of "fltp": [channels, samples]
                        self.samplerate, self.channels = frame.sample_rate, samples.shape[1]
                        self._waiting.append(samples)
                        if len(samples):
                            return True
        except OSError as error:
            self._failed = error
        return False


def _open_container(file: IO[bytes]) -> Any:
    av = require("av")
    try:
        return av.open(file, options={"format_whitelist": _DEMUXERS})
    except av.FFmpegError as error:  # an unknown format, or one that is not on the list
        file.seek(0)
        if file.read(8)[4:] == b"ftyp":  # ISO/IEC 14496-12; most programs write the index last
            raise OSError(
                "an mp4 without its index: it was cut off, or is damaged; record or download it again"
            ) from error
        raise UnrecognisedError(str(error)) from error


def _declared_s(box: Any, stream: Any) -> float | None:
    """Seconds of the audio stream, not of the file: a film may last longer than its sound."""
    if not _FORMATS_WITH_LENGTH & set(box.format.name.split(",")):
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return box.duration / require("av").time_base if box.duration and len(box.streams) == 1 else None


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn the errors of FFmpeg and PyAV, some of which are no OSError, into OSError."""
    try:
        yield
    except (require("av").FFmpegError, ValueError) as error:  # ValueError: the rate changes within the stream
        raise OSError(getattr(error, "strerror", None) or str(error)) from error
