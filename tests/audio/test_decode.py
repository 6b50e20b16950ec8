import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.decode import declared_length_s, decode, open_sound
from earsight.audio.stream import read_blocks
from earsight.errors import DecodeError, TruncatedError
from tests.conftest import tone


def test_samples_rate_and_channels_come_back(tmp_path: Path) -> None:
    stereo = np.stack([tone(440, 0.1, 8000), tone(880, 0.1, 8000)])
    soundfile.write(tmp_path / "a.flac", stereo.T, 8000, subtype="PCM_24")
    sound = decode(tmp_path / "a.flac")
    assert sound.rate_hz == 8000
    assert sound.samples.shape == (2, 800)
    assert sound.samples.dtype == np.float32
    assert np.abs(sound.samples - stereo).max() < 2**-22
    assert sound.duration_s == 0.1


def test_path_bytes_and_file_object_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(440, 0.1), 16000)
    data = path.read_bytes()
    for source in (str(path), data, io.BytesIO(data)):
        assert np.array_equal(decode(source).samples, decode(path).samples)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "empty file"),
        ("text.wav", b"this is no sound at all", "not readable as sound"),
        ("cut.flac", b"fLaC\x00\x00", "not readable as sound"),
        ("a.raw", bytes(8000), "not readable as sound"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=message) as error:
        decode(tmp_path / name)
    assert name in str(error.value)


def test_absent_folder_and_no_frames(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no such recording"):
        decode(tmp_path / "absent.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(DecodeError, match="not a file"):
        decode(tmp_path / "folder.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), 16000)
    with pytest.raises(DecodeError, match="no samples"):
        decode(tmp_path / "none.wav")


def test_nan_and_infinity_are_refused(tmp_path: Path) -> None:
    for bad in (np.nan, np.inf):
        samples = tone(440, 0.1)
        samples[7] = bad
        soundfile.write(tmp_path / "bad.wav", samples, 16000, subtype="FLOAT")
        with pytest.raises(DecodeError, match="NaN or infinite"):
            decode(tmp_path / "bad.wav")


def test_original_files_differ_in_rate_and_channels(ravdess_48k_zip: Path) -> None:
    with zipfile.ZipFile(ravdess_48k_zip) as archive:
        sounds = {name: decode(archive.read(name)) for name in archive.namelist() if name.endswith(".wav")}
    assert len(sounds) == 60
    other_rate = {Path(name).stem: sound.rate_hz for name, sound in sounds.items() if sound.rate_hz != 48000}
    assert other_rate == {"03-01-01-01-01-01-01": 22050}
    stereo = {Path(name).stem: sound.samples for name, sound in sounds.items() if len(sound.samples) == 2}
    assert sorted(stereo) == ["03-01-02-01-01-02-01", "03-01-08-01-02-02-01"]
    assert all(np.array_equal(left, right) for left, right in stereo.values())


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "MS_ADPCM"),
        ("a.aiff", "PCM_16"),
        ("a.aiff", "PCM_24"),
        ("a.au", "PCM_16"),
        ("a.au", "ULAW"),
        ("a.w64", "PCM_16"),
        ("a.w64", "FLOAT"),
        ("a.mp3", None),
    ],
)
def test_half_a_recording_is_told_from_a_whole_one(tmp_path: Path, name: str, subtype: str | None) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(440, 4.0) + 0.01 * np.random.default_rng(0).standard_normal(64000), 16000, subtype)
    whole = path.read_bytes()
    assert decode(whole).duration_s == pytest.approx(4.0, abs=0.1)
    path.write_bytes(whole[: len(whole) // 2])
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(
            DecodeError, match=r"^truncated: (1\.[89]\d|2\.00) s of (3\.9\d|4\.0\d) s are there: .*again"
        ):
            decode(source)
    assert decode(path, 0.5, 1.5).duration_s == 1.0  # a span that is there
    with pytest.raises(DecodeError, match=r"^truncated"):
        decode(path, 1.0, 3.0)


@pytest.mark.parametrize(("form", "subtype"), [("RF64", "PCM_24"), ("CAF", "PCM_16")])
def test_long_sizes_are_read_too(form: str, subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(440, 4.0), 16000, subtype, format=form)
    whole = file.getvalue()
    assert soundfile.info(io.BytesIO(whole)).format == form
    assert decode(whole).samples.shape == (1, 64000)
    with pytest.raises(DecodeError, match=r"^truncated: 3\.[89]\d s of 4\.00 s are there"):
        decode(whole[: -len(whole) // 50])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_ends_within_a_page_was_cut_off(subtype: str) -> None:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(80000)
    soundfile.write(file, noise, 16000, subtype, format="OGG")
    whole = file.getvalue()
    assert decode(whole).samples.shape == (1, 80000)
    assert decode(whole + b"TAG" + bytes(125)).samples.shape == (1, 80000)  # what a program wrote behind it
    page = whole.rindex(b"OggS")
    for end in (page + 10, page + 40, len(whole) - 1):
        with pytest.raises(DecodeError, match=r"^truncated: [1-4]\.\d\d s are there, and then half a page: .*again"):
            decode(whole[:end])
    at_a_page = decode(whole[:page])  # a stream that was left, as radio is: no sign
    assert 16000 < at_a_page.samples.shape[1] < 80000


def test_a_few_bytes_that_lack_are_much_of_a_small_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 1.0), 8000)
    whole = (tmp_path / "a.wav").read_bytes()
    assert decode(whole[:-100]).samples.shape == (1, 15950)  # of 32,000: nobody hears that
    with pytest.raises(DecodeError, match=r"^truncated"):
        decode(whole[:-2000])


def test_an_au_that_does_not_know_its_length_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.au", tone(440, 4.0), 16000)
    piped = bytearray((tmp_path / "a.au").read_bytes())
    piped[8:12] = b"\xff\xff\xff\xff"
    assert decode(bytes(piped)).samples.shape == (1, 64000)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 64000 * 2 + 44])
