"""A recording → the waveform that the network hears, by the settings: the one way for training and prediction."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from earsight.audio.arrays import sound_from_array
from earsight.audio.decode import SILENT_PEAK, Samples, Sound, Source, decode
from earsight.audio.resample import to_channels, to_rate
from earsight.audio.segment import crop, crop_starts, trim_silence
from earsight.audio.settings import AudioSettings
from earsight.errors import SettingsError

INT16_MAX = 32767


@dataclass(frozen=True)
class Pcm:
    """A waveform in 16 bits, as it is stored. samples: int16 [channels, samples]; the waveform is samples × scale."""

    samples: npt.NDArray[np.int16]
    scale: float

    @property
    def silent(self) -> bool:
        """Whether all samples are zero."""
        return not self.samples.max(initial=0) and not self.samples.min(initial=0)

    def floats(self) -> Samples:
        """float32 [channels, samples]."""
        return self.samples * np.float32(self.scale)


def load_waveform(
    source: Source | npt.ArrayLike,
    settings: AudioSettings | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    rate_hz: float | None = None,
) -> Samples:
    """Decode, mix, resample, trim and normalise one recording, or a span of it.

    source: a path, the encoded bytes, a binary file object, which is read from its start; or, with their rate_hz,
    samples that are decoded already (``sound_from_array``). settings: such as ``Classifier.audio``; None: those of the
    default recipe (one channel, 16 kHz). start_s, end_s: in seconds; None: to its end. Returns float32 [channels,
    samples] of any length, at ``settings.rate_hz``; the largest magnitude is 1 (0 of silence) unless
    ``settings.peak_normalise`` is off: then it is that of the recording, which may be above 1. Raises DecodeError, and
    SettingsError for a span or samples that can't be.
    """
    if not 0 <= start_s < (math.inf if end_s is None else end_s) or end_s == math.inf:
        raise SettingsError(f"a span from {start_s} to {end_s} s; it must start at 0 or later and end after its start")
    if rate_hz is None:
        sound = decode(cast(Source, source), start_s, end_s)
    elif start_s or end_s is not None:
        raise SettingsError("start_s and end_s are for recordings; slice the samples instead")
    else:
        sound = sound_from_array(cast(npt.ArrayLike, source), rate_hz)
    return prepare(sound, settings or AudioSettings()).floats()


def resample(sound: Sound, settings: AudioSettings) -> Sound:
    """The first half of ``prepare``: convert to the channels and the rate of the network. Raises DecodeError where the
    channels can't be mixed."""
    return to_rate(Sound(to_channels(sound.samples, settings.channels), sound.rate_hz), settings.rate_hz)


def prepare(sound: Sound, settings: AudioSettings) -> Pcm:
    """What ``load_waveform`` does after decoding. Raises DecodeError where the channels can't be mixed.

    The result has 16 bits whether it is stored or not, so that training from a store and prediction from a file use the
    same samples. The rounding error is at most 1/65534 of the clip's peak (−96 dB). A clip whose peak is below
    ``SILENT_PEAK`` becomes zeros.
    """
    samples = resample(sound, settings).samples
    peak = max_abs(samples)
    if settings.trim_db is not None:
        around = settings.short == "around"
        samples = trim_silence(samples, settings.trim_db, settings.shortest_samples, around=around)
    return to_pcm(samples, settings, peak)


def max_abs(samples: Samples) -> float:
    """The largest magnitude; 0 where there are no samples."""
    return max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))


def to_pcm(samples: Samples, settings: AudioSettings, peak: float | None = None) -> Pcm:
    """The last step of ``prepare``: scale and round to 16 bits. samples: float32 [channels, samples], mixed, resampled
    and trimmed. peak: the largest magnitude before trimming; None: that of ``samples``."""
    peak = max_abs(samples) if peak is None else peak
    if peak < SILENT_PEAK:
        return Pcm(np.zeros(samples.shape, dtype=np.int16), 1 / INT16_MAX)
    steps = np.rint(samples * np.float32(INT16_MAX / peak)).astype(np.int16)
    return Pcm(steps, (1.0 if settings.peak_normalise else peak) / INT16_MAX)


def fixed_crops(samples: Samples, settings: AudioSettings) -> Samples:
    """The crops that are scored, float32 [score_crops, channels, crop_samples]; a short clip is padded with zeros."""
    starts = crop_starts(samples.shape[1], settings.crop_samples, settings.score_crops)
    return np.stack([crop(samples, start, settings.crop_samples) for start in starts])


def middle_crop(samples: Samples, settings: AudioSettings) -> Samples:
    """The middle of the clip, float32 [channels, crop_samples]; a short clip is padded with zeros."""
    return crop(samples, crop_starts(samples.shape[1], settings.crop_samples)[0], settings.crop_samples)
