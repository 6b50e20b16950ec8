"""Whether a recording was cut off: libsndfile reads half a WAV, AIFF, AU or MP3 as if it were whole."""

import io
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from earsight.errors import TruncatedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import soundfile

_HEAD_BYTES = 4096  # the samples of a WAV, AIFF or AU begin before, or its header is not looked at
_SLACK_SHARE, _SLACK_BYTES = 0.01, 4096  # that a sloppy program may promise more than it wrote, at most
_UNKNOWN_BYTES = 0x7FFF0000  # a program that writes into a pipe promises this or more
_SLACK_S = 0.2  # an MP3 tag may count the padding of its encoder


def check_whole(source: str | Path | bytes | IO[bytes], name: str, file: "soundfile.SoundFile", reached: int) -> None:
    """Raise TruncatedError where ``file``, opened from ``source``, ended at frame ``reached`` and its header promises
    clearly more. A header that promises nothing, as pipes write it, is no sign."""
    share = 1.0
    if file.format in {"WAV", "WAVEX", "AIFF", "AU"}:
        share = _share_by_bytes(source)
    elif file.format == "MP3" and file.frames - reached > _SLACK_S * file.samplerate and _has_count(source):
        share = reached / file.frames
    if share < 1 and reached:
        there_s = reached / file.samplerate
        raise TruncatedError(f"truncated: {there_s:.2f} s of {there_s / share:.2f} s are there: {name}; get it again")


def _share_by_bytes(source: str | Path | bytes | IO[bytes]) -> float:
    """Of the promised bytes of sound, how many are there; 1 where all are, or nobody knows."""
    with _opened(source) as file:
        start, size = _sound_bytes(file.read(_HEAD_BYTES))
        there = file.seek(0, os.SEEK_END) - start
        slack = min(_SLACK_BYTES, _SLACK_SHARE * size)
        return there / size if start and there + slack < size < _UNKNOWN_BYTES else 1.0


def _sound_bytes(head: bytes) -> tuple[int, int]:
    """Where the samples begin, and how many bytes the header promises; zeros where it does not say."""
    if head.startswith(b".snd"):
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    order: Literal["little", "big"] = "little" if head.startswith(b"RIFF") else "big"
    at = 12
    while head.startswith((b"RIFF", b"FORM")) and at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], order)
        if head[at : at + 4] in {b"data", b"SSND"}:
            return at + 8, size
        at += 8 + size + size % 2
    return 0, 0


def _has_count(source: str | Path | bytes | IO[bytes]) -> bool:
    """Whether an MP3 tells its length; of others libsndfile makes a guess."""
    with _opened(source) as file:
        head = file.read(10)
        if head.startswith(b"ID3"):  # a tag of this length, in four times seven bits, stands before the sound
            file.seek(10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:]))))
            head = b""
        head += file.read(200)
    return b"Xing" in head or b"Info" in head


@contextmanager
def _opened(source: str | Path | bytes | IO[bytes]) -> "Iterator[IO[bytes]]":
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
