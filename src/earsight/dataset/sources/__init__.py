"""A place (folder, archive, table or known name) → DataSet. One file a source; ``docs/sources.md`` says how to add one.

Every module of this folder that has ``SOURCES`` is found by itself.
"""

import difflib
import importlib
import os
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from earsight.audio.decode import SUFFIXES
from earsight.dataset.archive import unpack
from earsight.dataset.clip import DataSet
from earsight.dataset.sources import folder, table
from earsight.dataset.sources.source import Source
from earsight.dataset.walk import ARCHIVES, Listing, cache_folder, is_archive, walk
from earsight.errors import DataError, SettingsError

_SAMPLED_NAMES = 5000  # enough to recognise a set by, however large it is


@cache
def known_sources() -> dict[str, Source]:
    """All named sources by name, sorted."""
    found: list[Source] = []
    for module in pkgutil.iter_modules(__path__):
        found += getattr(importlib.import_module(f"{__name__}.{module.name}"), "SOURCES", ())
    return {source.name: source for source in sorted(found, key=lambda source: source.name)}


def known_source(name: str) -> Source:
    """Raises SettingsError with the nearest names where there is none of this name."""
    sources = known_sources()
    if name in sources:
        return sources[name]
    near = difflib.get_close_matches(name, sources, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sources)}"
    raise SettingsError(f"no source is called {name!r}; {hint}")


def downloaded_folder(name: str) -> Path:
    """Where ``earsight data get NAME`` puts a data set."""
    return cache_folder() / "data" / name


def read_dataset(
    place: str | Path,
    *,
    source: str | None = None,
    group_pattern: str | None = None,
    strict: bool = False,
    fewest_classes: int = 2,
) -> DataSet:
    """Find the recordings under ``place`` and their labels.

    place: a folder, a zip or tar, a table (CSV, TSV, JSON Lines, Parquet), or the name of a known source that was
    downloaded. source: the name of the source, or "folder" or "table"; otherwise recognised by the file names.
    group_pattern: a regular expression; what its first group (or all of it) finds in the path of a clip below the
    place is the clip's group. strict: the first bad file is an error instead of an entry in ``failures``.
    Raises DataError where nothing can be trained on: no such place, no sound file, no label, too few classes.
    """
    if not str(place).strip():
        raise DataError("the place of the data is empty; name a folder, an archive, a table or a known data set")
    place = Path(place)
    known = known_source(source) if source not in {None, "folder", "table"} else None
    if not place.exists() and str(place) in known_sources() and downloaded_folder(str(place)).is_dir():
        known = known or known_sources()[str(place)]
        place = downloaded_folder(str(place))
    if not place.exists():
        raise DataError(f"no such data: {place}; give a folder of recordings, an archive, a table, or a known name")
    if chosen := _table(place, source):
        dataset = replace(table.read(chosen), place=place)
        root = chosen.parent
    else:
        listing = list_recordings(place)
        root = listing.root
        dataset = _reader(listing, known, source)(listing)
        dataset = replace(dataset, failures=(*dataset.failures, *listing.left_out))
    if group_pattern is not None:
        dataset = _regroup(dataset, root, group_pattern)
    if strict and dataset.failures:
        first = dataset.failures[0]
        raise DataError(f"{first.path}: {first.reason} (--strict stops at the first bad file)")
    if len(dataset.labels) < fewest_classes:
        raise DataError(
            f"one class only in {place}: {dataset.labels[0]!r} ({len(dataset.clips)} clips); "
            "a classifier needs two or more"
        )
    return dataset


def _table(place: Path, source: str | None) -> Path | None:
    """The table to read: the place itself, or the one in an archive, or in a folder where a table was asked for."""
    if place.is_file() and table.is_table(place.name):
        return place
    packed = place.is_file() and is_archive(place.name)
    if source != "table" and not (packed and source is None):
        return None
    if not packed and not place.is_dir():
        raise DataError(f"not a table: {place}; tables end in {', '.join(table.SUFFIXES)}")
    found = table.find(unpack(place) if packed else place)
    if len(found) > 1 or (source == "table" and not found):
        shown = ", ".join(path.name for path in found[:10]) or "none with the columns path and label"
        raise DataError(
            f"one table is wanted in {place}, there are: {shown}; name the table itself, or --source folder"
        )
    return found[0] if found else None


def list_recordings(place: Path) -> Listing:
    """The recordings of a folder or archive; archives are unpacked into the cache. Raises DataError."""
    if not place.is_dir():
        if not place.is_file() or not is_archive(place.name):
            raise DataError(f"not a folder, an archive or a table: {place}; archives end in {', '.join(ARCHIVES)}")
        listing = walk(place, unpack(place))
    else:
        listing = walk(place)
        if not listing.names and listing.archives:  # as they were downloaded: archives in a folder
            unpacked = [unpack(place / name) for name in listing.archives]
            listing = walk(place, unpacked[0]) if len(unpacked) == 1 else _join(place, unpacked)
    if not listing.names:
        first = f" (left out: {listing.left_out[0].path}, {listing.left_out[0].reason})" if listing.left_out else ""
        raise DataError(f"no recordings in {place}; looked for {', '.join(sorted(SUFFIXES))}{first}")
    return listing


def _join(place: Path, folders: list[Path]) -> Listing:
    names = [f"{folder.name}/{name}" for folder in folders for name in walk(place, folder).names]
    return Listing(place, folders[0].parent, tuple(sorted(names)))


def _reader(listing: Listing, known: Source | None, source: str | None) -> Callable[[Listing], DataSet]:
    if known is not None:
        return known.read
    if source != "folder":
        sample = listing.names[:: 1 + len(listing.names) // _SAMPLED_NAMES]
        counts = {name: candidate.matches(sample) for name, candidate in known_sources().items()}
        best = max(counts, key=lambda name: counts[name])
        if 2 * counts[best] > len(sample):
            return known_sources()[best].read
    return folder.read


def _regroup(dataset: DataSet, root: Path, pattern: str) -> DataSet:
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"--group-pattern {pattern!r} is not a regular expression: {error}") from error
    above = "" if str(root) == "." else f"{str(root).rstrip(os.sep)}{os.sep}"
    clips, missed = [], []
    for clip in dataset.clips:
        name = str(clip.path).removeprefix(above).replace("\\", "/")
        found = form.search(name)
        group = found and (found[1] if form.groups else found[0])
        if group:
            clips.append(clip._replace(group=group))
        else:
            missed.append(name)
    if missed:
        shown = ", ".join(missed[:10]) + (" …" if len(missed) > 10 else "")
        raise DataError(
            f"--group-pattern {pattern!r} finds no group in {len(missed)} of {len(dataset.clips)} names: {shown}"
        )
    return replace(dataset, clips=tuple(clips))
