"""Whether a recording was cut off: libsndfile reads half a WAV, W64, AIFF, AU, CAF, MP3 or Ogg, and a FLAC that ends
between two frames, as if it were whole."""

import io
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeVar

from earsight.audio.containers import FFmpegFile, Openable
from earsight.audio.mp3 import declares_length
from earsight.errors import TruncatedError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import soundfile

_HEAD_BYTES = 4096  # headers that are longer are not checked
_LONGEST_PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg page, at most
_SLACK_SHARE, _SLACK_BYTES = 0.01, 4096  # programs may declare a little more than they wrote
_UNKNOWN_BYTES = 0x7FFF0000  # programs that write into a pipe declare this size or more
UNKNOWN_SAMPLES = (1 << 36) - 1  # the most that FLAC can declare; libsndfile says 2⁶³ − 1 where it is unknown
_SLACK_S = 0.2  # an MP3 tag or a container may count the encoder's padding

_Got = TypeVar("_Got")


class MonitoredFile:
    """A file object that keeps the first error of reading (over a network, say), which libsndfile would take for the
    end of the file. address: where it comes from. error: after it nothing more is read; None as long as all went
    well."""

    def __init__(self, file: IO[bytes], address: str) -> None:
        self._file, self.address = file, address
        self.error: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        return self._tried(lambda: self._file.read(size), b"")

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._tried(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._tried(self._file.tell, 0)

    def _tried(self, step: "Callable[[], _Got]", otherwise: _Got) -> _Got:
        if self.error is None:
            try:
                return step()
            except Exception as error:  # noqa: BLE001 — kept: fsspec's file systems have errors of their own
                self.error = error
        return otherwise


def check_whole(source: Openable, name: str, file: "soundfile.SoundFile", reached: int) -> None:
    """Raise TruncatedError where ``file``, opened from ``source``, ended at frame ``reached`` although its header
    declares clearly more, or because reading failed. A header without a length, as pipes write it, proves nothing."""
    if isinstance(source, MonitoredFile) and source.error is not None:
        there_s = reached / file.samplerate
        raise TruncatedError(f"broke off after {there_s:.2f} s: {name} ({first_line(source.error)}); download it again")
    share = 1.0
    if isinstance(file, FFmpegFile):
        there_s = reached / file.samplerate
        if file.declared_s is not None and file.declared_s - there_s > _SLACK_S:
            share = there_s / file.declared_s
    elif file.format in {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"}:
        share = _present_share(source)
    elif file.format == "FLAC" and file.frames < UNKNOWN_SAMPLES:  # cut between two of its frames; within one it fails
        share = reached / file.frames
    elif file.format == "OGG" and reached and _ogg_page_is_cut(source):
        there_s = reached / file.samplerate
        raise TruncatedError(f"truncated: {there_s:.2f} s are there, and then half a page: {name}; download it again")
    elif file.format == "MP3" and file.frames - reached > _SLACK_S * file.samplerate and _mp3_declares_length(source):
        share = reached / file.frames
    if share < 1 and reached:
        there_s = reached / file.samplerate
        raise TruncatedError(
            f"truncated: {there_s:.2f} s of {there_s / share:.2f} s are there: {name}; download it again"
        )


def _present_share(source: Openable) -> float:
    """The share of the declared bytes of sound that the file has; 1 where it has all, or none are declared."""
    with open_binary(source) as file:
        start, size = _sound_bytes(file.read(_HEAD_BYTES))
        there = file.seek(0, os.SEEK_END) - start
        slack = min(_SLACK_BYTES, _SLACK_SHARE * size)
        return there / size if start and there >= 0 and there + slack < size < _UNKNOWN_BYTES else 1.0


def _sound_bytes(head: bytes) -> tuple[int, int]:
    """Offset of the samples, and the number of bytes that the header declares; zeros where it declares none."""
    if head.startswith(b".snd"):
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    long_size = 0  # of an RF64, whose data chunk refers to ds64 for its size
    for name, start, size in _chunks(head):
        if name == b"ds64":
            long_size = int.from_bytes(head[start + 8 : start + 16], "little")
        elif name in {b"data", b"SSND"}:
            return start, long_size or size
    return 0, 0


def _chunks(head: bytes) -> "Iterator[tuple[bytes, int, int]]":
    """(first four bytes of the name, offset of the content, size) of each chunk in the head of a chunked file. A CAF of
    unknown length has a last chunk of size 2⁶⁴ − 1."""
    # offset of the first chunk, bytes of a name, bytes of a size, byte order, whether a size includes the chunk header
    kinds: dict[bytes, tuple[int, int, int, Literal["little", "big"], bool]] = {
        b"RIFF": (12, 4, 4, "little", False),
        b"RF64": (12, 4, 4, "little", False),
        b"FORM": (12, 4, 4, "big", False),
        b"caff": (8, 4, 8, "big", False),
        b"riff": (40, 16, 8, "little", True),  # W64
    }
    if head[:4] not in kinds:
        return
    at, named, sized, order, counted = kinds[head[:4]]
    align = {8: 8, 4: 2}[sized] if head[:4] != b"caff" else 1
    while at + named + sized <= len(head):
        start = at + named + sized
        size = int.from_bytes(head[at + named : start], order) - (named + sized if counted else 0)
        yield head[at : at + 4], start, size
        at = start + max(0, size) + -size % align


def _ogg_page_is_cut(source: Openable) -> bool:
    """Whether the last page of an Ogg (RFC 3533) declares more bytes than there are."""
    with open_binary(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_PAGE))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    # a header of 27 bytes, the last of which counts the segment sizes that follow; then the segments
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _mp3_declares_length(source: Openable) -> bool:
    with open_binary(source) as file:
        return declares_length(file)


@contextmanager
def open_binary(source: Openable) -> "Iterator[IO[bytes]]":
    """``source`` as a binary file at its start; the position of a file object is restored."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield file
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        before = source.tell()
        source.seek(0)
        yield source
        source.seek(before)
