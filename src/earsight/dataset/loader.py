"""Batches of waveforms from the store: a random crop of each clip in training, the middle otherwise."""

from collections.abc import Iterator, Sequence

import numpy as np

from earsight.audio.decode import Samples
from earsight.dataset.store import Store


def training_batches(
    store: Store, indices: Sequence[int], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Samples]]:
    """Every clip once, in random order; yields (indices [batch], float32 [batch, channels, crop_samples]).

    Batch sizes differ by at most one, so that no batch is a remnant of one clip (batch norm can't train on one).
    """
    order = rng.permutation(np.asarray(indices))
    starts = rng.integers(0, np.maximum(0, store.lengths[order] - store.settings.crop_samples) + 1)
    for part in np.array_split(np.arange(len(order)), max(1, -(-len(order) // batch_size))):
        yield order[part], store.crops(order[part], starts[part])


def fixed_batches(store: Store, indices: Sequence[int], batch_size: int) -> Iterator[tuple[np.ndarray, Samples]]:
    """Every clip once, in the order given, as it is scored; yields as ``training_batches`` does."""
    chosen = np.asarray(indices)
    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        middle = np.maximum(0, store.lengths[part] - store.settings.crop_samples) // 2
        yield part, store.crops(part, middle)