def test_a_wav_that_does_not_know_its_length_is_read_as_far_as_it_goes(tmp_path: Path, size: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 4.0), 16000)
    piped = bytearray((tmp_path / "a.wav").read_bytes())
    at = piped.index(b"data") + 4
    piped[at : at + 4] = size.to_bytes(4, "little")
    assert decode(bytes(piped)).samples.shape == (1, 64000)


@pytest.mark.parametrize("count", [0, 2**36 - 1])
def test_a_flac_that_does_not_know_its_length_is_read_as_far_as_it_goes(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(80000), 16000)
    whole, piped = decode(path).samples, bytearray(path.read_bytes())
    piped[21:26] = (piped[21] >> 4 << 36 | count).to_bytes(5, "big")  # the last 36 of these 40 bits
    path.write_bytes(piped)
    for source in (path, bytes(piped)):
        assert np.array_equal(decode(source).samples, whole)
        assert np.array_equal(np.concatenate([block.samples for block in read_blocks(source)], 1), whole)
    assert np.array_equal(decode(path, 1.0).samples, whole[:, 16000:])
    assert np.array_equal(decode(path, 1.0, 2.0).samples, whole[:, 16000:32000])
    with open_sound(path) as file:
        assert declared_length_s(file) is None


def test_a_tag_before_an_mp3_does_not_hide_that_it_was_cut_off(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(440, 4.0), 16000)
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 44]) + bytes(300)
    sound = (tmp_path / "a.mp3").read_bytes()
    assert decode(tag + sound).samples.shape == (1, 64000)
    with pytest.raises(DecodeError, match="truncated"):
        decode(tag + sound[: len(sound) // 2])


def test_a_zero_is_never_negative(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5, -0.0, 0.0, -0.5], dtype=np.float32), 16000, subtype="FLOAT")
    assert np.signbit(decode(tmp_path / "a.wav").samples).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("kind", ["wav", "aiff", "flac", "au", "caf", "w64"])
def test_sixteen_bits_are_read_as_libsndfile_turns_them_into_floats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    every = np.arange(-32768, 32768, dtype=np.int16).reshape(-1, 2)
    soundfile.write(path, every, 16000, subtype="PCM_16")
    expected, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(decode(path).samples, expected.T)
    assert decode(path).samples.min() == -1.0


def test_an_au_whose_samples_begin_behind_its_end_is_refused() -> None:
    """Its offset is 8 MB, its size 0."""
    header = b".snd" + b"".join(number.to_bytes(4, "big") for number in (0x7F0000, 0, 5, 16000, 1))
    for source in (header + bytes(32000), io.BytesIO(header + bytes(32000))):
        with pytest.raises(DecodeError):
            decode(source)


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, (4000, 8))
    soundfile.write(tmp_path / "a.flac", sound, 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    assert int.from_bytes(data[21:26], "big") & (2**36 - 1) == 4000  # of STREAMINFO, RFC 9639
    data[21:26] = (int.from_bytes(data[21:26], "big") & ~(2**36 - 1) | 2**31 - 1).to_bytes(5, "big")
    tracemalloc.start()
    with pytest.raises(TruncatedError, match=r"truncated: 0\.25 s of 134217\.73 s are there"):
        decode(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()
