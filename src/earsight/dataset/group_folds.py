"""Groups → folds with about the same share of each class."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from earsight.dataset.clip import Clip


def shuffle_key(seed: int, key: str) -> str:
    """Sort key for a random order that depends on seed and name alone, not on list order, machine or numpy version."""
    return hashlib.sha256(f"{seed}|{key}".encode(errors="surrogateescape")).hexdigest()


def group_folds(clips: Sequence[Clip], clips_of: dict[str, list[int]], count: int, seed: int) -> list[set[str]]:
    """``count`` sets of groups with about the same share of each class. clips_of: group → indices of its clips.

    Greedy: the most uneven group first, each into the fold where it adds least to the sum over classes of the squared
    share. Integers throughout, so that rounding never decides.
    """
    number = {label: n for n, label in enumerate(sorted({label for clip in clips for label in clip.labels or ("",)}))}
    counts = {group: np.zeros(len(number), dtype=np.int64) for group in clips_of}
    for group, members in clips_of.items():
        for i in members:
            for label in clips[i].labels or ("",):  # "" counts clips without a label
                counts[group][number[label]] += 1
    totals = np.maximum(1, sum(counts.values(), np.zeros(len(number), dtype=np.int64)))
    weights = 10**15 // totals**2
    of_fold = np.zeros((count, len(number)), dtype=np.int64)
    folds: list[set[str]] = [set() for _ in range(count)]
    for group in sorted(counts, key=lambda g: (-int((counts[g] ** 2 * weights).sum()), shuffle_key(seed, g))):
        cost = of_fold @ (counts[group] * weights)
        best = min(range(count), key=lambda fold: (int(cost[fold]), int(of_fold[fold].sum()), fold))
        folds[best].add(group)
        of_fold[best] += counts[group]
    return folds


def fairest_first(folds: Sequence[set[str]], clips_of: Mapping[str, Sequence[int]]) -> list[set[str]]:
    """The folds, reordered by distance from an even share of the clips where the first is a single group with more than
    1.5 times that share: the greedy order puts the largest group first, and it would always be held out."""
    sizes = [sum(len(clips_of[group]) for group in fold) for fold in folds]
    share = sum(sizes) / len(folds)
    if len(folds[0]) > 1 or sizes[0] <= 1.5 * share:
        return list(folds)
    return [folds[n] for n in sorted(range(len(folds)), key=lambda n: (abs(sizes[n] - share), n))]
