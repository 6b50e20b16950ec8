import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.decode import decode
from earsight.errors import DecodeError
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
