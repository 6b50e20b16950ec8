"""Trim silence, crop and pad: float32 [channels, samples] in and out."""

import numpy as np

from earsight.audio.decode import Samples

_FRAME_SAMPLES = 2048
HOP_SAMPLES = 512


def sounding_span(samples: Samples, top_db: float) -> tuple[int, int]:
    """First sample, and one past the last, of the frames within ``top_db`` of the loudest one.

    Frames of 2048 samples, hop 512, centred with zero padding; level is the mean square, the loudest over
    channels: the rule of librosa.effects.trim. Silence (all zeros) gives the whole clip.
    """
    channels, length = samples.shape
    hops = length // HOP_SAMPLES + 1
    squares = np.zeros((channels, (hops + 3) * HOP_SAMPLES), dtype=np.float32)  # two hops of silence before, one after
    with np.errstate(over="ignore"):
        np.square(samples, out=squares[:, 2 * HOP_SAMPLES : 2 * HOP_SAMPLES + length])
    energy = squares.reshape(channels, hops + 3, HOP_SAMPLES).sum(axis=2, dtype=np.float64)
    frames = energy[:, :-3] + energy[:, 1:-2] + energy[:, 2:-1] + energy[:, 3:]  # four hops are a frame
    power = frames.max(axis=0) / _FRAME_SAMPLES
    loudest = power.max()
    if not 0 < loudest < np.inf:  # silence; or a float file with samples beyond 1e19
        return 0, length
    loud = np.flatnonzero(power > loudest * 10 ** (-top_db / 10))
    return int(loud[0]) * HOP_SAMPLES, min(length, int(loud[-1] + 1) * HOP_SAMPLES)


def trim_silence(samples: Samples, top_db: float, shortest_samples: int, *, around: bool = False) -> Samples:
    """Cut leading and trailing silence. Where less than ``shortest_samples`` would be left: the untrimmed clip or, with
    ``around``, ``shortest_samples`` of it with the sound in the middle."""
    start, end = sounding_span(samples, top_db)
    if end - start >= shortest_samples:
        return samples[:, start:end]
    if not around:
        return samples
    start = max(0, min((start + end - shortest_samples) // 2, samples.shape[1] - shortest_samples))
    return samples[:, start : start + shortest_samples]


def crop_starts(length: int, crop_samples: int, count: int = 1) -> list[int]:
    """First samples of the crops that are scored: one crop in the middle, or ``count`` spread evenly from end to end;
    all 0 for a clip no longer than the crop."""
    rest = max(0, length - crop_samples)
    return [rest // 2] if count == 1 else [rest * n // (count - 1) for n in range(count)]


def crop(samples: Samples, start: int, crop_samples: int) -> Samples:
    """``crop_samples`` samples from ``start``; a short clip is padded with zeros, half on each side."""
    piece = samples[:, start : start + crop_samples]
    missing = crop_samples - piece.shape[1]
    if missing <= 0:
        return piece
    return np.pad(piece, ((0, 0), (missing // 2, missing - missing // 2)))
