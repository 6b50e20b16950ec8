import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earsight.audio.segment import crop, crop_starts, sounding_span, trim_silence
from tests.conftest import tone


@pytest.mark.parametrize("top_db", [20, 30, 60])
@pytest.mark.parametrize("seed", range(5))
def test_span_is_librosas(top_db: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    envelope = np.interp(np.arange(30000), np.linspace(0, 30000, 12), 10 ** rng.uniform(-5, 0, 12))
    samples = (rng.standard_normal(30000) * envelope).astype(np.float32)
    assert sounding_span(samples[None], top_db) == tuple(librosa.effects.trim(samples, top_db=top_db)[1])


def test_what_sounds_in_any_channel_is_kept() -> None:
    clip = np.zeros((2, 40000), dtype=np.float32)
    clip[0, 10000:15000] = tone(440, 0.5)[:5000]
    clip[1, 24000:30000] = 0.5 * tone(880, 0.5)[:6000]
    start, end = sounding_span(clip, 30)
    assert (start, end) == tuple(librosa.effects.trim(clip, top_db=30)[1])
    assert start <= 10000 < 30000 <= end
    assert sounding_span(clip[::-1], 30) == (start, end)


def test_silence_and_short_rests_stay_whole() -> None:
    silence = np.zeros((1, 5000), dtype=np.float32)
    assert np.array_equal(trim_silence(silence, 30, 100), silence)
    clip = np.concatenate([np.zeros(20000), tone(440, 0.5), np.zeros(20000)]).astype(np.float32)[None]
    trimmed = trim_silence(clip, 30, 5000)
    assert 8000 <= trimmed.shape[1] <= 8000 + 4 * 2048
    assert trim_silence(clip, 30, 32000) is clip  # the trimmed clip would be shorter than the crop


@pytest.mark.parametrize(("before", "expected"), [(20000, 20000 + 4000 - 6000), (1000, 0), (39000, 47000 - 12000)])
def test_a_short_sound_lies_in_the_middle_of_what_is_left(before: int, expected: int) -> None:
    clip = np.zeros((2, 47000), dtype=np.float32)
    clip[:, before : before + 8000] = tone(440, 0.5)
    place = np.arange(47000, dtype=np.float32) * 1e-9  # tells where a sample came from
    left = trim_silence(clip + place, 30, 12000, around=True)
    assert left.shape == (2, 12000)
    began = int(np.flatnonzero(((clip + place)[:, :, None] == left[:, :1, None]).all(0)[:, 0])[0])
    assert abs(began - expected) <= 1024
    sounding = np.flatnonzero(np.abs(left[0]) > 0.01)
    assert before - began == pytest.approx(sounding[0], abs=2)
    short = clip[:, :9000]
    assert np.array_equal(trim_silence(short, 30, 12000, around=True), short)


@given(length=st.integers(1, 50), wanted=st.integers(1, 50))
def test_fixed_crop_is_the_middle_and_has_its_length(length: int, wanted: int) -> None:
    samples = np.arange(1, length + 1, dtype=np.float32)[None]
    cut = crop(samples, crop_starts(length, wanted)[0], wanted)[0]
    assert len(cut) == wanted
    kept = cut[cut > 0]
    assert len(kept) == min(length, wanted)
    assert (np.diff(kept) == 1).all()
    left, right = (
        (kept[0] - 1, length - kept[-1])
        if length >= wanted
        else (np.argmax(cut > 0), wanted - length - np.argmax(cut > 0))
    )
    assert abs(left - right) <= 1


def test_several_crops_are_spread_evenly_from_end_to_end() -> None:
    assert crop_starts(100, 40, 3) == [0, 30, 60]
    assert crop_starts(100, 40, 1) == [30]
    assert crop_starts(30, 40, 3) == [0, 0, 0]
