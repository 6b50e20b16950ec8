"""Batches of waveforms from the store: a random crop of each clip in training, the middle otherwise."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from earsight.audio.decode import Samples
from earsight.dataset.clip import Clip
from earsight.dataset.store import Store

T = TypeVar("T")
Ints = npt.NDArray[np.int64]


def label_rows(clips: Sequence[Clip], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """bool [clips, labels]: which labels each clip has. Labels that are not among these are passed over."""
    place = {label: n for n, label in enumerate(labels)}
    rows = np.zeros((len(clips), len(labels)), dtype=np.bool_)
    for row, clip in zip(rows, clips, strict=True):
        row[[place[label] for label in clip.labels if label in place]] = True
    return rows


def training_order(
    store: Store, indices: Sequence[int], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Ints, Ints]]:
    """Every clip once, in random order; yields (indices [batch], first samples of their crops [batch]).

    Batch sizes differ by at most one, so that no batch is a remnant of one clip (batch norm can't train on one).
    """
    order = rng.permutation(np.asarray(indices))
    starts = rng.integers(0, np.maximum(0, store.lengths[order] - store.settings.crop_samples) + 1)
    for part in np.array_split(np.arange(len(order)), max(1, -(-len(order) // batch_size))):
        yield order[part], starts[part]


def training_batches(
    store: Store, indices: Sequence[int], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Ints, Samples]]:
    """As ``training_order``, with the crops: (indices [batch], float32 [batch, channels, crop_samples])."""
    for chosen, starts in training_order(store, indices, batch_size, rng):
        yield chosen, store.crops(chosen, starts)


def fixed_batches(store: Store, indices: Sequence[int], batch_size: int) -> Iterator[tuple[Ints, Samples]]:
    """Every clip once, in the order given, as it is scored; yields as ``training_batches`` does."""
    chosen = np.asarray(indices)
    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        middle = np.maximum(0, store.lengths[part] - store.settings.crop_samples) // 2
        yield part, store.crops(part, middle)


def ahead(items: Iterator[T], count: int = 2) -> Iterator[T]:
    """The same items in the same order, ``count`` of them made by another thread while the caller is busy."""
    end = object()
    with ThreadPoolExecutor(1) as pool:  # one thread: the items are made one after the other
        waiting = deque(pool.submit(next, items, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
