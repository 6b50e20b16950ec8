"""Batches of waveforms from the store: a random crop of each clip in training, the middle otherwise."""

from collections.abc import Iterator, Sequence

import numpy as np

from earsight.audio.decode import Samples
from earsight.audio.load import fixed_crop
from earsight.audio.segment import crop
from earsight.dataset.store import Store


def training_batches(
    store: Store, indices: Sequence[int], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Samples]]:
    """Every clip once, in random order; yields (indices [batch], float32 [batch, channels, crop_samples]).

    Batch sizes differ by at most one, so that no batch is a remnant of one clip (batch norm can't train on one).
    """
    order = rng.permutation(np.asarray(indices))
    size = store.settings.crop_samples
    room = np.array([max(0, store.waveforms[i].shape[1] - size) for i in order])
    starts = rng.integers(0, room + 1)
    for part in np.array_split(np.arange(len(order)), max(1, -(-len(order) // batch_size))):
        crops = [crop(store.waveforms[order[k]], int(starts[k]), size) for k in part]
        yield order[part], np.stack(crops)


def fixed_batches(store: Store, indices: Sequence[int], batch_size: int) -> Iterator[tuple[np.ndarray, Samples]]:
    """Every clip once, in the order given, as it is scored; yields as ``training_batches`` does."""
    chosen = np.asarray(indices)
    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        yield part, np.stack([fixed_crop(store.waveforms[i], store.settings) for i in part])
