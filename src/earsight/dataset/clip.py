"""Clip: one labelled recording; DataSet: all of them, with what was left out and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """path: the recording. label: its class. group: who or what must not be on both sides of a split (speaker,
    machine, recording), "" where unknown. tags: the other facts that its source knows, by name."""

    path: Path
    label: str
    group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class DataSet:
    """source: the name of the source that read it. labels: class names in the order of the network's outputs.
    clips: sorted by path. files: how many sound files were found. failures: those left out."""

    source: str
    place: Path
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    files: int
    failures: tuple[Failure, ...] = ()
    synthetic: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sorted({clip.group for clip in self.clips if clip.group}))
