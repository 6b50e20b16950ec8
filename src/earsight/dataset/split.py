"""Clips → train, valid, test. Pure functions of the clips and a seed; the same on every machine and in any order."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from earsight.dataset.clip import PARTS, Clip, fold_order, normalise_part
from earsight.dataset.group_folds import fairest_first, group_folds, shuffle_key
from earsight.errors import SplitError

# Test and validation actors of Luna-Jiménez et al. 2021 (Sensors 21(22), 7665) and 2022 (Appl. Sci. 12(1), 327).
LUNA5 = (
    ({2, 5, 14, 15, 16}, {3, 6}),
    ({3, 6, 7, 13, 18}, {10, 11}),
    ({10, 11, 12, 19, 20}, {8, 17}),
    ({8, 17, 21, 23, 24}, {1, 14}),
    ({1, 4, 9, 22}, {2, 5}),
)
# Test actors of EmoBox (Ma et al. 2024, Interspeech), which has no validation set.
EMOBOX6 = (
    {1, 11, 20, 21},
    {4, 10, 12, 14},
    {8, 9, 19, 23},
    {3, 5, 7, 24},
    {2, 15, 16, 18},
    {6, 13, 17, 22},
)
# Sources with published folds → names of these; () where the parts are train, (valid,) test.
_PUBLISHED: dict[str, tuple[str, ...]] = {
    "esc50": tuple("12345"),
    "urbansound8k": tuple(str(fold) for fold in range(1, 11)),
    "speech_commands": (),
    "fsdd": (),
}
GROUP_DEPENDENT = frozenset({"random", "fsdd"})
"""Kinds of split that share groups between parts by design, so that this is no leak."""
KINDS = (
    "auto, group, group:K, group:K:I, loso:GROUP, random, random:SHARE, none, luna5:0 … luna5:4, "
    "emobox6:1 … emobox6:6, esc50:1 … esc50:5, urbansound8k:1 … urbansound8k:10, speech_commands, fsdd, fold, "
    "fold:NAME, column:NAME, column:NAME:VALUE"
)


@dataclass(frozen=True)
class Split:
    """Ascending indices of clips; the split ``none`` has the same clips in all three parts.

    kind: as typed, with ``auto`` resolved. sentence: how it was split, for a reader of the report. caveat: two or three
    words that belong beside every number; "" for none. training_score: the test clips were trained on.
    speaker_independent: every clip has a group, and no group of the test part is in another.
    """

    train: tuple[int, ...]
    valid: tuple[int, ...]
    test: tuple[int, ...]
    kind: str
    sentence: str
    caveat: str = ""
    training_score: bool = False
    speaker_independent: bool = False


def merge_caveats(caveats: Iterable[str]) -> str:
    """The caveats of several splits as one, each part once."""
    return ", ".join(dict.fromkeys(part for caveat in caveats for part in caveat.split(", ") if part))


def check_kind(kind: str) -> None:
    """Raise SplitError where ``kind`` is not one that ``split`` knows; needs no clips."""
    name, _, rest = kind.partition(":")
    if name in {"auto", "none"} or (name in _PUBLISHED and not _PUBLISHED[name]):
        good = kind == name
    elif name == "luna5":
        good = rest in tuple("01234")
    elif name == "emobox6":
        good = rest in tuple("123456")
    elif name in _PUBLISHED:
        good = rest in _PUBLISHED[name]
    elif name == "random":
        good = kind == name or (_is_number(rest) and 0 < float(rest) < 1)
    elif name == "group":
        count, _, fold = rest.partition(":")
        few = count.isdecimal() and len(count) < 10 and int(count) >= 2
        good = kind == name or (few and _is_fold(fold, int(count), ":" in rest))
    else:
        good = kind == "fold" or (name in {"loso", "fold", "column"} and bool(rest))
    if not good:
        shown = kind if len(kind) < 80 else f"{kind[:79]}…"
        raise SplitError(f"unknown split {shown!r}; use one of: {KINDS}")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _is_fold(text: str, count: int, given: bool) -> bool:
    return not given or (text.isdecimal() and len(text) < 10 and int(text) < count)


def split(clips: Sequence[Clip], kind: str, *, seed: int = 0, group_name: str = "group", official: str = "") -> Split:
    """Divide the clips into train, valid and test.

    kind is one of:

    - ``auto``: ``official`` where the source has one; else the parts that the data names; else ``group`` where groups
    are known; else ``random`` - ``group:K:I``: K folds (5, or the number of groups where that is smaller), stratified
    by label, with each group in one fold; fold I is the test part (without I, the first that leaves every class in
    training) - ``loso:GROUP``: one group is the test part - ``random:SHARE``: that share (0.2) of each class is the
    test part - ``none``: train and score on all clips, as the tutorial does - ``luna5:I``, ``emobox6:I``: published
    folds of RAVDESS - ``esc50:I``, ``urbansound8k:I``, ``speech_commands``, ``fsdd``: the official folds of these data
    sets - ``fold:NAME``, ``column:NAME:VALUE``: clips of that fold, or that value of a column, are the test part;
    without NAME or VALUE, the values must be train, valid and test, and without test clips a fifth of train becomes the
    test part

    Unless the protocol has a validation part, it is a fifth of the training clips, by group where there are groups.
    group_name: what a group is, for the sentence. Raises SplitError.
    """
    check_kind(kind)
    clips_of = _by_group(clips)
    note = ""
    if kind == "auto":
        kind = _resolve_auto(clips, clips_of, official)
    name, _, rest = kind.partition(":")
    if name == "none":
        every = tuple(range(len(clips)))
        sentence = "Scored on the very clips that it was trained on."
        return Split(every, every, every, kind, sentence, "training score", training_score=True)
    without = len(clips) - sum(map(len, clips_of.values()))
    if without and (name == "group" or (name == "loso" and rest in clips_of)):
        raise SplitError(f"{without} of {len(clips)} clips have no group; pass --split random, or --group-pattern")
    if name == "random":
        parts = _random(clips, float(rest or 0.2), seed)
    elif name == "group":
        parts = _group_folds(clips, clips_of, kind, seed)
    elif name == "loso":
        parts = _hold_out_groups(clips, clips_of, {rest}, None, kind, seed)
    elif name in {"luna5", "emobox6"}:
        test = LUNA5[int(rest)][0] if name == "luna5" else EMOBOX6[int(rest) - 1]
        valid = _actors(LUNA5[int(rest)][1]) if name == "luna5" else None
        parts = _hold_out_groups(clips, clips_of, _actors(test), valid, kind, seed)
    else:
        parts, note = _published(clips, kind, group_name, seed)
    return _build_split(clips, parts, kind, group_name, note)


Parts = tuple[list[int], list[int], list[int]]


def _resolve_auto(clips: Sequence[Clip], clips_of: dict[str, list[int]], official: str) -> str:
    if official:
        return official
    folds = {clip.fold for clip in clips}
    if len(folds) > 1 and folds & set(PARTS):
        return "fold"
    if "" not in folds and len(folds) > 1:
        return f"fold:{min(folds, key=fold_order)}"
    return "group" if clips_of else "random"


def _by_group(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """group → indices of its clips; clips without a group are left out."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        if clip.group:
            found[clip.group].append(index)
    return dict(found)


