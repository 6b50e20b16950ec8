"""Background clips: unlabelled spans of recordings, as long as the labelled ones."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import xxhash

from earsight.dataset.clip import NO_TAGS, Clip

Gap = tuple[float, float]

_MARGIN_S = 0.1
"""Distance that background keeps from labels, whose hand-made edges are rough."""
_SHORTEST_S = 0.2
"""Shorter gaps are not used."""


def background(
    clips: Sequence[Clip], length_s: Callable[[Path], float | None], empty: Sequence[Path] = ()
) -> list[Clip]:
    """Unlabelled clips between the labelled spans of each recording: as many as it has spans, as far as there is room,
    and of the same lengths, so that length is no cue. Places are drawn, but the same in every call. Each clip has the
    group and fold of a span, and the tags that all spans of its recording share.

    clips: labelled spans. length_s: path → duration in seconds, or None where it is unknown: then nothing after the
    last span is used. empty: recordings without spans; each gets the average number of clips, and is a group of its
    own.
    """
    spans: defaultdict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        spans[clip.path].append(clip)
    found = [_between(path, own, own, length_s(path)) for path, own in sorted(spans.items())]
    by_length = sorted(filter(_length_s, clips), key=_length_s)
    each = round(len(clips) / len(spans)) if by_length else 0
    like = [by_length[(2 * n + 1) * len(by_length) // (2 * each)] for n in range(each)]  # lengths at even quantiles
    for path in empty:
        alone = [clip._replace(group=str(path), fold="") for clip in like]
        found.append(_between(path, alone, [], length_s(path)))
    return list(chain.from_iterable(found))


def _length_s(clip: Clip) -> float:
    """0 for an open span, which reaches to the end of its recording: no background is made for it."""
    return 0.0 if clip.end_s is None else clip.end_s - (clip.start_s or 0.0)


def _between(path: Path, like: Sequence[Clip], spans: Sequence[Clip], length_s: float | None) -> list[Clip]:
    """Background clips with the lengths, groups and folds of ``like``, outside ``spans``."""
    gaps = gaps_between([(clip.start_s or 0.0, clip.end_s) for clip in spans], length_s)
    rng = np.random.default_rng(xxhash.xxh3_64_intdigest(path.name.encode(errors="surrogateescape")))
    first = spans[0].tags if spans else NO_TAGS
    tags = {name: told for name, told in first.items() if all(clip.tags.get(name) == told for clip in spans)}
    found = []
    # the longest first, while there is room
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
    """Probabilities of the gaps, proportional to the room that a clip has in each; 0 where it does not fit."""
    weights = np.where(rooms >= 0, rooms + 1e-6, 0.0)
    return weights / weights.sum()


def gaps_between(spans: Sequence[tuple[float, float | None]], length_s: float | None) -> list[Gap]:
    """The gaps between spans, from 0 to ``length_s``, or to the end of the last span where that is None. spans: (start,
    end) in seconds; an end of None is that of the recording."""
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
