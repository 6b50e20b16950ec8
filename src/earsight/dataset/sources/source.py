"""What a source is, and the way in which those that read everything from file names work."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from earsight.dataset.clip import NO_TAGS, Clip, DataSet, Failure
from earsight.dataset.download import Download
from earsight.dataset.walk import Listing
from earsight.errors import DataError


@dataclass(frozen=True)
class Source:
    """A data set that earsight knows. Every module in this folder that has ``SOURCES`` is found by itself."""

    name: str
    """As typed: ``earsight train NAME``."""
    title: str
    licence: str
    citation: str
    page: str
    """The official address to read about it."""
    protocol: str
    """How it is officially split, in words."""
    matches: Callable[[Sequence[str]], int]
    """names of recordings → how many of them this source knows by their form. Fast: called on every listing."""
    read: Callable[[Listing], DataSet]
    """Raises DataError where no clip can be made."""
    downloads: tuple[Download, ...] = ()
    how_to_get: str = ""
    """What to do by hand, where nothing can be downloaded."""
    groups_of: str = ""
    """What its groups are of, where another source has some of them by the same names; "" where none has."""


class Parsed(NamedTuple):
    """What a file name says: see ``Clip``. key: two files of the same key are copies of one recording, and only the
    first is taken; "" where any name may occur again."""

    label: str
    group: str = ""
    fold: str = ""
    tags: Mapping[str, str] = NO_TAGS
    key: str = ""


def read_names(
    listing: Listing,
    source: str,
    parse: Callable[[str], Parsed],
    *,
    labels: Sequence[str] = (),
    order: Callable[[str], object] | None = None,
    group_name: str = "group",
    split: str = "",
) -> DataSet:
    """A data set whose file names tell everything.

    parse: name relative to the root → Parsed; raises DataError with the reason where the name is wrong. labels:
    class names in the order of the network's outputs; those that do not occur are left out; empty: sorted by name.
    order: sort key of names; of two copies of one recording the first in this order is taken.
    Raises DataError where no name is right.
    """
    clips: list[Clip] = []
    failures: list[Failure] = []
    first: dict[str, str] = {}
    names: Iterable[str] = sorted(listing.names, key=order) if order else listing.names  # type: ignore[arg-type]
    for name in names:
        try:
            label, group, fold, tags, key = parse(name)
        except DataError as error:
            failures.append(Failure(listing.path(name), str(error)))
            continue
        if key and first.setdefault(key, name) is not name:
            failures.append(Failure(listing.path(name), f"a second copy of {listing.path(first[key])}"))
        else:
            clips.append(Clip(listing.path(name), label, group, fold, tags=tags))
    if not clips:
        raise DataError(
            f"no usable recording of {source} in {listing.place}: {failures[0].path.name}: {failures[0].reason}"
        )
    if order:
        clips.sort(key=lambda clip: str(clip.path))
    present = {clip.label for clip in clips}
    known = tuple(label for label in labels if label in present)
    return DataSet(
        source=source,
        place=listing.place,
        labels=known + tuple(sorted(present - set(known))),
        clips=tuple(clips),
        files=len(listing.names),
        failures=tuple(failures),
        group_name=group_name,
        split=split,
    )


def match_counter(form: re.Pattern[str], part: Callable[[str], str] | None = None) -> Callable[[Sequence[str]], int]:
    """``Source.matches`` by a regular expression: names → how many of them, or of this part of each (``stem``), fit."""
    if part is None:
        return lambda names: sum(form.fullmatch(name) is not None for name in names)
    return lambda names: sum(form.fullmatch(part(name)) is not None for name in names)


def stem(name: str) -> str:
    """The last part of a name, without its ending."""
    return name.rpartition("/")[2].rpartition(".")[0]


def parent_name(name: str) -> str:
    """The name of the folder that a file lies in; "" at the root."""
    return name.rpartition("/")[0].rpartition("/")[2]
