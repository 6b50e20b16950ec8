"""Clip: a labelled recording, or a span of one; DataSet: all clips, with what was left out and why."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import xxhash

NO_TAGS: Mapping[str, str] = {}  # shared; no mappingproxy, which can't be pickled
PARTS = ("train", "valid", "test")
_PART_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


class Clip(NamedTuple):
    """One labelled recording, or a span of one.

    A named tuple, since a million of them are made in a second and take 0.1 GB besides their strings.
    """

    path: Path
    """The recording."""
    label: str
    """Its class; "" for a clip that is known to have none."""
    group: str = ""
    """Who or what must not be on both sides of a split (speaker, machine, recording); "" where unknown."""
    fold: str = ""
    """Its published fold: a number or name, or train, valid, test; "" where there is none."""
    start_s: float | None = None
    """Where the span begins, in seconds; None: at the start of the recording."""
    end_s: float | None = None
    """Where the span ends, in seconds; None: at the end of the recording."""
    tags: Mapping[str, str] = NO_TAGS
    """Other facts from its source, by name."""
    more_labels: tuple[str, ...] = ()
    """Its other classes, where clips can have several."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All classes; () for none."""
        return (self.label, *self.more_labels) if self.label else ()

    def with_labels(self, labels: Iterable[str]) -> "Clip":
        """A copy with these classes, perhaps none."""
        label, *more = [*labels] or [""]
        return self._replace(label=label, more_labels=tuple(more))

    @property
    def label_text(self) -> str:
        """The classes as text: "a;b", or "none"."""
        return ";".join(self.labels) or "none"

    @property
    def is_span(self) -> bool:
        """Whether it has a start or an end in its recording."""
        return self.start_s is not None or self.end_s is not None

    @property
    def name(self) -> str:
        """The path, with the span where it is only a part of the recording."""
        if not self.is_span:
            return str(self.path)
        end = "" if self.end_s is None else f"{self.end_s:.12g}"
        return f"{self.path} [{self.start_s or 0:.12g}–{end} s]"

    def absolute(self) -> "Clip":
        """A copy with an absolute path. A link in the last part is not followed: two names of one file are two
        clips."""
        return self._replace(path=self.path.parent.resolve() / self.path.name)

    @property
    def full_name(self) -> str:
        """The name with an absolute path."""
        return self.absolute().name


class Failure(NamedTuple):
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class DataSet:
    """source: name of the source that read it. labels: class names in the order of the network's outputs. clips: sorted
    by path and start. files: number of recordings found. failures: recordings, folders and files that were left out.
    group_name: what a group is: speaker, recording … split: the official split, which ``auto`` stands for; "" for none.
    empty_class_folders: class folders without recordings. empty: recordings whose label file is empty; they are no
    clips."""

    source: str
    place: Path
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    files: int
    failures: tuple[Failure, ...] = ()
    empty_class_folders: tuple[Path, ...] = ()
    empty: tuple[Path, ...] = ()
    synthetic: bool = False
    group_name: str = "group"
    split: str = ""

    def __repr__(self) -> str:
        groups = f", {len(self.groups)} {self.group_name}s" if self.groups else ""
        failures = f", {len(self.failures)} left out" if self.failures else ""
        what = f"{len(self.clips)} clips from {self.files} files, {len(self.labels)} labels{groups}{failures}"
        return f"<DataSet {self.source} in {self.place}: {what}>"

    def select(self, keep: Callable[[Clip], bool]) -> "DataSet":
        """The clips for which ``keep`` is true, and the labels that they have: ``data.select(lambda clip: clip.group
        != "07")``. ``es.train`` and ``es.evaluate`` take it in the place of a path."""
        clips = tuple(filter(keep, self.clips))
        used = {label for clip in clips for label in clip.labels}
        labels, files = tuple(label for label in self.labels if label in used), len({clip.path for clip in clips})
        return replace(self, clips=clips, labels=labels, files=files, empty_class_folders=())

    @property
    def digest(self) -> str:
        """Of the file names, spans, labels, groups and folds of the clips, not of the folders that they lie in."""
        told = xxhash.xxh3_64()
        for clip in self.clips:
            span = str(clip.start_s), str(clip.end_s)
            facts = (clip.path.name, clip.group, clip.fold, *span, clip.label, *clip.more_labels)
            told.update("\0".join((*facts, "")).encode(errors="surrogateescape"))
        return told.hexdigest()

    @property
    def multilabel(self) -> bool:
        """Whether some clip has several labels, or none."""
        return any(clip.more_labels or not clip.label for clip in self.clips)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sorted({clip.group for clip in self.clips if clip.group}))

    @property
    def folds(self) -> tuple[str, ...]:
        return tuple(sorted({clip.fold for clip in self.clips if clip.fold}, key=fold_order))


def fold_order(fold: str) -> tuple[int, int, str]:
    """Sort key: train, valid, test, then numbers by value, then names."""
    if fold in PARTS:
        return (0, PARTS.index(fold), "")
    return (1, int(fold), "") if fold.isdecimal() and len(fold) < 10 else (2, 0, fold)


def normalise_part(word: str) -> str:
    """train, valid or test for other words for them (Training, val, dev …); any other word unchanged."""
    return _PART_WORDS.get(word.lower(), word)
