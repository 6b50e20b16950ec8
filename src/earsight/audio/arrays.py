"""Samples in memory and their rate → Sound, as decoding a file of them would give it."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from earsight.audio.decode import Sound
from earsight.errors import DecodeError, SettingsError

_FULL_SCALE = {"int16": 1 << 15, "int32": 1 << 31}


def sound_from_array(samples: npt.ArrayLike, rate_hz: float) -> Sound:
    """samples: [samples] or [channels, samples], floats with full scale at ±1, int16 or int32, in an array, a torch
    tensor or a list. rate_hz: a whole number. Raises SettingsError for anything else, DecodeError where there is no
    sample, or a NaN or infinite one."""
    if isinstance(samples, str | bytes | bytearray | memoryview | os.PathLike):
        raise SettingsError("rate_hz is only for samples, since a recording has its own; leave it out")
    rate = _rate(rate_hz)
    of_torch: Any = samples
    try:
        found = np.asarray(of_torch.detach().cpu() if hasattr(samples, "detach") else samples)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SettingsError(f"{type(samples).__name__} is not an array of samples ({error}); pass floats") from error
    if found.dtype.kind != "f" and found.dtype.name not in _FULL_SCALE:
        raise SettingsError(f"samples of type {found.dtype}; pass floats from -1 to 1, int16 or int32")
    if found.ndim not in {1, 2} or (found.ndim == 2 and 0 < found.shape[1] < found.shape[0]):
        way = "transpose them" if found.ndim == 2 else "pass one recording"
        raise SettingsError(
            f"samples of shape {found.shape}, where [samples] or [channels, samples] is expected; {way}"
        )
    if not found.size:
        raise DecodeError("no samples in: the given samples")
    with np.errstate(over="ignore"):  # overflow to infinity is refused below
        floats = np.atleast_2d(found).astype(np.float32)
    if found.dtype.name in _FULL_SCALE:
        floats *= np.float32(1 / _FULL_SCALE[found.dtype.name])
    if not np.isfinite(floats).all():
        raise DecodeError("NaN or infinite samples in: the given samples")
    floats += np.float32(0.0)  # −0.0 becomes 0.0, as in ``decode``
    return Sound(np.ascontiguousarray(floats), rate)


def _rate(rate_hz: float) -> int:
    try:
        rate = int(rate_hz)
    except (TypeError, ValueError, OverflowError):
        rate = 0
    if isinstance(rate_hz, bool) or rate < 1 or rate != rate_hz:
        raise SettingsError(f"rate_hz must be a whole number of samples a second, got {str(rate_hz)[:50]}")
    return rate
