"""The only place where rate and channel count change."""

import numpy as np

from earsight.audio.decode import Samples, Sound
from earsight.errors import DecodeError

_LARGEST_RATIO = 256  # a wrong rate in a header would turn a second into gigabytes


def to_channels(samples: Samples, channels: int | None) -> Samples:
    """samples: float32 [channels in, samples] → [channels, samples].

    One channel is the mean of all; one channel in is repeated; None keeps them.
    Raises DecodeError for any other change, since no one mixing would be right.
    """
    got = samples.shape[0]
    if channels is None or channels == got:
        return samples
    if channels == 1:
        return samples.mean(axis=0, keepdims=True, dtype=np.float32)
    if got == 1:
        return np.repeat(samples, channels, axis=0)
    raise DecodeError(f"{got} channels where {channels} are asked for; set audio.channels to 1 or to {got}")


def to_rate(sound: Sound, rate_hz: int) -> Sound:
    """Resample with soxr (HQ: band-limited below the lower Nyquist frequency, linear phase). Raises DecodeError where
    the two rates are so far apart that one must be wrong."""
    if sound.rate_hz == rate_hz:
        return sound
    if max(rate_hz / sound.rate_hz, sound.rate_hz / rate_hz) > _LARGEST_RATIO:
        raise DecodeError(
            f"a sample rate of {sound.rate_hz} Hz is not believable beside the {rate_hz} Hz that are asked for; "
            "mend the file, or set audio.rate_hz to fit it"
        )
    import soxr

    resampled = soxr.resample(sound.samples.T, sound.rate_hz, rate_hz, quality="HQ")
    return Sound(np.ascontiguousarray(np.atleast_2d(resampled.T), dtype=np.float32), rate_hz)
