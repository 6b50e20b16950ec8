"""Clips → train, valid, test. Pure functions of the clips and a seed; the same on every machine and in any order."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from earsight.dataset.clip import Clip
from earsight.errors import SplitError

# Test and validation actors of Luna-Jiménez et al. 2021 (Sensors 21(22), 7665) and 2022 (Appl. Sci. 12(1), 327).
LUNA5 = (
    ({2, 5, 14, 15, 16}, {3, 6}),
    ({3, 6, 7, 13, 18}, {10, 11}),
    ({10, 11, 12, 19, 20}, {8, 17}),
    ({8, 17, 21, 23, 24}, {1, 14}),
    ({1, 4, 9, 22}, {2, 5}),
)
KINDS = "auto, group, random, none, luna5:0 … luna5:4"


@dataclass(frozen=True)
class Split:
    """Indices into the clips, ascending. ``none`` has the same clips in all three parts.

    sentence: how it was split, in words for a reader of the report. training_score: the test clips were trained on.
    speaker_independent: no group is on both sides.
    """

    train: tuple[int, ...]
    valid: tuple[int, ...]
    test: tuple[int, ...]
    sentence: str
    training_score: bool = False
    speaker_independent: bool = False


def check_kind(kind: str) -> None:
    """Raise SplitError where ``kind`` is not one that ``split`` knows; needs no clips."""
    name, _, fold = kind.partition(":")
    if name == "luna5" and fold in {"0", "1", "2", "3", "4"}:
        return
    if kind not in {"auto", "group", "random", "none"}:
        raise SplitError(f"unknown split {kind!r}; use one of: {KINDS}")


def split(clips: Sequence[Clip], kind: str, *, seed: int = 0, group_name: str = "group") -> Split:
    """Divide the clips.

    kind: ``auto`` (by group where the clips have two or more groups, else random) · ``group`` (20 % of the groups
    to test, 20 % to validation, at least one each) · ``random`` (stratified by label, 20 % and 20 %) · ``none`` (the
    tutorial's way: train and score on everything) · ``luna5:K`` (fold K of Luna-Jiménez et al. on RAVDESS).
    Raises SplitError.
    """
    check_kind(kind)
    groups = {clip.group for clip in clips if clip.group}
    if kind == "auto":
        kind = "group" if len(groups) > 1 else "random"
    if kind == "none":
        every = tuple(range(len(clips)))
        return Split(every, every, every, "Scored on the very clips that it was trained on.", training_score=True)
    if kind == "random":
        return _random(clips, seed, f"{group_name}s" if groups else "")
    if kind == "group":
        test, valid = _draw_groups(clips, seed)
    else:
        test, valid = ({f"{actor:02}" for actor in part} for part in LUNA5[int(kind.partition(":")[2])])
        if missing := (test | valid) - groups:
            raise SplitError(f"{kind} is made of RAVDESS's actors; not in this data: {', '.join(sorted(missing))}")
    return _by_groups(clips, test, valid, kind, group_name)


def _by_groups(clips: Sequence[Clip], test: set[str], valid: set[str], kind: str, name: str) -> Split:
    parts: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for index, clip in enumerate(clips):
        parts["test" if clip.group in test else "valid" if clip.group in valid else "train"].append(index)
    trained = {clips[i].label for i in parts["train"]}
    if missing := {clip.label for clip in clips} - trained:
        raise SplitError(f"{kind} leaves no training clip of: {', '.join(sorted(missing))}; pass --split random")
    heard = len({clips[i].group for i in parts["train"]})
    sentence = (
        f"Scored on {len(test)} {name}s ({', '.join(sorted(test))}) whom the network never heard; trained on {heard}, "
        f"the epoch chosen on {len(valid)} others ({', '.join(sorted(valid))}). Split: {kind}."
    )
    return Split(tuple(parts["train"]), tuple(parts["valid"]), tuple(parts["test"]), sentence, False, True)


def _order(seed: int, key: str) -> str:
    """A random order that depends on the name alone: not on the order of the list, the machine or numpy's version."""
    return hashlib.sha256(f"{seed}|{key}".encode()).hexdigest()


def _draw_groups(clips: Sequence[Clip], seed: int) -> tuple[set[str], set[str]]:
    without = sum(not clip.group for clip in clips)
    groups = sorted({clip.group for clip in clips if clip.group}, key=lambda group: _order(seed, group))
    if without:
        raise SplitError(f"{without} of {len(clips)} clips have no group; pass --split random")
    if len(groups) < 3:
        raise SplitError(
            f"too few groups to train, validate and test on different ones: {len(groups)} in {len(clips)} clips; "
            "pass --split random"
        )
    part = max(1, round(len(groups) * 0.2))
    return set(groups[:part]), set(groups[part : 2 * part])


def _random(clips: Sequence[Clip], seed: int, grouped: str) -> Split:
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    counts = Counter(clip.label for clip in clips)
    if few := sorted(label for label, number in counts.items() if number < 3):
        raise SplitError(
            f"too few clips to train, validate and test: class {few[0]!r} has {counts[few[0]]}, 3 are needed"
        )
    # The label's own folder and the file name: a data set that was moved keeps its split.
    keys = [f"{clip.path.parent.name}/{clip.path.name}" for clip in clips]
    for label in sorted(counts):
        members = sorted(
            (i for i, clip in enumerate(clips) if clip.label == label), key=lambda i: _order(seed, keys[i])
        )
        part = max(1, round(len(members) * 0.2))
        test += members[:part]
        valid += members[part : 2 * part]
        train += members[2 * part :]
    sentence = "Scored on clips held out at random."
    if grouped:
        sentence += f" Speaker-dependent: the same {grouped} are in training and test."
    return Split(tuple(sorted(train)), tuple(sorted(valid)), tuple(sorted(test)), sentence)
