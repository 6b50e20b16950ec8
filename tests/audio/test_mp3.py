"""MP3s of variable bit rate: made by libsndfile, and then robbed of what tells their length."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.decode import decode
from earsight.audio.mp3 import Frame, count_frames, declares_length, parse_frame, read_mp3
from earsight.audio.stream import read_blocks

LENGTH_S = 12


@pytest.fixture(scope="module", params=[(44100, 1), (22050, 2), (16000, 1)], ids=str)
def whole(request: pytest.FixtureRequest) -> bytes:
    """Noise that sinks into silence: by its first frames it is guessed to be much shorter."""
    rate_hz, channels = request.param
    rng = np.random.default_rng(0)
    fading = np.geomspace(0.5, 1e-6, LENGTH_S * rate_hz)[:, None]
    file = io.BytesIO()
    sound = fading * rng.standard_normal((len(fading), channels)) / 4
    soundfile.write(file, sound, rate_hz, format="MP3", bitrate_mode="VARIABLE", compression_level=0.4)
    return file.getvalue()


def untold(whole: bytes, way: str) -> bytes:
    """The same frames without the count of them."""
    first = parse_frame(whole[:4])
    assert first is not None
    tag = bytearray(whole[: first.size])
    assert tag[first.xing_offset :][:4] == b"Xing"
    if way == "without the frame that tells":
        return whole[first.size :]
    if way == "as pipes write it":
        tag[first.xing_offset + 8 : first.xing_offset + 16] = bytes(8)
    if way == "without the flag":
        tag[first.xing_offset + 7] &= 0xFE
    if way == "damaged":
        between, at = whole[first.size :], 0
        while at < len(between) // 8:
            at += parse_frame(between[at : at + 4]).size  # type: ignore[union-attr]
        return between[:at] + bytes(300) + between[at:]
    if way == "two joined":
        return whole + whole
    inside = bytes(tag) + whole[first.size :]
    return b"ID3\4\0\0\0\0\1\0" + bytes(128) + inside + b"TAG" + bytes(125) if way == "between two tags" else inside


@pytest.mark.parametrize(
    "way", ["without the frame that tells", "as pipes write it", "without the flag", "told", "between two tags"]
)
def test_all_of_it_is_heard(whole: bytes, way: str) -> None:
    told, found = decode(whole), decode(untold(whole, way))
    assert found.duration_s == pytest.approx(LENGTH_S, abs=0.15)  # what the encoder needs before and after is heard too
    shifts = [0] if way in {"told", "between two tags"} else [529, 576, 1105]  # libmpg123 cuts what a tag says
    length = told.samples.shape[1] - 4000
    differences = [float(np.abs(found.samples[:, s : s + length] - told.samples[:, :length]).max()) for s in shifts]
    assert min(differences) == 0


def test_damage_between_frames_and_joined_files_lose_no_rest(whole: bytes) -> None:
    for way, length_s in (("damaged", LENGTH_S), ("two joined", 2 * LENGTH_S)):
        found = decode(untold(whole, way))
        assert found.duration_s == pytest.approx(length_s, abs=0.3)


def test_a_file_is_closed_with_its_sound(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(untold(whole, "without the frame that tells"))
    decode(path)
    if Path("/proc/self/fd").is_dir():
        opened = [str(one.resolve()) for one in Path("/proc/self/fd").iterdir()]
        assert str(path) not in opened


def test_in_blocks_it_is_the_same_and_from_anywhere(whole: bytes) -> None:
    for way in ("told", "without the frame that tells"):
        file = untold(whole, way)
        found = decode(file)
        blocks = np.concatenate([block.samples for block in read_blocks(io.BytesIO(file))], axis=1)
        assert np.array_equal(blocks, found.samples)
        for start_s in (0.3, 1.7, 4.0, 9.1):
            span = decode(file, start_s, start_s + 1.5).samples
            first = round(start_s * found.rate_hz)
            assert np.abs(span - found.samples[:, first : first + span.shape[1]]).max() < 1e-6
            again = np.concatenate([block.samples for block in read_blocks(file, start_s, start_s + 1.5)], axis=1)
            assert np.array_equal(again, span)


def test_a_file_object_is_left_where_libsndfile_had_it(whole: bytes) -> None:
    file = io.BytesIO(untold(whole, "without the frame that tells"))
    assert np.array_equal(decode(file).samples, decode(file.getvalue()).samples)
    assert np.array_equal(decode(io.BytesIO(whole)).samples, decode(whole).samples)


def test_frames_are_counted(whole: bytes) -> None:
    told = read_mp3(io.BytesIO(whole))
    assert told is not None
    assert declares_length(io.BytesIO(whole))
    first = parse_frame(told.header)
    assert first is not None
    assert told.start == 0
    for way in ("without the frame that tells", "as pipes write it"):
        file = io.BytesIO(untold(whole, way))
        found = read_mp3(file)
        assert found is not None
        assert (found.declared_frames, found.start) == (None, 0 if way.startswith("without") else first.size)
        assert count_frames(file, found.start) == told.declared_frames
        assert not declares_length(io.BytesIO(file.getvalue()))


def test_junk_before_the_first_frame_is_skipped(whole: bytes) -> None:
    """In a moment, however much of it looks like the beginning of a frame."""
    told = read_mp3(io.BytesIO(whole))
    assert told is not None
    for junk in (b"\xff" * 60_000, b"\xff\xfb\x90\x00" + bytes(1000), b"RIFF\0"):
        assert read_mp3(io.BytesIO(junk + whole)) == told._replace(start=len(junk))
    for other in (b"", b"\xff", bytes(100), b"\xff" * 100_000, whole[:3]):
        assert read_mp3(io.BytesIO(other)) is None


@pytest.mark.parametrize(
    ("header", "frame"),
    [
        ("fffb9000", Frame(417, 1152, 36)),  # MPEG 1, 128 kbit/s, 44.1 kHz, stereo
        ("fffb92c0", Frame(418, 1152, 21)),  # mono, with a byte of padding
        ("fffa9000", Frame(417, 1152, 38)),  # with a checksum
        ("fff384c4", Frame(192, 576, 13)),  # MPEG 2, 64 kbit/s, 24 kHz, mono
        ("ffe318c4", Frame(72, 576, 13)),  # MPEG 2.5, 8 kbit/s, 8 kHz
        ("fffd9000", None),  # layer II
        ("fffbf000", None),  # no such bit rate
        ("fffb9c00", None),  # no such sample rate
        ("ffeb9000", None),  # no such version
        ("00000000", None),
        ("fffb90", None),
    ],
)
def test_headers_are_those_of_the_standard(header: str, frame: Frame | None) -> None:
    assert parse_frame(bytes.fromhex(header)) == frame
