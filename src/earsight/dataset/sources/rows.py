"""A table file (CSV, TSV, JSON Lines, Parquet) → column names and rows. table.py knows what the columns mean."""

import csv
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from earsight.errors import DataError, first_line
from earsight.extras import require

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

_JSON_ROW = '{"path": "a.wav", "label": "dog"}'
_JSON_KEY = re.compile(r"""["'](\w+)["']\s*:""")
_CSV_SIGN = re.compile(r"[,;\t]")

Row = tuple[int, Sequence[Any]]  # line as an editor counts it (or row of a Parquet file), cells


def is_table(name: str) -> bool:
    """Whether a file name has the suffix of a table."""
    return name.lower().endswith(SUFFIXES)


def find_table(root: Path, place: Path, *, asked: bool) -> Path | None:
    """The table of a folder: the only one with the columns path and label at its top or, without tables there, in its
    only subfolder; None where there is none. place: the folder for messages. asked: there must be one. Raises
    DataError."""
    tables, folders = _tables_in(root)
    if not tables and len(folders) == 1:
        tables, _ = _tables_in(folders[0])
    good = [table for table in tables if _has_clips(table)]
    if not good and asked:
        good = tables
        if not tables:
            raise DataError(f"no table at the top of {place}; its name must end in {', '.join(SUFFIXES)}")
    if len(good) > 1:
        names = ", ".join(table.name for table in good[:10]) + (" …" if len(good) > 10 else "")
        raise DataError(f"{len(good)} tables in {place}: {names}; give one of them, or pass --source folder")
    return good[0] if good else None


def _tables_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Tables and subfolders, sorted, without hidden ones; empty where the folder can't be read."""
    tables, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if is_table(entry.name) and entry.is_file():
                    tables.append(Path(entry.path))
                elif entry.is_dir():
                    folders.append(Path(entry.path))
    except OSError:
        pass
    return sorted(tables), sorted(folders)


def as_text(cell: Any) -> str:
    """A cell of any type as text: null and NaN are "", 3.0 is "3", bytes are decoded as UTF-8."""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bytes):
        return cell.decode(errors="surrogateescape").strip()
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _has_clips(table: Path) -> bool:
    """Whether it has the columns path and label, by its first line alone; other faults are reported when it is read.
    Raises MissingExtraError."""
    if table.suffix.lower() == ".parquet":
        parquet, arrow = require("pyarrow.parquet"), require("pyarrow")
        try:
            names = [str(name) for name in parquet.read_schema(table).names]
        except (arrow.ArrowException, OSError):
            return False
    else:
        try:
            with table.open(encoding="utf-8-sig", errors="replace") as file:
                line = next((line for line in file if line.strip()), "")
        except OSError:
            return False
        names = _JSON_KEY.findall(line) if line.startswith("{") else _CSV_SIGN.split(line)
    return {"path", "label"} <= {name.strip(' "\r\n').lower() for name in names}


def open_table(path: Path) -> tuple[list[str], Iterator[Row]]:
    """Column names and rows."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(path)
    lines = _lines(path)
    if suffix in {".jsonl", ".ndjson"}:
        return _open_json(path, lines)
    first = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if suffix == ".tsv" else ","
    if delimiter not in first:
        other = next(
            (name for sign, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")) if sign in first), ""
        )
        if other:
            expected = "tabs" if suffix == ".tsv" else "commas"
            raise DataError(
                f"{path} has {other} between its columns, but {expected} are expected; save it with {expected}"
            )
    if not first.strip():
        raise DataError(f"{path} is empty; a table has a first line with its columns: path,label")
    rows = _csv_rows(path, chain([first], lines), delimiter)
    _, header = next(rows)
    return list(header), rows


def _lines(path: Path) -> Iterator[str]:
    """Raises DataError at bytes that are not UTF-8 or are zero."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise DataError(
                        f"{path}, line {number}: a zero byte; this is not text, or UTF-16: save it as UTF-8"
                    )
                yield line
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({_first_bad_byte(path)}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error


def _first_bad_byte(path: Path) -> str:
    """Text is decoded in blocks, so the error has the position within its block only."""
    data = path.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"line {data.count(10, 0, error.start) + 1}, byte {error.start}: {error.reason}"
    return "changed while it was read"


def _csv_rows(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {max(reader.line_num, 1)}: {error}; fix the line") from error


def _open_json(path: Path, lines: Iterator[str]) -> tuple[list[str], Iterator[Row]]:
    rows: list[tuple[int, tuple[Any, ...]]] = []
    header: dict[str, None] = {}  # keys of all rows so far: earlier rows may lack some
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
            if "\\ud" in line.lower():  # a lone surrogate, which no output could be written with
                json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not JSON ({error}); fix it") from error
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} is not an object; each line must be as {_JSON_ROW}")
        header.update(dict.fromkeys(row))
        rows.append((number, tuple(map(row.get, header))))
    if not rows:
        raise DataError(f"{path} is empty; each line must be as {_JSON_ROW}")
    width = len(header)
    return list(header), ((number, cells + (None,) * (width - len(cells))) for number, cells in rows)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise DataError(f"it has {twice!r} twice; leave one")
    return found


def _open_parquet(path: Path) -> tuple[list[str], Iterator[Row]]:
    parquet, arrow = require("pyarrow.parquet"), require("pyarrow")
    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"can't read {path} as Parquet: {first_line(error)}") from error

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in file.iter_batches():
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, cells
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"can't read {path} as Parquet after row {number}: {first_line(error)}") from error

    return names, rows()
