from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.decode import Sound
from earsight.audio.load import Pcm, load_waveform, prepare
from earsight.audio.settings import AudioSettings
from tests.conftest import tone

PLAIN = AudioSettings(trim_db=None)


@pytest.mark.parametrize("gain", [1e-6, 0.25, 1.0, 700.0])
def test_the_peak_becomes_one_or_stays_and_16_bits_are_enough_at_any_level(gain: float) -> None:
    samples = np.stack([tone(440, 0.3, gain=gain), 0.5 * tone(880, 0.3, gain=gain)])
    for normalised in (True, False):
        settings = AudioSettings(trim_db=None, channels=2, peak_normalise=normalised)
        pcm = prepare(Sound(samples, 16000), settings)
        assert pcm.samples.dtype == np.int16
        expected = samples / np.abs(samples).max() if normalised else samples
        step = np.abs(expected).max() / 32767
        assert np.abs(pcm.floats() - expected).max() <= 0.5001 * step
        assert np.abs(pcm.floats()).max() == pytest.approx(np.abs(expected).max(), rel=1e-6)


def test_the_peak_is_that_of_all_of_it_not_of_what_trimming_leaves() -> None:
    sound = np.zeros((1, 80000), dtype=np.float32)
    sound[0, 20000:76000] = 0.5 * np.sin(np.arange(56000))
    sound[0, 100] = 0.9  # 25 dB below the loudest frame
    kept = prepare(Sound(sound, 16000), AudioSettings(trim_db=10))
    assert 56000 <= kept.samples.shape[1] < 60000
    assert kept.floats().max() == pytest.approx(0.5 / 0.9, abs=1e-3)


def test_silence_stays_silence() -> None:
    assert not prepare(Sound(np.zeros((1, 500), dtype=np.float32), 16000), PLAIN).floats().any()


@pytest.mark.parametrize(("samples", "silent"), [([0, 0], True), ([0, 5], False), ([-5, 0], False), ([], True)])
def test_only_zeros_are_silence(samples: list[int], silent: bool) -> None:
    assert Pcm(np.array([samples], dtype=np.int16), 1.0).silent == silent


def test_what_trimming_leaves_of_a_short_sound_is_as_it_was_asked_for() -> None:
    sound = np.zeros((1, 48000), dtype=np.float32)
    sound[0, 20000:23200] = tone(440, 0.2)
    around, whole = (
        prepare(Sound(sound, 16000), AudioSettings(crop_s=1.0, short=short)) for short in ("around", "whole")
    )
    assert around.samples.shape == (1, 19200)  # a fifth longer than the crop
    assert whole.samples.shape == (1, 48000)
    assert around.floats().max() == pytest.approx(1.0)


@pytest.mark.parametrize("gain", [1e-40, 1e-36, 5e-31])
def test_what_would_overflow_is_silence(gain: float) -> None:
    pcm = prepare(Sound(tone(440, 0.3)[None] * np.float32(gain), 16000), AudioSettings())
    assert pcm.silent
    assert not prepare(Sound(tone(440, 0.3)[None] * np.float32(1e-28), 16000), AudioSettings()).silent


def test_a_peak_below_zero_counts() -> None:
    samples = np.array([[0.2, -0.5, 0.4, 0.0]], dtype=np.float32)
    assert np.allclose(prepare(Sound(samples, 16000), PLAIN).floats(), [[0.4, -1.0, 0.8, 0.0]], atol=2e-5)


def test_all_steps_in_order(tmp_path: Path) -> None:
    """Two channels at 48 kHz with silence around: mixed, resampled, trimmed, normalised."""
    sound = np.concatenate([np.zeros(24000), tone(500, 1.0, 48000, gain=0.2), np.zeros(24000)])
    soundfile.write(tmp_path / "a.wav", np.stack([sound, sound], axis=1), 48000, subtype="FLOAT")
    assert load_waveform(tmp_path / "a.wav", PLAIN).shape == (1, 32000)  # from its first sample to its last
    assert load_waveform(tmp_path / "a.wav", PLAIN, 0.25, 1.5).shape == (1, 20000)
    heard = load_waveform(tmp_path / "a.wav", AudioSettings(crop_s=0.5))
    assert heard.shape[0] == 1
    assert heard.dtype == np.float32
    assert 16000 <= heard.shape[1] <= 16000 + 4 * 1024
    assert np.abs(heard).max() == pytest.approx(1.0)
    spectrum = np.abs(np.fft.rfft(heard[0]))
    assert spectrum.argmax() * 16000 / heard.shape[1] == pytest.approx(500, abs=2)


def test_a_recording_alone_is_heard_as_the_default_recipe_hears_it(tmp_path: Path) -> None:
    from earsight.tasks.recipe import Recipe

    soundfile.write(tmp_path / "a.wav", np.stack([0.2 * tone(440, 1.5, 44100)] * 2, 1), 44100)
    heard = load_waveform(tmp_path / "a.wav")
    assert np.array_equal(heard, load_waveform(tmp_path / "a.wav", Recipe.named().audio))
    assert (heard.shape[0], float(np.abs(heard).max())) == (1, 1.0)