def _actors(numbers: set[int]) -> set[str]:
    return {f"{number:02}" for number in numbers}


def _build_split(clips: Sequence[Clip], parts: Parts, kind: str, group_name: str, note: str) -> Split:
    if missing := _labels(clips) - _labels(clips[i] for i in parts[0]):
        raise SplitError(
            f"{kind} leaves no training clip of: {', '.join(sorted(missing))}{_only_in(clips, missing, group_name)}; "
            f"leave its clips out, record it of more {group_name}s, or train with --split random"
        )
    train, valid, test = (tuple(sorted(part)) for part in parts)
    heard, chosen, scored = ({clips[i].group for i in part} - {""} for part in (train, valid, test))
    grouped = all(clip.group for clip in clips)
    shared = scored & (heard | chosen)
    if grouped and not shared:
        sentence = (
            f"Scored on {_listed(scored, group_name)} {'whom' if group_name == 'speaker' else 'which'} the network "
            f"never heard; trained on {len(heard)}, the epoch chosen on {_listed(chosen, 'other')}."
        )
    else:
        how = "at random" if kind.startswith("random") or note else "by the data's own parts"
        known = "" if grouped else "; whether the network heard their speakers or recordings is not known"
        sentence = f"Scored on clips held out {how}{known}."
    sentence += note
    caveat = ""
    if shared and kind.partition(":")[0] in GROUP_DEPENDENT:  # in other kinds it is a leak
        caveat = f"{group_name}-dependent"
        sentence += f" {caveat.capitalize()}: {len(shared)} of {len(scored)} {group_name}s in the test were heard in "
        sentence += "training."
    return Split(train, valid, test, kind, f"{sentence} Split: {kind}.", caveat, False, grouped and not shared)


def _only_in(clips: Sequence[Clip], labels: set[str], group_name: str) -> str:
    """The group that holds all clips of the first of these labels, in words; "" where there are several."""
    label = min(labels)
    groups = {clip.group for clip in clips if label in clip.labels}
    if len(groups) > 1 or "" in groups:
        return ""
    return f" (all clips of {label} are of {group_name} {groups.pop()})"


def _labels(clips: Iterable[Clip]) -> set[str]:
    return {label for clip in clips for label in clip.labels}


