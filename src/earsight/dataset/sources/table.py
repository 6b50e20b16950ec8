"""A table of recordings: CSV, TSV, JSON Lines or Parquet, with the columns path and label, and some others."""

import difflib
import gc
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from earsight.dataset.clip import NO_TAGS, Clip, DataSet, normalise_part
from earsight.dataset.sources.rows import Row, as_text, open_table
from earsight.errors import DataError

_GROUPS = ("group", "speaker", "recording")
_KNOWN = ("path", "label", *_GROUPS, "fold", "start", "end")
_SHOWN = 10


def read(path: Path, *, inside: bool = False) -> DataSet:
    """One clip a row. Paths are absolute or relative to the table's folder. inside: paths outside of this folder are
    refused, as for a table in an archive.

    label may hold several, separated by ``;``, or a list where the format has lists. A lone ``;`` or an empty list
    means that the clip has none of the labels; so does an empty cell in a table where some row has several labels, a
    lone ``;`` or a list; in other tables an empty cell is an error. The group column may also be called speaker or
    recording; without one, and where rows are spans of one file, each file is a group. fold is a number, a name, or
    train, valid, test. start and end are in seconds. Further columns become tags. Raises DataError that lists all wrong
    rows.
    """
    with _gc_paused():
        header, rows = open_table(path)
        columns = _columns(path, header)
        problems = _Problems()
        if path.suffix.lower() in {".jsonl", ".ndjson", ".parquet"}:
            rows = _decode_cells(columns, rows, problems)
        clips = _clips(path, columns, rows, problems, inside)
        if not clips and not problems.count:
            raise DataError(f"no rows in {path}; it has the columns {', '.join(header)} and nothing below them")
        clips.sort(key=_span_key)
        _check_files(path.parent, clips, problems)
        _check_repeats(clips, problems)
        _check_open_spans(clips, problems)
        _check_folds(clips, problems)
        if problems.count:
            raise DataError(f"{problems.count} problem{'s' * (problems.count > 1)} in {path}: {problems}")
        grouped = next((name for name in _GROUPS if name in columns), "")
        if not grouped and any(one.path == two.path for one, two in pairwise(clips)):
            clips = [clip._replace(group=str(clip.path)) for clip in clips]
            grouped = "recording"
        files = len({clip.path for clip in clips})
        for n, clip in enumerate(clips):
            clips[n] = Clip(Path(clip[0]), *clip[1:])  # faster than _replace
    labels = {label for clip in clips for label in clip.labels}
    return DataSet(
        source="table",
        place=path,
        labels=tuple(sorted(labels)),
        clips=tuple(clips),
        files=files,
        group_name=grouped or "group",
    )


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Without the garbage collector, which would traverse millions of new objects again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Problems:
    """Problems by kind: the first ten of each, and the number of all."""

    def __init__(self) -> None:
        self.count = 0
        self._found: defaultdict[str, list[str]] = defaultdict(list)
        self._counts: defaultdict[str, int] = defaultdict(int)

    def add(self, kind: str, where: object) -> None:
        self.count += 1
        self._counts[kind] += 1
        if self._counts[kind] <= _SHOWN:
            self._found[kind].append(str(where))

    def __str__(self) -> str:
        return "; ".join(
            f"{kind} {', '.join(shown)}"
            + (f" … ({_SHOWN} of {self._counts[kind]})" if self._counts[kind] > _SHOWN else "")
            for kind, shown in self._found.items()
        )


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Lower-case name → index of the column. Raises DataError where path or label is missing or a name occurs twice."""
    names = [str(name).strip().lower() for name in header]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} twice; rename one")
    for wanted in ("path", "label"):
        if wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
            hint = f"; is it {near[0]!r}? rename it" if near else ""
            raise DataError(f"no column {wanted!r} in {path}; its columns: {', '.join(map(str, header))}{hint}")
    groups = [name for name in _GROUPS if name in names]
    if len(groups) > 1:
        raise DataError(
            f"{path} has the columns {' and '.join(groups)}, but only one can be the group; rename the others"
        )
    return {name: place for place, name in enumerate(names)}


def _decode_cells(columns: dict[str, int], rows: Iterator[Row], problems: _Problems) -> Iterator[Row]:
    """Rows with bytes decoded. Rows with other encodings than UTF-8, or with lists or objects where one value is
    expected, are problems; a label may be a list of strings."""
    names = {place: name for name, place in columns.items()}
    for line, cells in rows:
        plain = list(cells)
        for place, cell in enumerate(cells):
            if isinstance(cell, bytes):
                try:
                    plain[place] = cell.decode()
                except UnicodeDecodeError:
                    problems.add("bytes that are not UTF-8 in row", f"{line} ({names[place]})")
                    break
            elif isinstance(cell, list | dict | tuple) and names[place] in _KNOWN:
                texts = isinstance(cell, list) and all(isinstance(one, str) for one in cell)
                if names[place] != "label" or not texts:
                    problems.add("a list or an object instead of a single value in row", f"{line} ({names[place]})")
                    break
        else:
            yield line, plain


def _labels(cell: Any) -> list[str]:
    """The labels of a cell; [""] where it is empty, [] where it says that there are none."""
    if isinstance(cell, list):
        return [one.strip() for one in cell]
    text = as_text(cell)
    return [one.strip() for one in text.split(";") if one.strip()] if ";" in text else [text]


def _clips(path: Path, columns: dict[str, int], rows: Iterator[Row], problems: _Problems, inside: bool) -> list[Clip]:
    """Paths are still strings here: Path objects come last."""
    root = _prefix(path.parent)
    width = len(columns)
    at_path, at_label = columns["path"], columns["label"]
    at_group = next((columns[name] for name in _GROUPS if name in columns), -1)
    at_fold, at_start, at_end = (columns.get(name, -1) for name in ("fold", "start", "end"))
    spans = at_start >= 0 or at_end >= 0
    tags_at = [(name, place) for name, place in columns.items() if name not in _KNOWN]
    known: dict[str, str] = {}
    shared = known.setdefault  # interns labels, groups and folds
    files_in = cache(_files_in)
    clips: list[Clip] = []
    several, unlabelled = False, list[int]()
    for line, cells in rows:
        if len(cells) != width:
            problems.add(f"another number of cells than {width} in row", line)
            continue
        name = cells[at_path] if isinstance(cells[at_path], str) else as_text(cells[at_path])
        cell = cells[at_label]
        names = _labels(cell)
        if not name:
            problems.add("no path in row", line)
            continue
        if names == [""] and not isinstance(cell, list):
            unlabelled.append(line)
        elif len(names) != 1 or isinstance(cell, list):
            several = True
            if not all(names) or len(set(names)) != len(names):
                problems.add("no label, or the same label twice, in row", line)
                continue
        label, *more = names or [""]
        place = _clip_path(root, name, files_in, inside)
        if place is None:
            problems.add("a path outside the folder (allowed if you name the table itself) in row", f"{line} ({name})")
            continue
        start_s, end_s = _span(cells, at_start, at_end, line, problems) if spans else (None, None)
        group = as_text(cells[at_group]) if at_group >= 0 else ""
        fold = as_text(cells[at_fold]) if at_fold >= 0 else ""
        fold = normalise_part(fold) if fold.isalpha() else fold
        tags = {tag: as_text(cells[column]) for tag, column in tags_at} if tags_at else NO_TAGS
        label, group, fold = shared(label, label), shared(group, group), shared(fold, fold)
        clips.append(Clip(place, label, group, fold, start_s, end_s, tags, tuple(more)))  # type: ignore[arg-type]
    for line in () if several else unlabelled:
        problems.add("no label in row", line)
    return clips


def _prefix(root: Path) -> str:
    """``root`` as the prefix of a path; "" for the current folder."""
    return "" if str(root) == "." else f"{root}/".replace("//", "/")


def _clip_path(root: str, name: str, files_in: Callable[[str], Collection[str]], inside: bool) -> str | None:
    """The normalised path of a recording, as text; None where it leads out of the folder although ``inside`` is set.
    root: of ``_prefix``."""
    if "\\" in name:
        head, sign, last = (root + name).rpartition("/")
        if last not in files_in(head + sign):  # except on Windows, a file name may contain a backslash
            name = name.replace("\\", "/")
    if ".." in name or "//" in name or "/./" in name or name.startswith("./"):
        name = os.path.normpath(name).replace(os.sep, "/")
    if name.startswith("/") or (name[1:2] == ":" and os.path.isabs(name)):  # noqa: PTH117
        return None if inside and not name.startswith(os.path.abspath(root or ".") + "/") else name  # noqa: PTH100
    if name == ".." or name.startswith("../"):
        if inside:
            return None
        # realpath: .. may lead through a symbolic link
        return os.path.normpath(f"{os.path.realpath(root or '.')}/{name}").replace(os.sep, "/")
    return root + name


def _files_in(folder: str) -> set[str]:
    """Names of files in a folder; empty where there is no such folder."""
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
    except (OSError, ValueError):  # ValueError: a zero byte, which JSON can write
        return set()


def _span_key(clip: Clip) -> tuple[Path, float, float]:
    """What identifies a span; also the sort key of clips, while their paths are strings."""
    return clip.path, clip.start_s or 0.0, math.inf if clip.end_s is None else clip.end_s


def _span(
    cells: Sequence[Any], at_start: int, at_end: int, line: int, problems: _Problems
) -> tuple[float | None, float | None]:
    edges: list[float | None] = [None, None]
    for n, place in enumerate((at_start, at_end)):
        if place >= 0 and (text := as_text(cells[place])):
            try:
                edges[n] = float(text)
            except ValueError:
                problems.add("start or end that is not a number of seconds in row", f"{line} ({text})")
    start_s, end_s = edges
    if not all(edge is None or (math.isfinite(edge) and edge >= 0) for edge in edges) or (
        end_s is not None and end_s <= (start_s or 0.0)
    ):
        problems.add(
            "a span that ends before it starts, or has a negative or infinite time, in row",
            f"{line} ({start_s} to {end_s})",
        )
    return start_s, end_s


def _check_files(root: Path, clips: list[Clip], problems: _Problems) -> None:
    """Report missing files. Each folder is listed once: a million calls of stat would take minutes on a slow disk.

    In sorted paths everything below a folder is contiguous, so only the folders around the current one are kept.
    """
    around: list[tuple[str, set[str]]] = []
    last = None
    for clip in clips:
        place = str(clip.path)
        if place == last:
            continue
        last = place
        head, sign, name = place.rpartition("/")
        folder = head + sign
        while around and not folder.startswith(around[-1][0]):
            around.pop()
        if not around or around[-1][0] != folder:
            around.append((folder, _files_in(folder)))
        if name not in around[-1][1]:
            problems.add("no such file:", place.removeprefix(_prefix(root)))


def _check_repeats(clips: list[Clip], problems: _Problems) -> None:
    for one, two in pairwise(clips):
        if one.path == two.path and _span_key(one) == _span_key(two):
            if set(one.labels) == set(two.labels):
                problems.add("the same clip twice:", two.name)
            else:
                told = f"{two.name} as {one.label_text} and as {two.label_text}"
                problems.add("the same clip twice, with contradicting labels:", told)


def _check_open_spans(clips: list[Clip], problems: _Problems) -> None:
    """Report spans with one missing edge that would cover other spans: an empty cell is probably forgotten."""
    for before, clip, after in zip([None, *clips], clips, [*clips[1:], None], strict=False):
        if (clip.start_s is None) == (clip.end_s is None):
            continue
        place, start_s, end_s = _span_key(clip)
        # Clips are sorted by start and end, so one that begins within this one is next to it.
        beside = [_span_key(one) for one in (before, after) if one is not None and one.path == place]
        if any(start_s <= first_s < end_s and (first_s, last_s) != (start_s, end_s) for _, first_s, last_s in beside):
            edge = "start" if clip.start_s is None else "end"
            problems.add(f"no {edge}, so that the span would contain other spans of the recording:", clip.name)


def _check_folds(clips: list[Clip], problems: _Problems) -> None:
    if any(clip.fold for clip in clips):
        for clip in clips:
            if not clip.fold:
                problems.add("no fold, although other clips have one:", clip.name)
