"""Files, folders, patterns, tables, addresses and standard input → recordings to answer."""

import glob
import importlib.util
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from earsight import extras
from earsight.audio.decode import suffix_list
from earsight.audio.truncation import MonitoredFile
from earsight.dataset.sources.rows import as_text, is_table, open_table
from earsight.dataset.walk import is_recording, walk
from earsight.errors import DataError, DecodeError, first_line

STANDARD_INPUT = "-"
_SCHEMES = frozenset({"http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss"})
"""Schemes of addresses that are allowed in tables: these may be untrusted, and fsspec opens anything (chains with
``::``, local files, references whose templates it evaluates)."""
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
"""The package that fsspec needs for each scheme."""


@dataclass(frozen=True)
class Recording:
    """name: a path, an address with ``://``, or "-" for standard input. start_s, end_s: a span of it, in seconds; None:
    to its end."""

    name: str
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def path(self) -> str | Path:
        """The path as rows show it; an address or "-" stays a string."""
        return self.name if self.remote or self.name == STANDARD_INPUT else Path(self.name)

    @property
    def remote(self) -> bool:
        return "://" in self.name

    @property
    def span(self) -> tuple[float | None, float | None]:
        """(start, end) of a span; (None, None) for a whole recording."""
        return (None, None) if self.end_s is None and not self.start_s else (self.start_s, self.end_s)

    @contextmanager
    def opened(self) -> Iterator[str | bytes | IO[bytes]]:
        """A source for the decoder. Raises DecodeError."""
        if self.name == STANDARD_INPUT:
            yield sys.stdin.buffer.read()
        elif self.remote:
            with ExitStack() as stack:
                try:
                    file = stack.enter_context(extras.require("fsspec").open(self.name, "rb"))
                except Exception as error:  # fsspec's file systems have errors of their own
                    raise DecodeError(f"can't fetch {self.name}: {_reason(error, self.name)}") from error
                yield cast(IO[bytes], MonitoredFile(file, self.name))
        else:
            yield self.name


def list_recordings(sources: str | Path | Iterable[str | Path]) -> list[Recording]:
    """One source, or several: files as given; folders walked for sound files in sorted order; patterns with ``*``,
    ``?`` or ``[`` where no file is called so; the rows of tables with a column path and, perhaps, start and end in
    seconds; addresses that fsspec knows (``s3://…``, ``https://…``); "-": one recording from standard input. Duplicates
    are removed.

    A file that does not exist is listed, and fails when it is read. Raises DataError where nothing is found.
    """
    found: dict[Any, Recording] = {}
    alone = isinstance(sources, str | Path | bytes | bytearray | memoryview) or hasattr(sources, "read")
    sources = [cast(str, sources)] if alone or not isinstance(sources, Iterable) else list(sources)
    if strange := [source for source in sources if not isinstance(source, str | Path)]:
        raise DataError(
            f"{type(strange[0]).__name__} is not the name of a recording; pass paths here; bytes, files and samples go "
            "to predict_many of a model"
        )
    for source in map(str, sources):
        for one in _expand(source, alone=len(sources) == 1):
            # ./a.wav is a.wav; but .. may lead through a symbolic link
            plain = one.remote or one.name == STANDARD_INPUT or ".." in Path(one.name).parts
            name = one.name if plain else os.path.abspath(one.name)  # noqa: PTH100 — Path.resolve follows links
            found.setdefault((name, one.start_s, one.end_s), one)
    if not found:
        raise DataError("no recordings given; name files or folders")
    return list(found.values())


def _expand(source: str, alone: bool) -> Iterator[Recording]:
    path = Path(source)
    if source == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise DataError('"-" is standard input, and nothing is piped into it; name a file')
        yield Recording(source)
    elif "://" in source:
        yield from _expand_remote(source)
    elif path.is_dir():
        listing = walk(path)
        if not listing.names and alone:
            raise DataError(f"no recordings in {source}; looked for {suffix_list()}")
        unread = [
            str(failure.path) for failure in listing.left_out
        ]  # unreadable files and an empty folder become rows that fail
        names = [*(str(listing.path(name)) for name in listing.names), *unread] or [source]
        yield from map(Recording, names)
    elif is_table(source) and path.is_file():
        yield from _table_recordings(path)
    elif glob.has_magic(source) and not path.exists():
        names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 — Path.glob takes no absolute pattern
        if not names:
            raise DataError(f"no file matches {source}; name files or folders")
        for name in names:
            if Path(name).is_file() or Path(name).is_dir():
                yield from _expand(name, alone=False)
    else:
        yield Recording(source)


def _expand_remote(address: str) -> Iterator[Recording]:
    """The recording at an address, or all that match it where it is a pattern or ends with a slash."""
    extras.check("fsspec")
    if not (glob.has_magic(address) or address.endswith("/")):
        yield Recording(address)
        return
    fsspec = extras.require("fsspec")
    try:
        system, path = fsspec.core.url_to_fs(address)
        names = system.glob(path) if glob.has_magic(address) else system.find(path)
    except Exception as error:  # as above
        raise DataError(f"can't list {address}: {_reason(error, address)}") from error
    names = sorted(name for name in names if is_recording(str(name).rpartition("/")[2]))
    if not names:
        raise DataError(f"no recordings in {address}; looked for {suffix_list()}")
    yield from (Recording(str(system.unstrip_protocol(name))) for name in names)


def _reason(error: BaseException, address: str) -> str:
    """How to install a missing package, else the message of fsspec's error, or of its cause where the message is just
    the address."""
    package = _PACKAGES.get(address.partition("://")[0].lower(), "")
    if package and isinstance(error, ImportError | ValueError) and importlib.util.find_spec(package) is None:
        return extras.install_hint(package)
    while first_line(error) == address and error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _table_recordings(table: Path) -> Iterator[Recording]:
    header, rows = open_table(table)
    columns = {str(name).strip().lower(): place for place, name in enumerate(header)}
    if "path" not in columns:
        raise DataError(f"no column 'path' in {table}; its columns: {', '.join(map(str, header))}")
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{table}, line {line}: {len(cells)} cells for {len(header)} columns; fix the line")
        name = as_text(cells[columns["path"]])
        if not name:
            raise DataError(f"{table}, line {line}: no path; fill it in, or leave the line out")
        start_s = _seconds(cells, columns.get("start"), table, line) or 0.0
        end_s = _seconds(cells, columns.get("end"), table, line)
        if end_s is not None and end_s <= start_s:
            raise DataError(f"{table}, line {line}: a span from {start_s:g} to {end_s:g} s; end must be after start")
        if (
            "\\" in name and not (table.parent / name).exists()
        ):  # a Windows path; elsewhere a file name may contain a backslash
            name = name.replace("\\", "/")
        if "://" in name and ("::" in name or name.partition("://")[0].lower() not in _SCHEMES):
            raise DataError(
                f"{table}, line {line}: an address in a table begins with one of {', '.join(sorted(_SCHEMES))}, and is "
                f"no chain (::), got {name}; name it on the command line, if you trust it"
            )
        yield Recording(name if "://" in name else str(table.parent / name), start_s, end_s)


def _seconds(cells: Sequence[Any], place: int | None, table: Path, line: int) -> float | None:
    text = "" if place is None else as_text(cells[place])
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{table}, line {line}: {text!r} is not a number of seconds; fix the line")
    return seconds
