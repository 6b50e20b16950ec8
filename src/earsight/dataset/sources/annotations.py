"""Recordings with annotations in a text file beside them, as Audacity and Raven export it: ``day.wav`` and ``day.txt``,
or ``day.Table.1.selections.txt``."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.dataset.walk import Listing
from earsight.errors import DataError

LABEL_COLUMNS = ("label", "annotation", "species", "class", "common name", "species code", "call type", "tags")
"""Label columns of a Raven selection table, in lower case; the first that is there counts."""
_START, _END, _SELECTION = "begin time (s)", "end time (s)", "selection"
_FILE, _PATH = "begin file", "begin path"
_SUFFIX, _RAVEN_SUFFIX = ".txt", ".selections.txt"
_PROBABILITY = re.compile(r" (0\.\d\d|1\.00)$")  # written by ``earsight predict`` after each Audacity label
_SAMPLED = 20

Span = tuple[float, float, list[str]]  # start and end in seconds, and the labels


def is_annotated(listing: Listing, found: Mapping[str, list[Path]]) -> bool:
    """Whether most recordings have a label file, and most of these look like one. found: of ``label_files``."""
    if 2 * len(found) <= len(listing.names):
        return False
    # an empty file means that nothing was heard
    filled = [files[0] for files in found.values() if files[0].is_file() and files[0].stat().st_size]
    sample = filled[:: 1 + len(filled) // _SAMPLED]
    return 2 * sum(map(_looks_like_labels, sample)) > len(sample)


def label_files(listing: Listing) -> dict[str, list[Path]]:
    """Name of a recording → its label files, sorted; only of recordings that have any."""
    recordings: defaultdict[str, list[str]] = defaultdict(list)
    for name in listing.names:
        recordings[name.rpartition("/")[0]].append(name)
    found: dict[str, list[Path]] = {}
    for folder, names in recordings.items():
        texts = _texts_in(listing.path(folder) if folder else listing.root)
        for name in names:
            stem = name.rpartition("/")[2].rpartition(".")[0]
            if files := texts.get(stem):
                found[name] = sorted(files)
    return found


def _texts_in(folder: Path) -> Mapping[str, list[Path]]:
    """Stem of a recording → text files that may hold its labels."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            lower = entry.name.lower()
            if not entry.name.startswith(".") and lower.endswith(_SUFFIX):
                stem = entry.name[: -len(_SUFFIX)]
                if lower.endswith(_RAVEN_SUFFIX):
                    stem = re.sub(r"\.table\.\d+$", "", entry.name[: -len(_RAVEN_SUFFIX)], flags=re.IGNORECASE)
                found[stem].append(Path(entry.path))
    return found


def read(listing: Listing, beside: Mapping[str, list[Path]]) -> DataSet:
    """One clip a span. Each recording is a group, since its clips share a background. A recording without a label file,
    or whose labels can't be read, is left out with the reason. beside: of ``label_files``. Raises DataError where no
    clip is left."""
    clips: list[Clip] = []
    failures: list[Failure] = []
    empty: list[Path] = []
    for name in listing.names:
        path = listing.path(name)
        files = beside.get(name, [])
        try:
            if not files:
                raise DataError(f"no labels beside it, such as {path.stem}{_SUFFIX}")
            if len(files) > 1:
                raise DataError(f"{len(files)} files of labels: {', '.join(one.name for one in files)}; keep one")
            spans = read_labels(files[0], path.name)
            empty += [] if spans else [path]
            for start_s, end_s, (label, *more) in spans:
                clips.append(Clip(path, label, str(path), "", start_s, end_s, more_labels=tuple(more)))
        except DataError as error:
            failures.append(Failure(path, str(error)))
    if not clips:
        first = f"; the first: {failures[0].path}, {failures[0].reason}" if failures else ""
        raise DataError(f"no labels beside the {len(listing.names)} recordings in {listing.place}{first}")
    clips.sort(key=lambda clip: (clip.path, clip.start_s, clip.end_s))
    return DataSet(
        source="annotations",
        place=listing.place,
        labels=tuple(sorted({label for clip in clips for label in clip.labels})),
        clips=tuple(clips),
        files=len(listing.names),
        failures=tuple(failures),
        empty=tuple(empty),
        group_name="recording",
    )


def read_labels(file: Path, recording: str) -> list[Span]:
    """The spans of a label file; equal spans are merged, with all their labels. recording: its file name. Raises
    DataError that names the first wrong line."""
    lines = list(_lines(file))
    if not lines:
        return []
    header = [name.strip().lower() for name in lines[0].split("\t")]
    rows = _raven_rows(file, header, lines[1:], recording) if _START in header else _audacity_rows(lines)
    spans: defaultdict[tuple[float, float], dict[str, None]] = defaultdict(dict)
    for number, start, end, label in rows:
        try:
            start_s, end_s = float(start), float(end)
        except ValueError:
            raise DataError(f"{file.name}, line {number}: {start!r} to {end!r} are not seconds; fix the line") from None
        if not 0 <= start_s < end_s < float("inf"):
            raise DataError(f"{file.name}, line {number}: a label from {start} to {end} s is no span; fix the line")
        labels = [one.strip() for one in label.split(";")]
        if not all(labels):
            raise DataError(f"{file.name}, line {number} has no label; fill it in, or leave the line out")
        spans[start_s, end_s].update(dict.fromkeys(labels))
    return [(*span, list(labels)) for span, labels in spans.items()]


def _raven_rows(
    file: Path, header: Sequence[str], lines: Sequence[str], recording: str
) -> Iterator[tuple[int, str, str, str]]:
    """(line, start, end, label) of a Raven table, which has a row for each view of a selection."""
    column = next((name for name in LABEL_COLUMNS if name in header), None)
    if column is None or _END not in header:
        wanted = f"one of {', '.join(LABEL_COLUMNS)}" if column is None else _END
        raise DataError(f"no column {wanted} in {file.name}; its columns: {', '.join(header)}")
    seen: set[str] = set()
    for number, line in enumerate(lines, 2):
        cells = dict(zip(header, line.split("\t"), strict=False))
        if not line.strip() or (cells.get(_SELECTION, "") and cells[_SELECTION] in seen):
            continue
        seen.add(cells.get(_SELECTION, ""))
        told = cells.get(_FILE, "").strip() or PureWindowsPath(cells.get(_PATH, "").strip()).name  # either slash
        if told and told != recording:
            raise DataError(f"{file.name}, line {number} is of {told}; save a table for each recording")
        yield number, cells.get(_START, ""), cells.get(_END, ""), cells.get(column, "")


def _audacity_rows(lines: Sequence[str]) -> Iterator[tuple[int, str, str, str]]:
    """(line, start, end, label) of Audacity labels. Lines with a backslash have the frequencies of the line before."""
    rows: list[tuple[int, str, str, str]] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("\\"):
            start, end, label = (*line.rstrip().split("\t", 2), "", "")[:3]
            rows.append((number, start, end, label))
    predicted = all(_PROBABILITY.search(label) for *_, label in rows)
    for number, start, end, label in rows:
        yield number, start, end, _PROBABILITY.sub("", label) if predicted else label


def _lines(file: Path) -> Iterator[str]:
    """Raises DataError."""
    try:
        yield from file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name} is not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"can't read {file.name}: {error.strerror}") from error


def _looks_like_labels(file: Path) -> bool:
    """Whether the first line is one of Raven or Audacity."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as text:
            line = text.readline()
    except OSError:
        return False
    if _START in line.lower():
        return True
    try:
        return len([float(cell) for cell in line.split("\t")[:2]]) == 2
    except ValueError:
        return False
