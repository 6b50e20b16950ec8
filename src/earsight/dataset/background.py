"""Spans of recordings in which nothing is annotated: clips without a label, as long as those that have one."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import xxhash

from earsight.dataset.clip import NO_TAGS, Clip

Gap = tuple[float, float]

_MARGIN_S = 0.1
"""From a label to what is taken for background: hand-made edges are rough."""
_SHORTEST_S = 0.2
"""Of a gap that is used."""


def background(
    clips: Sequence[Clip], length_s: Callable[[Path], float | None], empty: Sequence[Path] = ()
) -> list[Clip]:
    """As many clips without a label as each recording has spans, where there is room, between these and as long as
    they, so that their length tells nothing; in one place the next time too. Each has group and fold of a span, and
    the tags that all spans of its recording share.

    length_s: how long a recording is, in seconds; None where nobody knows, and then what lies behind its last span is
    left out. empty: recordings without a span, each a group of its own; they get as many clips as another has spans
    on average.
    """
    spans: defaultdict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        spans[clip.path].append(clip)
    found = [_between(path, own, own, length_s(path)) for path, own in sorted(spans.items())]
    by_length = sorted(filter(_length_s, clips), key=_length_s)
    each = round(len(clips) / len(spans)) if by_length else 0
    like = [by_length[(2 * n + 1) * len(by_length) // (2 * each)] for n in range(each)]  # from short to long
    for path in empty:
        alone = [clip._replace(group=str(path), fold="") for clip in like]
        found.append(_between(path, alone, [], length_s(path)))
    return list(chain.from_iterable(found))


def _length_s(clip: Clip) -> float:
    """0 of one that goes on to the end of its recording, beside which nothing is put."""
    return 0.0 if clip.end_s is None else clip.end_s - (clip.start_s or 0.0)


def _between(path: Path, like: Sequence[Clip], spans: Sequence[Clip], length_s: float | None) -> list[Clip]:
    """Clips of the lengths, groups and folds of ``like``, between ``spans``."""
    gaps = gaps_between([(clip.start_s or 0.0, clip.end_s) for clip in spans], length_s)
    rng = np.random.default_rng(xxhash.xxh3_64_intdigest(path.name.encode(errors="surrogateescape")))
    first = spans[0].tags if spans else NO_TAGS
    tags = {name: told for name, told in first.items() if all(clip.tags.get(name) == told for clip in spans)}
    found = []
    # the longest first, while there is room for them
    for clip in sorted(filter(_length_s, like), key=_length_s, reverse=True):
        if not gaps:
            break
        wanted_s = _length_s(clip)
        rooms = np.array([end_s - start_s - wanted_s for start_s, end_s in gaps])
        if (rooms >= 0).any():
            place = int(rng.choice(len(gaps), p=_shares(rooms)))
            start_s = gaps[place][0] + float(rng.uniform(0, rooms[place]))
        else:
            place = int(rooms.argmax())
            start_s, wanted_s = gaps[place][0], gaps[place][1] - gaps[place][0]
        before, after = (gaps[place][0], start_s), (start_s + wanted_s, gaps[place][1])
        gaps[place : place + 1] = [gap for gap in (before, after) if gap[1] - gap[0] >= _SHORTEST_S]
        span = round(start_s, 3), round(start_s + wanted_s, 3)
        found.append(Clip(path, "", clip.group, clip.fold, *span, tags=tags))
    return sorted(found, key=lambda clip: clip.start_s or 0.0)


def _shares(rooms: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """By how much room there is to move."""
    weights = np.where(rooms >= 0, rooms + 1e-6, 0.0)
    return weights / weights.sum()


def gaps_between(spans: Sequence[tuple[float, float | None]], length_s: float | None) -> list[Gap]:
    """Where no span is, from the start to ``length_s``, or to the last span where that is None. spans: (start, end) in
    seconds; end None: to the end of the recording."""
    gaps: list[Gap] = []
    reached_s = 0.0
    for start_s, end_s in sorted(spans, key=lambda span: span[0]):
        gaps.append((reached_s, start_s - _MARGIN_S))
        if end_s is None:
            reached_s = np.inf
            break
        reached_s = max(reached_s, end_s + _MARGIN_S)
    gaps.append((reached_s, reached_s if length_s is None else length_s))
    return [(start_s, end_s) for start_s, end_s in gaps if end_s - start_s >= _SHORTEST_S]