def _listed(groups: Iterable[str], name: str) -> str:
    """ "3 speakers (01, 02, 05)"; without the names where they are many."""
    known = sorted(groups)
    return f"{len(known)} {name}{'' if len(known) == 1 else 's'}" + (
        f" ({', '.join(known)})" if len(known) < 13 else ""
    )


def _group_folds(clips: Sequence[Clip], clips_of: dict[str, list[int]], kind: str, seed: int) -> Parts:
    if len(clips_of) < 3:
        raise SplitError(
            f"too few groups to train, validate and test on different ones: {len(clips_of)} in {len(clips)} clips; "
            "pass --split random"
        )
    _, count, fold = [*kind.split(":"), "", ""][:3]
    if count and int(count) > len(clips_of):
        raise SplitError(f"{kind} needs {count} groups, but there are only {len(clips_of)}; lower the number of folds")
    folds = group_folds(clips, clips_of, int(count or min(5, len(clips_of))), seed)
    if fold:
        return _hold_out_groups(clips, clips_of, folds[int(fold)], None, kind, seed)
    hold_out = partial(_hold_out_groups, clips, clips_of, valid=None, kind=kind, seed=seed)
    return _first_with_all_classes(clips, (partial(hold_out, test=test) for test in fairest_first(folds, clips_of)))


def _first_with_all_classes(clips: Sequence[Clip], ways: Iterable[Callable[[], Parts]]) -> Parts:
    """The first of the ways that leaves every class in training; the very first where none does."""
    labels = len(_labels(clips))
    first: Parts | None = None
    for way in ways:
        parts = way()
        if len(_labels(clips[i] for i in parts[0])) == labels:
            return parts
        first = first or parts
    if first is None:
        raise SplitError("there are no clips to split")
    return first


def _hold_out_groups(
    clips: Sequence[Clip], clips_of: dict[str, list[int]], test: set[str], valid: set[str] | None, kind: str, seed: int
) -> Parts:
    if missing := (test | (valid or set())) - clips_of.keys():
        whose = "RAVDESS's actors" if kind.startswith(("luna5", "emobox6")) else "groups"
        raise SplitError(f"{kind} is made of {whose}; not in this data: {', '.join(sorted(missing))}")
    tests = [i for group in test for i in clips_of[group]]
    held = set(tests)
    rest = [i for i in range(len(clips)) if i not in held]
    if valid is None:
        train, validation = _hold_out_fifth(clips, rest, kind, seed)
    else:
        validation = [i for group in valid for i in clips_of[group]]
        chosen = set(validation)
        train = [i for i in rest if i not in chosen]
    return train, validation, tests


def _hold_out_fifth(clips: Sequence[Clip], rest: list[int], kind: str, seed: int) -> tuple[list[int], list[int]]:
    """Divide ``rest`` into training clips and a fifth to validate (or test) on: by group where there are groups; a clip
    without one counts as a group of its own."""
    inner = [clips[i] for i in rest]
    clips_of = _by_group(inner)
    if clips_of:
        clips_of |= {f"\0{key}": [i] for i, key in enumerate(clip_keys(inner)) if not inner[i].group}
    if len(clips_of) > 1:
        folds = group_folds(inner, clips_of, min(5, len(clips_of)), seed)

        def without(valid: set[str]) -> Parts:
            chosen = [i for group in valid for i in clips_of[group]]
            left = set(range(len(inner))) - set(chosen)
            return sorted(left), chosen, []

        train, valid, _ = _first_with_all_classes(
            inner, (partial(without, fold) for fold in fairest_first(folds, clips_of))
        )
    elif clips_of:
        raise SplitError(f"{kind} leaves only one group to train and validate on; three or more groups are needed")
    else:
        train, valid = _draw_of_each_class(inner, range(len(inner)), 0.2, seed)
    return [rest[i] for i in train], [rest[i] for i in valid]


def _random(clips: Sequence[Clip], share: float, seed: int) -> Parts:
    rest, test = _draw_of_each_class(clips, range(len(clips)), share, seed, left=2)
    train, valid = _draw_of_each_class(clips, rest, 0.2, seed)
    return train, valid, test


