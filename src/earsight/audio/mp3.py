"""The length of MP3s that do not declare it, as programs write them into pipes. libsndfile estimates it from the first
frames and reads no further, so that most of a file with a variable bit rate may be lost. Here the frames are
counted."""

import os
from typing import IO, NamedTuple

_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # of MPEG 1 (ISO 11172-3, layer III)
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # of MPEG 2 and 2.5
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_BLOCK_BYTES = 1 << 20
_MOST_JUNK_BYTES = 1 << 16
_MOST_BEHIND_BYTES = 1 << 12
_USUAL_KBITS = 9  # index of a bit rate whose frames have room for a Xing tag


class Frame(NamedTuple):
    """size: in bytes. samples: per channel. xing_offset: where in the frame a Xing tag lies, in bytes."""

    size: int
    samples: int
    xing_offset: int


def parse_frame(header: bytes) -> Frame | None:
    """The layer III frame with this header (its first four bytes); None where these are no such header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer, bare = header[1] >> 3 & 3, header[1] >> 1 & 3, header[1] & 1
    kbits, rate, padding, mono = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1, header[3] >> 6 == 3
    if version == 1 or layer != 1 or rate == 3 or kbits in {0, 15}:
        return None
    samples = 1152 if version == 3 else 576
    size = samples // 8 * 1000 * _KBITS[version == 3][kbits] // _RATES_HZ[version][rate] + padding
    beside = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Frame(size, samples, 4 + beside + (0 if bare else 2))


def _find_frame(block: bytes) -> tuple[int, Frame] | None:
    """Offset and frame of the first header that is followed by another frame, or by the end of the block."""
    at = 0
    while at >= 0:
        if (frame := parse_frame(block[at : at + 4])) is not None:
            after = block[at + frame.size : at + frame.size + 4]
            if len(after) < 4 or parse_frame(after) is not None:
                return at, frame
        at = block.find(b"\xff", at + 1)
    return None


class Mp3(NamedTuple):
    """start: offset of the first frame with sound, in bytes. header: its four bytes. declared_frames: frame
    count by the Xing tag; None where there is none that can be trusted."""

    start: int
    header: bytes
    declared_frames: int | None


def read_mp3(file: IO[bytes]) -> Mp3 | None:
    """What the head of an MP3 says. file: at its start. None where no frame is found."""
    head = file.read(10)
    start = 0
    if head.startswith(b"ID3"):  # the length of the tag is in four bytes of seven bits
        start = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
    file.seek(start)
    block = file.read(_MOST_JUNK_BYTES)
    if (found := _find_frame(block)) is None:
        return None
    at, frame = found
    header, tag = block[at : at + 4], block[at + frame.xing_offset : at + frame.size]
    if tag[:4] not in {b"Xing", b"Info"} or len(tag) < 16:
        return Mp3(start + at, header, None)
    told, told_bytes = (int.from_bytes(tag[n : n + 4], "big") for n in (8, 12))
    # Of two files that were concatenated, the tag has the length of the first alone. Or the rest is a trailing tag.
    joined = tag[7] & 2 and file.seek(0, os.SEEK_END) - start - at > told_bytes + _MOST_BEHIND_BYTES
    if tag[7] & 1 and told and not joined:
        return Mp3(start + at, header, told)
    return Mp3(start + at + frame.size, header, None)


def count_frames(file: IO[bytes], start: int) -> int:
    """Frames from byte ``start`` on. Damage between frames is skipped, as libmpg123 does."""
    file.seek(start)
    count, at, block = 0, 0, b""
    while True:
        frame = parse_frame(block[at : at + 4])
        if frame is None:
            file.seek(start := start + at)
            block = file.read(_BLOCK_BYTES)
            if (found := _find_frame(block[:_MOST_JUNK_BYTES])) is None:
                return count
            at, frame = found
        count, at = count + 1, at + frame.size


class Mp3WithFrameCount:
    """An MP3 as a file object that begins with a Xing frame, made here, which declares ``count`` frames."""

    def __init__(self, file: IO[bytes], mp3: Mp3, count: int) -> None:
        header = bytes((0xFF, mp3.header[1] | 1, _USUAL_KBITS << 4 | mp3.header[2] & 0x0C, mp3.header[3]))
        if (frame := parse_frame(header)) is None:
            raise ValueError(f"no header of a frame: {header.hex()}")
        told = b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
        self._head = (header + bytes(frame.xing_offset - 4) + told).ljust(frame.size, b"\0")
        self._file, self._start, self._at = file, mp3.start, 0

    def read(self, size: int = -1, /) -> bytes:
        head = self._head[self._at :] if size < 0 else self._head[self._at : self._at + size]
        self._file.seek(self._start + max(0, self._at - len(self._head)))
        read = head + (self._file.read() if size < 0 else self._file.read(size - len(head)))
        self._at += len(read)
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            offset += len(self._head) + self._file.seek(0, os.SEEK_END) - self._start
        self._at = offset + (self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def tell(self) -> int:
        return self._at


def find_longer(file: IO[bytes], frames: int) -> tuple[Mp3, int] | None:
    """The arguments of ``Mp3WithFrameCount`` for a file at its start that declares no length and is clearly longer than
    ``frames`` samples per channel, which is libsndfile's guess; None for others."""
    mp3 = read_mp3(file)
    frame = None if mp3 is None or mp3.declared_frames else parse_frame(mp3.header)
    if mp3 is None or frame is None:
        return None
    count = count_frames(file, mp3.start)
    return (mp3, count) if count * frame.samples - frames > 2 * frame.samples else None


def declares_length(file: IO[bytes]) -> bool:
    """Whether an MP3 declares its number of frames; libsndfile estimates that of others. file: at its start."""
    mp3 = read_mp3(file)
    return mp3 is not None and bool(mp3.declared_frames)
