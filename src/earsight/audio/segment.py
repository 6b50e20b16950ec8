"""Trim silence, crop and pad: float32 [channels, samples] in and out."""

import numpy as np

from earsight.audio.decode import Samples

_FRAME_SAMPLES = 2048
_HOP_SAMPLES = 512


def sounding_span(samples: Samples, top_db: float) -> tuple[int, int]:
    """First and end sample of what is louder than ``top_db`` below the loudest frame.

    Frames of 2048 samples, hop 512, centred with zero padding; level is the mean square, the loudest over
    channels: the rule of librosa.effects.trim. Silence (all zeros) gives the whole clip.
    """
    length = samples.shape[1]
    pad = _FRAME_SAMPLES // 2
    energy = np.pad(np.square(samples, dtype=np.float64), ((0, 0), (pad, pad)))
    cumulative = np.concatenate([np.zeros((energy.shape[0], 1)), np.cumsum(energy, axis=1)], axis=1)
    starts = np.arange(0, energy.shape[1] - _FRAME_SAMPLES + 1, _HOP_SAMPLES)
    power = (cumulative[:, starts + _FRAME_SAMPLES] - cumulative[:, starts]).max(axis=0) / _FRAME_SAMPLES
    loudest = power.max()
    if not loudest > 0:
        return 0, length
    loud = np.flatnonzero(power > loudest * 10 ** (-top_db / 10))
    return int(loud[0]) * _HOP_SAMPLES, min(length, int(loud[-1] + 1) * _HOP_SAMPLES)


def trim_silence(samples: Samples, top_db: float, shortest_samples: int) -> Samples:
    """Cut leading and trailing silence; the untrimmed clip where less than ``shortest_samples`` would be left."""
    start, end = sounding_span(samples, top_db)
    return samples[:, start:end] if end - start >= shortest_samples else samples


def crop_start(length: int, crop_samples: int) -> int:
    """Where the fixed crop begins: in the middle; 0 for a clip no longer than the crop."""
    return max(0, (length - crop_samples) // 2)


def crop(samples: Samples, start: int, crop_samples: int) -> Samples:
    """``crop_samples`` from ``start``; what the clip lacks is filled with zeros, half on each side."""
    piece = samples[:, start : start + crop_samples]
    missing = crop_samples - piece.shape[1]
    if missing <= 0:
        return piece
    return np.pad(piece, ((0, 0), (missing // 2, missing - missing // 2)))