def _draw_of_each_class(
    clips: Sequence[Clip], indices: Iterable[int], share: float, seed: int, left: int = 1
) -> tuple[list[int], list[int]]:
    """(rest, drawn): a share of each class is drawn, at least one clip, and at least ``left`` of each class remain.
    Raises SplitError where a class is too small for that. Where clips have several classes, the rarest class is divided
    first and clips drawn for it count for their other classes (after Sechidis et al. 2011); then shares are
    approximate, and a single clip of a class may remain."""
    keys = clip_keys(clips)
    members: defaultdict[str, list[int]] = defaultdict(list)
    for i in indices:
        for label in clips[i].labels or ("",):
            members[label].append(i)
    is_drawn: dict[int, bool] = {}
    for label in sorted(members, key=lambda label: (not label, len(members[label]), label)):
        part = min(max(1, round(len(members[label]) * share)), len(members[label]) - left)
        if part < 1 and label:
            have = sum(label in clip.labels for clip in clips)
            raise SplitError(f"too few clips to train, validate and test: class {label!r} has {have}, 3 are needed")
        part -= sum(is_drawn.get(i, False) for i in members[label])
        ordered = sorted((i for i in members[label] if i not in is_drawn), key=lambda i: shuffle_key(seed, keys[i]))
        is_drawn |= {i: place < part for place, i in enumerate(ordered)}
    return [i for i in is_drawn if not is_drawn[i]], [i for i in is_drawn if is_drawn[i]]


def clip_keys(clips: Sequence[Clip]) -> list[str]:
    """A key for each clip that does not change when the data set is moved: its path below the common folder, and its
    span."""
    paths = [str(clip.path) for clip in clips]
    cut = len(_shared_folder(min(paths), max(paths))) if paths else 0
    keys = [path[cut:].replace(os.sep, "/").lstrip("/") for path in paths]
    spans = (f"|{clip.start_s or 0:.6f}|{clip.end_s}" if clip.is_span else "" for clip in clips)
    return [key + span for key, span in zip(keys, spans, strict=True)]


def _shared_folder(first: str, last: str) -> str:
    """The folder that the first and the last path in sorted order share, and so all paths; "" for none."""
    try:
        return os.path.commonpath([os.path.dirname(first), os.path.dirname(last)])  # noqa: PTH120
    except ValueError:  # an absolute path and a relative one
        return ""


def _published(clips: Sequence[Clip], kind: str, group_name: str, seed: int) -> tuple[Parts, str]:
    """Split by ``Clip.fold`` or a column of the table; and a note for the sentence of the split, "" for none."""
    name, _, value = kind.partition(":")
    if name == "column":
        column, _, value = value.partition(":")
        places = column_values(clips, column, group_name)
    else:
        places = [clip.fold for clip in clips]
        if not any(places):
            raise SplitError(f"{name} needs clips with folds, and this data has none; pass --split group or random")
    present = set(places)
    if _PUBLISHED.get(name) and not present - {""} <= set(_PUBLISHED[name]):
        raise SplitError(f"{kind} does not fit: the folds of this data are {_named(present)}")
    empty = places.count("")
    if empty:
        raise SplitError(f"{kind}: {empty} of {len(clips)} clips have no fold, such as {clips[places.index('')].name}")
    if value not in present:
        value, places = normalise_part(value), [normalise_part(place) for place in places]
    if value:
        if value not in places:
            raise SplitError(f"{kind}: no clip is in {value!r}; there are: {_named(present)}")
        test = [i for i, place in enumerate(places) if place == value]
        left = [i for i, place in enumerate(places) if place != value]
        return (*_hold_out_fifth(clips, left, kind, seed), test), ""
    train, valid, test = ([i for i, place in enumerate(places) if place == part] for part in PARTS)
    others = set(places) - set(PARTS)
    if 0 < len(others) < len(set(places)):
        raise SplitError(
            f"{kind}: there are other parts than train, valid and test: {_named(others)}; remove their clips, or put "
            "each into one of these parts"
        )
    if others or not train or not (test or (valid and name in {"fold", "column"})):
        raise SplitError(f"{kind} wants the words train, valid and test; there are: {_named(present)}")
    note = "" if test else " The data names no test part: this one is a fifth of its train part."
    if not test:
        train, test = _hold_out_fifth(clips, train, kind, seed)
    elif not valid:
        train, valid = _hold_out_fifth(clips, train, kind, seed)
    return (train, valid, test), note


def column_values(clips: Sequence[Clip], column: str, group_name: str) -> list[str]:
    """Value of a column for each clip; names are compared in lower case. Raises SplitError where no clip has it."""
    name = column.lower()
    own = {"label": "label", "fold": "fold"} | dict.fromkeys((group_name, "group", "speaker", "recording"), "group")
    cells = [clip.tags.get(name, "") for clip in clips]
    if not any(cells) and name in own:
        cells = [getattr(clip, own[name]) for clip in clips]
    if not any(cells):
        known = ["label", group_name, "fold", *sorted({tag for clip in clips[:1000] for tag in clip.tags})]
        raise SplitError(f"no clip has a column {column!r}; there are: {', '.join(known)}")
    return cells


def _named(places: Iterable[str]) -> str:
    """The first twenty names in order, as text."""
    known = sorted(set(places) - {""}, key=fold_order)
    return ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
