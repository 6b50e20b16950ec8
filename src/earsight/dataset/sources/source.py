"""The description of a known data set, and a reader for data sets whose file names say everything."""

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
    """A data set that earsight knows."""

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
    """Names of recordings → how many of them are named as in this data set. Fast: called for every listing."""
    read: Callable[[Listing], DataSet]
    """Raises DataError where no clip can be made."""
    downloads: tuple[Download, ...] = ()
    how_to_get: str = ""
    """What to do by hand, where nothing can be downloaded."""
    groups_of: str = ""
    """A name for the namespace of its groups, where another source shares it (same speakers, same names); ""
    otherwise."""


class Parsed(NamedTuple):
    """What a file name says: see ``Clip``. key: files of the same key are copies of one recording, and only the first
    is used; "" for no such check."""

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
    """A data set whose file names say everything.

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
    """A ``Source.matches``: names → how many match a regular expression as a whole; part: match this part of each."""
    if part is None:
        return lambda names: sum(form.fullmatch(name) is not None for name in names)
    return lambda names: sum(form.fullmatch(part(name)) is not None for name in names)


def stem(name: str) -> str:
    """The file name without folder and suffix."""
    return name.rpartition("/")[2].rpartition(".")[0]


def parent_name(name: str) -> str:
    """The name of the folder that contains a file; "" at the root."""
    return name.rpartition("/")[0].rpartition("/")[2]
