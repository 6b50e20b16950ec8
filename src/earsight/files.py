"""Atomic writes, locks, and sizes and removal of folders. Free of torch."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from earsight.errors import SettingsError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file atomically: after a crash, and for any reader, it has either its old or its new content.

    Raises OSError with the name of the file, and leaves no temporary file behind.
    """
    # surrogateescape: a file name that is not UTF-8 is written as the bytes that it is
    with open_atomic(path) as file:
        file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)


@contextmanager
def open_atomic(path: Path) -> Iterator[io.BufferedWriter]:
    """As ``write_atomic``, for writing in pieces. The old file stays where the block raises."""
    work = temporary_path(path)
    try:
        with work.open("wb") as file:
            yield file
            if not file.closed:  # a writer of tables may close it
                file.flush()
                os.fsync(file.fileno())
        work.replace(path)
    except OSError as error:  # without a file name where the disk is full
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            work.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """As ``write_atomic``."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read what ``write_json`` wrote. Raises OSError, and ValueError or RecursionError where it is damaged."""
    return json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))


def csv_line(cells: Iterable[object]) -> str:
    """A CSV row, without its newline, that reads back as the same cells."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # with \r\n, cells with either character are quoted
    return text.getvalue().removesuffix("\r\n")


def check_output_path(place: Path, *, overwrite: bool, folder: bool = False) -> None:
    """Raise SettingsError where a command must not write to the file ``place``. folder: ``place`` may be a folder."""
    if place.is_dir() and not folder:
        raise SettingsError(f"{place} is a folder; name a file")
    if place.exists() and not overwrite:
        raise SettingsError(f"{place} exists; pass --overwrite, or another --out")
    if not place.absolute().parent.is_dir():
        raise SettingsError(f"no folder {place.parent} for {place.name}; create it, or pass another --out")


def check_new_folder(place: Path) -> None:
    """Raise SettingsError where ``place`` is neither new nor an empty folder."""
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise SettingsError(f"--out {place} is not empty; name a new folder")


@contextmanager
def locked(opened: int | IO[bytes], refusal: str) -> Iterator[None]:
    """Lock an open file or folder for this process. Raises SettingsError with the message ``refusal`` where another
    process has the lock. Does nothing on systems and file systems without locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingsError(refusal) from error
    except OSError:
        yield  # a file system without locks
        return
    try:
        yield
    finally:
        fcntl.flock(opened, fcntl.LOCK_UN)


@contextmanager
def locked_folder(folder: Path, refusal: str) -> Iterator[None]:
    """As ``locked``, for an existing folder."""
    if os.name != "posix":  # only there a folder can be opened
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        with locked(opened, refusal):
            yield
    finally:
        os.close(opened)


def temporary_path(path: Path) -> Path:
    """The file that ``write_atomic`` writes to before it is renamed."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def leftover_files(folder: Path, *, below: bool = False) -> list[Path]:
    """Temporary files that killed processes left in ``folder``; below: and in its subfolders."""
    return [path for path in folder.glob("**/.*.part" if below else ".*.part") if path.is_file()]


def folder_bytes(root: Path) -> int:
    """Total size of the files below ``root``; 0 where it does not exist."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) if root.is_dir() else 0


def remove_folder(root: Path) -> None:
    """Remove a folder as far as possible, without errors."""
    shutil.rmtree(root, ignore_errors=True)
