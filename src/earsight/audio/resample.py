"""The only place where rate and channel count change."""

from typing import Any

import numpy as np

from earsight.audio.decode import Samples, Sound
from earsight.errors import DecodeError

_QUALITY = "HQ"
_LARGEST_RATIO = 256  # a wrong rate in a header would turn a second into gigabytes


def to_channels(samples: Samples, channels: int | None) -> Samples:
    """samples: float32 [channels in, samples] → float32 [channels, samples].

    Many channels become one by their mean, one becomes many by repetition; None keeps them. Raises DecodeError for any
    other change, since there is no one right way to mix.
    """
    got = samples.shape[0]
    if channels is None or channels == got:
        return samples
    if channels == 1:
        return samples.mean(axis=0, keepdims=True, dtype=np.float32)
    if got == 1:
        return np.repeat(samples, channels, axis=0)
    raise DecodeError(f"the recording has {got} channels, not {channels}; set audio.channels to 1 or to {got}")


def to_rate(sound: Sound, rate_hz: int) -> Sound:
    """Resample with soxr (HQ: band-limited below the lower Nyquist frequency, linear phase). Raises DecodeError where
    the two rates are so far apart that one must be wrong."""
    if sound.rate_hz == rate_hz:
        return sound
    _check_rates(sound.rate_hz, rate_hz)
    import soxr

    resampled = soxr.resample(sound.samples.T, sound.rate_hz, rate_hz, quality=_QUALITY)
    return Sound(np.ascontiguousarray(np.atleast_2d(resampled.T), dtype=np.float32), rate_hz)


class StreamResampler:
    """``to_rate`` block by block: the blocks that ``push`` returns, concatenated, are ``to_rate`` of the whole."""

    def __init__(self, from_hz: int, to_hz: int, channels: int) -> None:
        """Raises DecodeError as ``to_rate`` does."""
        self._soxr: Any = None
        if from_hz != to_hz:
            _check_rates(from_hz, to_hz)
            import soxr

            self._soxr = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality=_QUALITY)

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """float32 [channels, samples] → float32 [channels, any number of samples]. last: no more blocks follow."""
        if self._soxr is None:
            return samples
        resampled = self._soxr.resample_chunk(np.ascontiguousarray(samples.T), last=last)
        return np.ascontiguousarray(resampled.reshape(-1, samples.shape[0]).T)


def _check_rates(from_hz: int, to_hz: int) -> None:
    if max(to_hz / from_hz, from_hz / to_hz) > _LARGEST_RATIO:
        raise DecodeError(
            f"a sample rate of {from_hz} Hz is not believable beside the {to_hz} Hz that are asked for; "
            "fix the file, or set audio.rate_hz to fit it"
        )
