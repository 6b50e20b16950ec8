"""A place (folder, archive, table or known name) → DataSet. One module a source; ``docs/sources.md`` says how to add
one. Every module of this package that defines ``SOURCES`` is found automatically.
"""

import difflib
import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePath

from earsight.audio.decode import suffix_list
from earsight.dataset.archive import left_out, unpack
from earsight.dataset.clip import DataSet, Failure
from earsight.dataset.sources import annotations, folder, table
from earsight.dataset.sources.pattern import regroup
from earsight.dataset.sources.rows import SUFFIXES as TABLES
from earsight.dataset.sources.rows import find_table, is_table
from earsight.dataset.sources.source import Source
from earsight.dataset.walk import ARCHIVES, Listing, cache_folder, is_archive, unsupported_reason, walk
from earsight.errors import DataError, SettingsError
from earsight.plain import pluralise

_SAMPLED_NAMES = 5000  # enough to recognise a set by, however large it is

_GENERIC = ("folder", "table", "annotations")
"""Sources that are no particular data set."""


@cache
def known_sources() -> dict[str, Source]:
    """All named sources by name, sorted."""
    found: list[Source] = []
    for module in pkgutil.iter_modules(__path__):
        found += getattr(importlib.import_module(f"{__name__}.{module.name}"), "SOURCES", ())
    return {source.name: source for source in sorted(found, key=lambda source: source.name)}


def same_groups(one: str, two: str) -> bool:
    """Whether equal group names in two sources mean the same speaker or recording. one, two: names of sources, folder,
    table or annotations."""
    sources = known_sources()
    of = {name: source.groups_of or name for name, source in sources.items()}
    return of.get(one, one) == of.get(two, two)


def known_source(name: str) -> Source:
    """Raises SettingsError with the nearest names where there is none of this name."""
    sources = known_sources()
    if name in sources:
        return sources[name]
    names = (*sources, *_GENERIC)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    raise SettingsError(f"no source is called {name!r}; {hint}")


def downloaded_folder(name: str) -> Path:
    """Where ``earsight data get NAME`` puts a data set."""
    return cache_folder() / "data" / name


def read_dataset(
    place: str | Path | DataSet,
    *,
    source: str | None = None,
    group_pattern: str | None = None,
    strict: bool = False,
    fewest_classes: int = 2,
) -> DataSet:
    """Find the recordings under ``place`` and their labels.

    place: a folder, a zip or tar, a table (CSV, TSV, JSON Lines, Parquet), or the name of a known source that was
    downloaded; or a DataSet, which is checked. source: the name of the source, or "folder", "table" or "annotations";
    otherwise recognised by the file names. group_pattern: a regular expression; what its first group (or all of it)
    finds in the path of a clip below the place is the clip's group. strict: the first bad file is an error instead of
    an entry in ``failures``.
    Raises DataError where nothing can be trained on: no such place, no sound file, no label, too few classes.
    """
    if not isinstance(place, DataSet):
        dataset, root = _read(place, source)
    elif source is not None:
        raise SettingsError(f"a DataSet has been read already; drop source={source!r}")
    else:
        dataset, root = _checked(place), place.place
    if group_pattern is not None:
        dataset = regroup(dataset, root, group_pattern)
    if strict and dataset.failures:
        first = dataset.failures[0]
        raise DataError(f"{first.path}: {first.reason} (--strict stops at the first bad file)")
    if not dataset.labels:
        raise DataError(f"no label in {dataset.place}: none of {len(dataset.clips)} clips has one; name one or more")
    if len(dataset.labels) < fewest_classes and not dataset.multilabel:
        raise DataError(
            f"only one class in {dataset.place}: {dataset.labels[0]!r} ({pluralise(len(dataset.clips), 'clip')}); "
            "a classifier needs two or more"
        )
    return dataset


def _checked(dataset: DataSet) -> DataSet:
    """With the labels that clips have. Raises DataError."""
    used = {label for clip in dataset.clips for label in clip.labels}
    if len(set(dataset.labels)) < len(dataset.labels):
        raise DataError(f"the labels of the DataSet are not different names: {', '.join(dataset.labels)}")
    if unknown := sorted(used - set(dataset.labels)):
        raise DataError(f"clips have labels that the DataSet's labels lack: {', '.join(unknown)}; add them")
    return replace(dataset, labels=tuple(label for label in dataset.labels if label in used))


