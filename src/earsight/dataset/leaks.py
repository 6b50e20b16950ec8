"""The leak check, run before every training and evaluation: is anything of the test part in training too?"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from earsight.dataset.clip import PARTS, Clip, Failure
from earsight.dataset.split import GROUP_DEPENDENT, Split, merge_caveats
from earsight.errors import DataError, SettingsError

_SHOWN = 5
Policy = Literal["refuse", "drop", "allow"]


@dataclass(frozen=True)
class Leak:
    """Clips in two parts of a split that are the same sound or share an origin.

    earlier, later: their indices in the earlier and the later part (train, valid, test). sides: names of the two parts.
    why: in words.
    """

    earlier: tuple[int, ...]
    later: tuple[int, ...]
    sides: tuple[str, str]
    why: str


def find_leaks(clips: Sequence[Clip], split: Split, group_name: str = "group") -> list[Leak]:
    """Leaks by names, groups and spans: two parts share a group, pieces of a recording, or overlapping spans of it.

    Shared groups are no leaks in a kind of split that shares them by design (``GROUP_DEPENDENT``), and a split that
    scores its own training clips has no sides.
    """
    if split.training_score:
        return []
    side_of = _sides(split)
    asked_for = split.kind.partition(":")[0] in GROUP_DEPENDENT
    leaks: list[Leak] = []
    for members in _shared({i: str(clips[i].path) for i in side_of}):
        overlaps = _overlaps(clips, members, side_of)
        pieces = [] if asked_for and group_name == "recording" else _pairs(members, side_of, "pieces of a recording")
        leaks += overlaps or pieces
    if not asked_for:
        for members in _shared({i: clips[i].group for i in side_of if clips[i].group}):
            if len({clips[i].path for i in members}) > 1:  # clips of one recording are reported as its pieces
                leaks += _pairs(members, side_of, f"the same {group_name}, {clips[members[0]].group}")
    return leaks


def find_copies(split: Split, digests: Mapping[int, str]) -> list[Leak]:
    """Leaks by identical samples. digests: index of a clip → digest of its samples; silent clips have none."""
    if split.training_score:
        return []
    side_of = _sides(split)
    known = {i: digest for i, digest in digests.items() if i in side_of}
    return [leak for members in _shared(known) for leak in _pairs(members, side_of, "identical audio")]


def resolve_leaks(
    clips: Sequence[Clip],
    split: Split,
    find: Callable[[Split], list[Leak]],
    policy: Policy,
    dropped: Literal["earlier", "later"] = "earlier",
) -> tuple[Split, list[Failure]]:
    """Find leaks and apply ``policy`` to them; returns the split and the clips that were dropped.

    refuse: raise DataError that names the pairs. drop: the clips of the earlier (or later) part become failures, until
    no leak is left. allow: sentence and caveat of the split mention them. Raises SettingsError for another policy.
    """
    if policy not in get_args(Policy):
        raise SettingsError(f"unknown leaks {policy!r}; use {', '.join(get_args(Policy))}")
    leaks = find(split)
    if leaks and policy == "refuse":
        raise DataError(_refusal(clips, leaks))
    if leaks and policy == "allow":
        # Called twice: for names, and for copies once the clips are decoded.
        caveat = merge_caveats((split.caveat, "with leaks"))
        sentence = f"{split.sentence} With leaks: {len(leaks)} found and allowed, such as {_pair(clips, leaks[0])}."
        return replace(split, sentence=sentence, caveat=caveat, speaker_independent=False), []
    failures: list[Failure] = []
    while leaks:
        gone: set[int] = set()
        for leak in leaks:
            kept, side = (leak.later, 0) if dropped == "earlier" else (leak.earlier, 1)
            reason = f"left out of {leak.sides[side]}: {leak.why}, as {clips[kept[0]].name} in {leak.sides[1 - side]}"
            for i in set(leak.earlier if dropped == "earlier" else leak.later) - gone:
                gone.add(i)
                failures.append(Failure(clips[i].path, reason))
        train, valid, test = (tuple(i for i in getattr(split, part) if i not in gone) for part in PARTS)
        split = replace(split, train=train, valid=valid, test=test)
        leaks = find(split)
    return split, failures


def _sides(split: Split) -> dict[int, int]:
    return {i: side for side, part in enumerate((split.train, split.valid, split.test)) for i in part}


def _shared(values: Mapping[int, str]) -> list[list[int]]:
    """Groups of two or more indices with the same value."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index, value in values.items():
        found[value].append(index)
    return [members for members in found.values() if len(members) > 1]


def _pairs(members: list[int], side_of: Mapping[int, int], why: str) -> list[Leak]:
    """One leak for each later part: its members, with those of the earliest part."""
    on: defaultdict[int, list[int]] = defaultdict(list)
    for i in sorted(members):
        on[side_of[i]].append(i)
    first, *later = sorted(on)
    return [Leak(tuple(on[first]), tuple(on[side]), (PARTS[first], PARTS[side]), why) for side in later]


def _overlaps(clips: Sequence[Clip], members: list[int], side_of: Mapping[int, int]) -> list[Leak]:
    """Spans of one file that overlap across parts: each with the earlier span that ends last."""
    leaks: list[Leak] = []
    furthest: dict[int, tuple[float, int]] = {}  # side → (end in seconds, index)
    for i in sorted(members, key=lambda i: (clips[i].start_s or 0.0, i)):
        start_s, end_s = clips[i].start_s or 0.0, clips[i].end_s
        for side, (reached_s, other) in furthest.items():
            if side != side_of[i] and start_s < reached_s:
                spans = clips[other].is_span or clips[i].is_span
                leaks += _pairs([other, i], side_of, "overlapping spans of a recording" if spans else "the same file")
                break
        furthest[side_of[i]] = max(furthest.get(side_of[i], (-1.0, i)), (math.inf if end_s is None else end_s, i))
    return leaks


def _pair(clips: Sequence[Clip], leak: Leak) -> str:
    first, second = clips[leak.earlier[0]].name, clips[leak.later[0]].name
    if first == second:
        return f"{first} ({' and '.join(leak.sides)}), {leak.why}"
    return f"{first} ({leak.sides[0]}) and {second} ({leak.sides[1]}), {leak.why}"


def _refusal(clips: Sequence[Clip], leaks: Sequence[Leak]) -> str:
    shown = "; ".join(_pair(clips, leak) for leak in leaks[:_SHOWN])
    more = f"; and {len(leaks) - _SHOWN} more" if len(leaks) > _SHOWN else ""
    return (
        f"{len(leaks)} leak{'s' if len(leaks) > 1 else ''} between training and scoring: "
        f"{shown}{more}. Fix the data or its groups, or pass --leaks drop (leaves out clips until no leak is left) or "
        "--leaks allow (continues, and says so beside every score)"
    )
