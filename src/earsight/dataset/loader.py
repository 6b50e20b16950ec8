"""Batches of waveforms from the store: a random crop of each clip in training, fixed ones otherwise."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from earsight.audio.decode import Samples
from earsight.audio.segment import crop_starts
from earsight.dataset.clip import Clip
from earsight.dataset.store import Store

T = TypeVar("T")
Ints = npt.NDArray[np.int64]


def label_matrix(clips: Sequence[Clip], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """bool [clips, labels]: which labels each clip has. Labels of clips that are not in ``labels`` are ignored."""
    place = {label: n for n, label in enumerate(labels)}
    rows = np.zeros((len(clips), len(labels)), dtype=np.bool_)
    for row, clip in zip(rows, clips, strict=True):
        row[[place[label] for label in clip.labels if label in place]] = True
    return rows


def training_order(
    store: Store, indices: Sequence[int], batch_size: int, rng: np.random.Generator, *, balanced: bool = False
) -> Iterator[Ints]:
    """Indices of the clips of each batch, int64 [batch]: every clip once in random order or, with ``balanced``, as many
    clips drawn with equal probability for every class.

    Batch sizes differ by at most one, so that the last batch is never a single clip (batch norm can't train on one).
    """
    chosen = np.asarray(indices)
    if balanced:
        labels = sorted({label for i in indices for label in store.clips[i].labels})
        rows = label_matrix([store.clips[i] for i in indices], labels)
        # weight of a clip: the mean over its labels; of a clip without labels the overall mean
        likely = np.where(rows.any(1), rows @ (1 / rows.sum(0)) / np.maximum(rows.sum(1), 1), len(labels) / len(rows))
        order = rng.choice(chosen, len(chosen), p=likely / likely.sum())
    else:
        order = rng.permutation(chosen)
    yield from np.array_split(order, max(1, -(-len(order) // batch_size)))


def random_starts(
    store: Store, indices: Ints, rng: np.random.Generator, sizes: Ints | int, shift_samples: int = 0
) -> Ints:
    """First samples of random crops, int64 [batch]: anywhere in the clip, then shifted by up to ``shift_samples``, also
    beyond its ends. sizes: samples of each crop."""
    starts = rng.integers(0, np.maximum(0, store.lengths[indices] - sizes) + 1)
    return starts + (rng.integers(-shift_samples, shift_samples + 1, len(indices)) if shift_samples else 0)


def training_batches(
    store: Store, indices: Sequence[int], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Ints, Samples]]:
    """As ``training_order``, with random crops: (indices [batch], float32 [batch, channels, crop_samples])."""
    for chosen in training_order(store, indices, batch_size, rng):
        yield chosen, store.crops(chosen, random_starts(store, chosen, rng, store.settings.crop_samples))


def fixed_batches(store: Store, indices: Sequence[int], batch_size: int) -> Iterator[tuple[Ints, Samples]]:
    """Batches for scoring, every clip once and in order: (indices [batch], float32 [batch × score_crops, channels,
    crop_samples], the crops of a clip next to each other)."""
    chosen, audio = np.asarray(indices), store.settings
    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        starts = [crop_starts(int(n), audio.crop_samples, audio.score_crops) for n in store.lengths[part]]
        yield part, store.crops(part.repeat(audio.score_crops), np.concatenate(starts))


def prefetch(items: Iterator[T], count: int = 2) -> Iterator[T]:
    """The same items in the same order, ``count`` of them made ahead by another thread."""
    end = object()
    with ThreadPoolExecutor(1) as pool:  # one thread, since an iterator is not thread-safe
        waiting = deque(pool.submit(next, items, end) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:  # closing it early waits for one item at most
            pool.shutdown(wait=False, cancel_futures=True)
