"""Statistics of a recording: length, level, silence, clipping, and a digest of its samples."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from earsight.audio.decode import BLOCK_SAMPLES, SILENT_PEAK, Samples
from earsight.audio.stream import read_blocks

_FULL_SCALE = 0.999
_CLIPPED_RUN_SAMPLES = 3


class SampleDigest:
    """A digest of decoded samples, block by block: the same for the same sound in any container.

    Channels that are copies of each other count as one, since a mono recording is often stored as two. The sample
    rate is left out: a file with a wrong rate in its header is still a copy.
    """

    def __init__(self) -> None:
        self._all = xxhash.xxh3_128()
        self._first = xxhash.xxh3_128()
        self._copies = True

    def add(self, block: Samples) -> None:
        """block: the next samples, float32 [channels, samples], without negative zeros, as ``decode`` returns them."""
        first = np.ascontiguousarray(block[0])
        self._first.update(first.data)
        if len(block) > 1:
            self._copies = self._copies and bool((block[1:] == first).all())
            self._all.update(np.ascontiguousarray(block.T).data)

    def hexdigest(self) -> str:
        return (self._first if self._copies else self._all).hexdigest()


def sample_digest(samples: Samples) -> str:
    """32 hexadecimal digits for float32 [channels, samples]; see ``SampleDigest``."""
    digest = SampleDigest()
    for start in range(0, samples.shape[1], BLOCK_SAMPLES):
        digest.add(samples[:, start : start + BLOCK_SAMPLES])
    return digest.hexdigest()


@dataclass(frozen=True)
class SoundStats:
    """peak: largest |sample|; full scale is 1. rms_dbfs: root mean square over all channels, in dB relative to full
    scale; −inf for silence. clipped: three or more samples in a row are at full scale. digest: see ``SampleDigest``.
    offset: the largest share, of all channels, of a channel's energy that is its mean. silent_channels: how many."""

    duration_s: float
    rate_hz: int
    channels: int
    peak: float
    rms_dbfs: float
    clipped: bool
    digest: str
    offset: float = 0.0
    silent_channels: int = 0

    @property
    def silent(self) -> bool:
        return self.peak < SILENT_PEAK


def measure_sound(path: Path, start_s: float = 0.0, end_s: float | None = None) -> SoundStats:
    """Read a recording, or a span of it, once, in blocks. Raises DecodeError as ``decode`` does."""
    digest, count, clipped = SampleDigest(), 0, False
    peaks = sums = squares = np.zeros(1)  # [channels]
    rate_hz, edge = 1, np.zeros((1, 0), dtype=np.float32)
    for sound in read_blocks(path, start_s, end_s):
        block, rate_hz = sound.samples, sound.rate_hz
        digest.add(block)
        level = np.abs(block)
        peaks = np.maximum(peaks, level.max(axis=1, initial=0.0))
        sums = sums + block.sum(axis=1, dtype=np.float64)
        squares = squares + np.square(block, dtype=np.float64).sum(axis=1)
        edge = np.concatenate([edge, level], axis=1) if count else level
        clipped = clipped or _is_clipped(edge)
        edge = edge[:, -_CLIPPED_RUN_SAMPLES + 1 :]
        count += block.shape[1]
    channels, mean_square = len(edge), float(squares.sum()) / (count * len(edge))
    rms_dbfs = 10 * math.log10(mean_square) if mean_square > 0 else -math.inf
    heard = peaks >= SILENT_PEAK
    offset = float((sums[heard] ** 2 / (count * squares[heard])).max(initial=0.0))
    return SoundStats(
        duration_s=count / rate_hz,
        rate_hz=rate_hz,
        channels=channels,
        peak=float(peaks.max()),
        rms_dbfs=rms_dbfs,
        clipped=clipped,
        digest=digest.hexdigest(),
        offset=offset,
        silent_channels=int((~heard).sum()),
    )


def _is_clipped(level: Samples) -> bool:
    if not (level >= _FULL_SCALE).any():
        return False
    full = level >= _FULL_SCALE
    run = full[:, : -_CLIPPED_RUN_SAMPLES + 1].copy()
    for shift in range(1, _CLIPPED_RUN_SAMPLES):
        run &= full[:, shift : full.shape[1] - _CLIPPED_RUN_SAMPLES + 1 + shift]
    return bool(run.any())
