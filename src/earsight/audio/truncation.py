"""Whether a recording was cut off: libsndfile reads half a WAV, W64, AIFF, AU, CAF, MP3, Ogg or FLAC as if it were
whole, of the last where it breaks between two frames."""

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

_HEAD_BYTES = 4096  # the samples begin before, or the header is not looked at
_LONGEST_PAGE = 27 + 255 + 255 * 255  # bytes of a page of an Ogg, at most
_SLACK_SHARE, _SLACK_BYTES = 0.01, 4096  # that a sloppy program may promise more than it wrote, at most
_UNKNOWN_BYTES = 0x7FFF0000  # a program that writes into a pipe promises this or more
UNKNOWN_SAMPLES = (1 << 36) - 1  # all that a FLAC has room for; one that does not know has 2⁶³ − 1 for libsndfile
_SLACK_S = 0.2  # an MP3 tag, or a container, may count the padding of its encoder

_Got = TypeVar("_Got")


class MonitoredFile:
    """A file object whose reading may fail, as over a network; libsndfile would take that for the end of the file.
    address: where it comes from. failed: the first error, after which nothing is read."""

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
    """Raise TruncatedError where ``file``, opened from ``source``, ended at frame ``reached`` and its header promises
    clearly more, or reading failed. A header that promises nothing, as pipes write it, is no sign."""
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
    """Of the promised bytes of sound, how many are there; 1 where all are, or nobody knows."""
    with open_binary(source) as file:
        start, size = _sound_bytes(file.read(_HEAD_BYTES))
        there = file.seek(0, os.SEEK_END) - start
        slack = min(_SLACK_BYTES, _SLACK_SHARE * size)
        return there / size if start and there >= 0 and there + slack < size < _UNKNOWN_BYTES else 1.0


def _sound_bytes(head: bytes) -> tuple[int, int]:
    """Where the samples begin, and how many bytes the header promises; zeros where it does not say."""
    if head.startswith(b".snd"):
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    long_size = 0  # of an RF64, whose chunk of sound says that its size stands elsewhere
    for name, start, size in _chunks(head):
        if name == b"ds64":
            long_size = int.from_bytes(head[start + 8 : start + 16], "little")
        elif name in {b"data", b"SSND"}:
            return start, long_size or size
    return 0, 0


def _chunks(head: bytes) -> "Iterator[tuple[bytes, int, int]]":
    """Of the head of a file of chunks: the first four letters of each one's name, where its content begins, its size.
    A CAF whose last size nobody knew has one of 2⁶⁴ − 1."""
    # where the first one begins, bytes of its name and of its size, in which order, whether that counts the header
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
    """Of an Ogg: whether its last page (RFC 3533) promises more bytes than there are."""
    with open_binary(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_PAGE))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    # 27 bytes, of which the last is the number of sizes that follow; then what they are the sizes of
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _mp3_declares_length(source: Openable) -> bool:
    with open_binary(source) as file:
        return declares_length(file)


@contextmanager
def open_binary(source: Openable) -> "Iterator[IO[bytes]]":
    """At its start; a file object is put back to where it was."""
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
