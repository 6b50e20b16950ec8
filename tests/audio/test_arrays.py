import array
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earsight.audio.arrays import sound_from_array
from earsight.audio.decode import decode, openable_source
from earsight.audio.load import load_waveform
from earsight.audio.settings import AudioSettings
from earsight.errors import DecodeError, EarsightError, SettingsError
from tests.conftest import tone

NAN, INF = float("nan"), float("inf")
STEREO = np.stack([tone(300, 0.3), -tone(900, 0.3)])


@pytest.mark.parametrize(
    ("subtype", "given"),
    [
        ("FLOAT", STEREO),
        ("FLOAT", STEREO.astype(np.float64)),
        ("FLOAT", torch.from_numpy(STEREO).requires_grad_()),
        ("FLOAT", STEREO.tolist()),
        ("PCM_16", np.rint(STEREO * 32767).astype(np.int16)),
        ("PCM_32", np.rint(STEREO.astype(np.float64) * (2**31 - 1)).astype(np.int32)),
    ],
)
def test_samples_are_heard_as_their_file_is(tmp_path: Path, subtype: str, given: Any) -> None:
    plain = given.detach().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
    soundfile.write(tmp_path / "a.wav", plain.T, 44100, subtype=subtype)
    of_file, of_samples = decode(tmp_path / "a.wav"), sound_from_array(given, 44100)
    assert np.array_equal(of_samples.samples, of_file.samples)
    assert (of_samples.samples.dtype, of_samples.rate_hz) == (np.float32, 44100)
    settings = AudioSettings(crop_s=0.1)
    heard = load_waveform(given, settings, rate_hz=44100)
    assert np.array_equal(heard, load_waveform(tmp_path / "a.wav", settings))


@pytest.mark.parametrize(
    ("samples", "rate_hz", "message"),
    [
        (STEREO.T, 16000, r"samples of shape \(4800, 2\), where .*; transpose them$"),
        (STEREO[:1].T, 16000, r"samples of shape \(4800, 1\), where .*; transpose them$"),
        (STEREO[None], 16000, r"samples of shape \(1, 2, 4800\), where .*; pass one recording$"),
        (0.5, 16000, r"samples of shape \(\), where"),
        (np.zeros(9, dtype=np.uint8), 16000, "samples of type uint8; pass floats from -1 to 1, int16 or int32$"),
        ([[0.1], [0.1, 0.2]], 16000, "list is not an array of samples"),
        ("a.wav", 16000, "rate_hz is only for samples, since a recording has its own"),
        (STEREO, 0, "rate_hz must be a whole number of samples a second, got 0$"),
        (STEREO, 44100.5, "rate_hz must be .*, got 44100.5$"),
        (STEREO, float("nan"), "rate_hz must be .*, got nan$"),
        (STEREO, True, "rate_hz must be .*, got True$"),
        (np.array([0.1, np.nan]), 16000, "NaN or infinite samples in: the given samples"),
        (np.array([0.1, 1e300]), 16000, "NaN or infinite samples in: the given samples"),
        (np.zeros((2, 0)), 16000, "no samples in: the given samples"),
    ],
)
def test_samples_that_are_none(samples: Any, rate_hz: Any, message: str) -> None:
    with pytest.raises(EarsightError, match=message):
        load_waveform(samples, rate_hz=rate_hz)


def test_a_recording_is_anything_that_has_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, STEREO.T, 16000)
    expected, encoded = decode(path), path.read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.wav")
    pipe = io.BytesIO(encoded)
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    with path.open("rb") as file, zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("a.wav") as member:
        for source in (bytearray(encoded), memoryview(encoded), pipe, member, file, file):  # and once more
            assert np.array_equal(decode(source).samples, expected.samples)


def test_what_is_no_recording_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    closed = io.BytesIO()
    closed.close()
    for given in (None, 3, STEREO, [tmp_path], array.array("f", [0.1])):
        with pytest.raises(
            DecodeError, match=f"^{type(given).__name__} is not a recording; pass a path, encoded bytes .*$"
        ):
            openable_source(given)
    with pytest.raises(DecodeError, match=r"the given file can't be read .*closed"):
        decode(closed)
    with (tmp_path / "a.wav").open() as text, pytest.raises(DecodeError, match="open it with mode 'rb'"):
        decode(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "span", [(-1, 1), (float("nan"), 1), (float("inf"), None), (0.2, 0.2), (0, float("nan")), (0, float("inf"))]
)
def test_spans_that_can_not_be(tmp_path: Path, span: tuple[float, float | None]) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300, 1), 16000)
    with pytest.raises(SettingsError, match="it must start at 0 or later and end after its start"):
        load_waveform(tmp_path / "a.wav", None, *span)
