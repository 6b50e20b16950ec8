"""A recording → the waveform that the network hears, by the settings: the one way for training and prediction."""

from pathlib import Path
from typing import IO

from earsight.audio.decode import Samples, Sound, decode
from earsight.audio.resample import to_channels, to_rate
from earsight.audio.segment import crop, crop_start, normalise_peak, trim_silence
from earsight.audio.settings import AudioSettings


def load_waveform(
    source: str | Path | bytes | IO[bytes], settings: AudioSettings, start_s: float = 0.0, end_s: float | None = None
) -> Samples:
    """Decode, mix, resample, trim and normalise one recording, or a span of it.

    Returns float32 [channels, samples] of any length, at ``settings.rate_hz``. Raises DecodeError.
    """
    return prepare(decode(source, start_s, end_s), settings)


def prepare(sound: Sound, settings: AudioSettings) -> Samples:
    """What ``load_waveform`` does after decoding. Raises DecodeError where the channels can't be mixed."""
    mixed = Sound(to_channels(sound.samples, settings.channels), sound.rate_hz)
    samples = to_rate(mixed, settings.rate_hz).samples
    if settings.trim_db is not None:
        samples = trim_silence(samples, settings.trim_db, settings.crop_samples)
    return normalise_peak(samples) if settings.peak_normalise else samples


def fixed_crop(samples: Samples, settings: AudioSettings) -> Samples:
    """The crop that is scored: the middle of the clip, padded where it is short. [channels, crop_samples]"""
    return crop(samples, crop_start(samples.shape[1], settings.crop_samples), settings.crop_samples)
