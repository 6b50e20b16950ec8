"""Rows of answers or events → text and tables for other programs."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earsight import extras
from earsight.errors import SettingsError
from earsight.files import csv_line, open_atomic

Cells = Mapping[str, Any]
"""``Row.to_dict()`` or ``EventRow.to_dict()``."""

_PARQUET_ROWS = 4096


@dataclass(frozen=True)
class FormatContext:
    """What formats need besides the rows. labels: of the model. low_hz, high_hz: its frequency range. events: rows are
    events, which have one probability each."""

    labels: tuple[str, ...]
    low_hz: float
    high_hz: float
    events: bool


@dataclass(frozen=True)
class Format:
    """name: for --format. suffix: of its files. lines: rows → lines of text; None for a binary format. events: for
    events only. alone: one recording a file."""

    name: str
    suffix: str
    lines: Callable[[Iterable[Cells], FormatContext], Iterator[str]] | None
    events: bool = False
    alone: bool = False


def _json_lines(rows: Iterable[Cells], facts: FormatContext) -> Iterator[str]:
    return map(json_line, rows)


def json_line(value: Any) -> str:
    """``value`` as JSON; with escapes where it holds a file name that is not UTF-8."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _csv(rows: Iterable[Cells], facts: FormatContext) -> Iterator[str]:
    names = list(_flat_names(facts))
    yield csv_line(names)
    for row in rows:
        flat = _flat(row, facts)
        yield csv_line(["" if flat[name] is None else flat[name] for name in names])


def _flat_names(facts: FormatContext) -> Iterator[str]:
    yield from ("path", "start_s", "end_s", "label", "probability", "unknown", "error")
    if not facts.events:
        yield from (f"prob:{label}" for label in facts.labels)


def _flat(row: Cells, facts: FormatContext) -> dict[str, Any]:
    """A row as columns. label: several are joined by ``;``. error: also of a truncated recording."""
    shares = row.get("probabilities") or {}
    several = row.get("labels")
    label = row.get("label") if several is None else ";".join(several)
    said = row.get("likeliest", row.get("label"))
    flat = {
        "path": row["path"],
        "start_s": row.get("start_s"),
        "end_s": row.get("end_s"),
        "label": label,
        "probability": row.get("probability", shares.get(said) if several is None else None),
        "unknown": bool(row.get("unknown")),
        "error": row.get("error", row.get("truncated")),
    }
    return flat | {f"prob:{name}": shares.get(name) for name in facts.labels}


def _audacity(rows: Iterable[Cells], facts: FormatContext) -> Iterator[str]:
    """Audacity's labels: start, end and text between tabs."""
    for row in _events(rows):
        yield f"{row['start_s']:.6f}\t{row['end_s']:.6f}\t{_line_of(row['label'])} {row['probability']:.2f}"


def _rttm(rows: Iterable[Cells], facts: FormatContext) -> Iterator[str]:
    """Rich Transcription Time Marked, as NIST defined it: ten fields without spaces inside. A recording goes by
    its name without folder and suffix, or by its path where two have one name."""
    path_of: dict[str, str] = {}
    for row in _events(rows):
        name, label = ("_".join(text.split()) or "_" for text in (Path(row["path"]).stem, row["label"]))
        if path_of.setdefault(name, row["path"]) != row["path"]:
            name = "_".join(row["path"].replace("/", " ").replace("\\", " ").split())
        lasts_s = row["end_s"] - row["start_s"]
        yield f"SPEAKER {name} 1 {row['start_s']:.3f} {lasts_s:.3f} <NA> <NA> {label} {row['probability']:.4f} <NA>"


def _raven(rows: Iterable[Cells], facts: FormatContext) -> Iterator[str]:
    """A selection table of Raven."""
    yield "\t".join(
        (
            *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
            *("Begin Path", "File Offset (s)", "Label", "Probability"),
        )
    )
    for number, row in enumerate(_events(rows), 1):
        start, end = f"{row['start_s']:.6f}", f"{row['end_s']:.6f}"
        yield "\t".join(
            (
                *(str(number), "Spectrogram 1", "1", start, end, f"{facts.low_hz:.1f}", f"{facts.high_hz:.1f}"),
                *(_line_of(row["path"]), start, _line_of(row["label"]), f"{row['probability']:.4f}"),
            )
        )


def _events(rows: Iterable[Cells]) -> Iterator[Cells]:
    """Rows without errors, for which these formats have no column."""
    return (row for row in rows if "error" not in row)


def _line_of(text: str) -> str:
    return " ".join(text.split())


FORMATS = {
    one.name: one
    for one in (
        Format("jsonl", ".jsonl", _json_lines),
        Format("csv", ".csv", _csv),
        Format("parquet", ".parquet", None),
        Format("audacity", ".txt", _audacity, events=True, alone=True),
        Format("rttm", ".rttm", _rttm, events=True),
        Format("raven", ".selections.txt", _raven, events=True),
    )
}


def find_format(name: str | None, out: Path | None) -> Format:
    """The format by its name, else by the suffix of ``out``, else JSON Lines. Raises SettingsError."""
    if name is not None:
        return FORMATS[name]
    if out is None or out.is_dir():
        return FORMATS["jsonl"]
    fitting = [one for one in FORMATS.values() if out.name.lower().endswith(one.suffix)]
    if not fitting:
        raise SettingsError(f"the ending of --out {out} is of no known format; pass --format {'|'.join(FORMATS)}")
    return max(fitting, key=lambda one: len(one.suffix))


def other_suffix(name: str, out: Path) -> str:
    """The ending of ``out`` where it is that of another format than ``name``; "" where it is not."""
    endings = {one.suffix: one.name for one in FORMATS.values() if out.name.lower().endswith(one.suffix)}
    return "" if name in endings.values() else max(endings, key=len, default="")


def write_rows(path: Path, rows: Iterable[Cells], wanted: Format, facts: FormatContext) -> None:
    """Write atomically and row by row. Raises OSError."""
    with open_atomic(path) as file:
        if wanted.lines is None:
            _write_parquet(file, rows, facts)
            return
        for line in wanted.lines(rows, facts):
            file.write(f"{line}\n".encode(errors="surrogateescape"))


def _write_parquet(file: io.BufferedWriter, rows: Iterable[Cells], facts: FormatContext) -> None:
    arrow, parquet = extras.require("pyarrow"), extras.require("pyarrow.parquet")
    kinds = {"start_s": arrow.float64(), "end_s": arrow.float64(), "probability": arrow.float64()}
    kinds |= {"unknown": arrow.bool_()} | {f"prob:{label}": arrow.float64() for label in facts.labels}
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in _flat_names(facts)])
    with parquet.ParquetWriter(file, schema) as writer:
        part: list[dict[str, Any]] = []
        for row in rows:
            flat = _flat(row, facts)
            part.append({name: _as_utf8(flat[name]) for name in schema.names})
            if len(part) == _PARQUET_ROWS:
                writer.write_table(arrow.Table.from_pylist(part, schema))
                part = []
        if part:
            writer.write_table(arrow.Table.from_pylist(part, schema))


def _as_utf8(cell: Any) -> Any:
    """Text with escapes in place of bytes that are not UTF-8, as file names may have them."""
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