def _read(place: str | Path, source: str | None) -> tuple[DataSet, Path]:
    """And the folder below which a group pattern looks."""
    if not str(place).strip():
        raise DataError("the place of the data is empty; name a folder, an archive, a table or a known data set")
    place = Path(place)
    known = known_source(source) if source is not None and source not in _GENERIC else None
    if not _exists(place) and str(place) in known_sources() and downloaded_folder(str(place)).is_dir():
        known = known or known_sources()[str(place)]
        place = downloaded_folder(str(place))
    if not _exists(place):
        raise DataError(f"no such data: {place}; give a folder of recordings, an archive, a table, or a known name")
    if place.is_file() and not is_archive(place.name) and (source == "table" or is_table(place.name)):
        return table.read(place), place.parent
    return _read_listing(list_recordings(place), known, source)


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except OSError as error:
        raise DataError(f"can't read {place}: {error.strerror}; fix this, or use another path") from error


def list_recordings(place: Path) -> Listing:
    """The recordings of a folder or archive; archives are unpacked into the cache. Raises DataError."""
    if not place.is_dir():
        if not place.is_file() or not is_archive(place.name):
            raise DataError(
                f"not a folder, an archive or a table: {place}; archives end in "
                f"{', '.join(ARCHIVES)}, tables in {', '.join(TABLES)}"
            )
        return _unpacked(place)
    listing = walk(place)
    if not listing.names and listing.archives:  # as they were downloaded: archives in a folder
        opened = [_unpacked(place / name) for name in listing.archives]
        left_out = tuple(failure for one in (listing, *opened) for failure in one.left_out)
        if len(opened) == 1:
            return replace(opened[0], place=place, left_out=left_out)
        names = sorted(f"{one.root.name}/{name}" for one in opened for name in one.names)
        return Listing(place, opened[0].root.parent, tuple(names), listing.archives, left_out)
    return replace(listing, left_out=(*listing.left_out, *_not_unpacked(place, place)))


def _unpacked(archive: Path) -> Listing:
    root = unpack(archive)
    return replace(walk(archive, root), left_out=_not_unpacked(archive, root))


def _not_unpacked(place: Path, root: Path) -> tuple[Failure, ...]:
    return tuple(Failure(place / name, unsupported_reason(PurePath(name).name)) for name in left_out(root))


def _read_listing(listing: Listing, known: Source | None, source: str | None) -> tuple[DataSet, Path]:
    """The data set, read by its source, its table, annotation files or folders; and the folder that group patterns are
    relative to."""
    if known is None and source is None:
        known = _recognised(listing)
    if known is None and len(listing.archives) > 1 and listing.root != listing.place:
        raise DataError(
            f"{len(listing.archives)} archives in {listing.place}, of no known data set: "
            f"{', '.join(listing.archives[:10])}; give one of them, or unpack them into one folder"
        )
    if (
        known is None
        and source in {None, "table"}
        and (found := find_table(listing.root, listing.place, asked=bool(source)))
    ):
        return replace(table.read(found, inside=True), place=listing.place), listing.root
    if not listing.names:
        first = f"; left out: {listing.left_out[0].path}, {listing.left_out[0].reason}" if listing.left_out else ""
        raise DataError(f"no recordings in {listing.place}; looked for {suffix_list()}{first}")
    beside = annotations.label_files(listing) if known is None and source != "folder" else {}
    if source == "annotations" or (source is None and annotations.is_annotated(listing, beside)):
        dataset = annotations.read(listing, beside)
    else:
        dataset = (known or folder).read(listing)
    return replace(dataset, failures=(*listing.left_out, *dataset.failures)), listing.root


def _recognised(listing: Listing) -> Source | None:
    """The source whose file names more than half of the recordings have."""
    sample = listing.names[:: 1 + len(listing.names) // _SAMPLED_NAMES]
    counts = {name: candidate.matches(sample) for name, candidate in known_sources().items()}
    best = max(counts, key=lambda name: counts[name])
    return known_sources()[best] if 2 * counts[best] > len(sample) else None
