"""Clip: one labelled recording, or a span of one; DataSet: all of them, with what was left out and why."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import xxhash

NO_TAGS: Mapping[str, str] = {}  # one for all; a mappingproxy could not go to another process
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

    A named tuple, and not a dataclass: a million of them are made in a second and take 0.1 GB beside their texts.
    """

    path: Path
    """The recording."""
    label: str
    """Its class; "" where it is known to have none of them."""
    group: str = ""
    """Who or what must not be on both sides of a split (speaker, machine, recording); "" where unknown."""
    fold: str = ""
    """The published part that it belongs to: a fold's number, or train, valid, test; "" where there is none."""
    start_s: float | None = None
    """Where the span begins, in seconds; None: at the start of the recording."""
    end_s: float | None = None
    """Where the span ends, in seconds; None: at the end of the recording."""
    tags: Mapping[str, str] = NO_TAGS
    """The other facts that its source knows, by name."""
    more_labels: tuple[str, ...] = ()
    """Further classes of the same span, where clips have several."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All its classes, perhaps none."""
        return (self.label, *self.more_labels) if self.label else ()

    def with_labels(self, labels: Iterable[str]) -> "Clip":
        """With these classes, perhaps none, in the place of its own."""
        label, *more = [*labels] or [""]
        return self._replace(label=label, more_labels=tuple(more))

    @property
    def label_text(self) -> str:
        """Its classes as a reader is told them."""
        return ";".join(self.labels) or "none"

    @property
    def is_span(self) -> bool:
        """Whether it is a part of its recording, as far as its edges say."""
        return self.start_s is not None or self.end_s is not None

    @property
    def name(self) -> str:
        """The path, with the span where it is only a part of the recording."""
        if not self.is_span:
            return str(self.path)
        end = "" if self.end_s is None else f"{self.end_s:.12g}"
        return f"{self.path} [{self.start_s or 0:.12g}–{end} s]"

    def absolute(self) -> "Clip":
        """With its path from the root on, wherever it was typed. What the file itself links to is left out: two names
        of one file are two clips."""
        return self._replace(path=self.path.parent.resolve() / self.path.name)

    @property
    def full_name(self) -> str:
        """The name ``from_the_root``."""
        return self.absolute().name


class Failure(NamedTuple):
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class DataSet:
    """source: the name of the source that read it. labels: class names in the order of the network's outputs.
    clips: sorted by path and start. files: how many recordings were found. failures: what was left out of them, and
    folders and formats that can't be read. group_name: what a group is: speaker, recording … split: the split that
    ``auto`` stands for, where the source has an official one. empty_class_folders: class folders without a recording.
    empty: recordings of which a file without labels says that nothing is in them; they are no clips."""

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
        """Of what the clips are called, their labels and groups, and not of where they lie."""
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
    """train, valid or test for what folders and tables call them (Training, val, dev …); another word as it is."""
    return _PART_WORDS.get(word.lower(), word)
