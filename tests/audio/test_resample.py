from functools import partial

import numpy as np
import pytest

from earsight.audio.decode import Sound
from earsight.audio.resample import StreamResampler, to_channels, to_rate
from earsight.errors import DecodeError
from tests.conftest import tone


def test_tone_keeps_its_pitch_and_level() -> None:
    resampled = to_rate(Sound(tone(440, 1.0, 48000)[None], 48000), 16000)
    assert resampled.samples.shape == (1, 16000)
    middle = slice(500, -500)
    assert np.abs(resampled.samples[0, middle] - tone(440, 1.0, 16000)[middle]).max() < 1e-4


def test_what_lies_above_the_new_nyquist_frequency_is_gone() -> None:
    resampled = to_rate(Sound(tone(11000, 1.0, 48000)[None], 48000), 16000)  # would fold to 5 kHz
    assert np.abs(resampled.samples[0, 500:-500]).max() < 1e-4


def test_same_rate_is_not_touched() -> None:
    sound = Sound(tone(440, 0.1)[None], 16000)
    assert to_rate(sound, 16000) is sound


def test_channels() -> None:
    stereo = np.array([[1.0, 0.5], [0.0, -0.5]], dtype=np.float32)
    assert to_channels(stereo, 1).tolist() == [[0.5, 0.0]]
    assert to_channels(stereo, None) is stereo
    assert to_channels(stereo[:1], 3).tolist() == [[1.0, 0.5]] * 3
    with pytest.raises(DecodeError, match="the recording has 2 channels, not 3"):
        to_channels(stereo, 3)


def test_rates_that_are_too_far_apart_are_refused_either_way() -> None:
    sound = np.zeros((1, 512), dtype=np.float32)
    for far, near in ((25600, 100), (100, 25600)):
        assert to_rate(Sound(sound, far), near).samples.shape == (1, 512 * near // far)
    for far, near in ((25601, 100), (100, 25601)):
        for change in (partial(to_rate, Sound(sound, far), near), partial(StreamResampler, far, near, 1)):
            with pytest.raises(DecodeError, match=f"rate of {far} Hz is not believable beside the {near} Hz"):
                change()
