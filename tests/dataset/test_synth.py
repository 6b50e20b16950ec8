from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from earsight.audio.decode import decode
from earsight.dataset.sources import read_dataset
from earsight.dataset.sources.ravdess import EMOTIONS
from earsight.dataset.synth import MANNERS, draw_voice, synthesise, write_corpus
from earsight.errors import SettingsError


def pitch_hz(samples: np.ndarray, rate_hz: int) -> float:
    """By autocorrelation, between 60 and 500 Hz."""
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    lags = slice(rate_hz // 500, rate_hz // 60)
    return rate_hz / (lags.start + int(correlation[lags].argmax()))


def utterance(speaker: int, emotion: str) -> np.ndarray:
    return synthesise(
        draw_voice(speaker, 0), MANNERS[EMOTIONS.index(emotion)], 0, 16000, np.random.default_rng(speaker)
    )


def test_corpus_is_read_by_the_real_loader_and_called_synthetic(tmp_path: Path) -> None:
    files = write_corpus(tmp_path, speakers=3, takes=2)
    dataset = read_dataset(tmp_path)
    assert dataset.source == "ravdess"
    assert dataset.synthetic
    assert len(files) == len(dataset.clips) == 3 * 8 * 2
    assert Counter(clip.label for clip in dataset.clips) == dict.fromkeys(EMOTIONS, 6)
    assert dataset.groups == ("01", "02", "03")
    sounds = [decode(clip.path) for clip in dataset.clips]
    assert {sound.rate_hz for sound in sounds} == {16000}
    assert all(0.9 < sound.duration_s < 3.5 and 0.02 < np.abs(sound.samples).max() <= 1 for sound in sounds)


def test_a_seed_gives_the_same_bytes_however_many_speakers(tmp_path: Path) -> None:
    many = write_corpus(tmp_path / "many", speakers=3, takes=1)
    few = write_corpus(tmp_path / "few", speakers=2, takes=1)
    other = write_corpus(tmp_path / "other", speakers=2, takes=1, seed=1)
    for one, two, three in zip(many, few, other, strict=False):
        assert one.read_bytes() == two.read_bytes() != three.read_bytes()


def test_female_voices_are_higher_and_emotions_move_the_pitch_and_level() -> None:
    assert min(pitch_hz(utterance(s, "neutral"), 16000) for s in (2, 4, 6)) > max(
        pitch_hz(utterance(s, "neutral"), 16000) for s in (1, 3, 5)
    )
    for speaker in (1, 2, 3, 4):
        angry, sad = utterance(speaker, "angry"), utterance(speaker, "sad")
        assert pitch_hz(angry, 16000) > pitch_hz(sad, 16000)
        assert np.sqrt(np.mean(angry**2)) > 3 * np.sqrt(np.mean(sad**2))
        assert len(sad) > len(angry)


def test_what_names_have_no_room_for(tmp_path: Path) -> None:
    for speakers in (1, 25):
        with pytest.raises(SettingsError, match=f"2 to 24, got {speakers}"):
            write_corpus(tmp_path, speakers=speakers)
    with pytest.raises(SettingsError, match="1 to 4, got 5"):
        write_corpus(tmp_path, takes=5)
