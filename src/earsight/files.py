"""Files that are written whole or not at all, and folders measured and removed. Free of torch."""

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
    """Write a file so that a reader, or the next start after a crash, finds the old or the new, never half of it.

    Raises OSError with the name of the file, and leaves nothing beside it.
    """
    # surrogateescape: a file name that is not UTF-8 is written as the bytes that it is
    with open_atomic(path) as file:
        file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)


@contextmanager
def open_atomic(path: Path) -> Iterator[io.BufferedWriter]:
    """As ``write_atomic``, for what is written piece by piece; where the block ends by an error, the old file stays."""
    work = temporary_path(path)
    try:
        with work.open("wb") as file:
            yield file
            if not file.closed:  # a writer of tables may close it
                file.flush()
                os.fsync(file.fileno())
        work.replace(path)
    except OSError as error:  # of a full disk it does not know the file
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
    """What ``write_json`` wrote. Raises OSError, and ValueError or RecursionError where it is damaged."""
    return json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))


def csv_line(cells: Iterable[object]) -> str:
    """A row of a table from which a reader gets the same cells, without the newline after it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # it quotes what may end a line, and this alone tells it
    return text.getvalue().removesuffix("\r\n")


def check_output_path(place: Path, *, overwrite: bool, folder: bool = False) -> None:
    """Raise SettingsError where a command may not write the file ``place``, or the folder."""
    if place.is_dir() and not folder:
        raise SettingsError(f"{place} is a folder; name a file")
    if place.exists() and not overwrite:
        raise SettingsError(f"{place} exists; pass --overwrite, or another --out")
    if not place.absolute().parent.is_dir():
        raise SettingsError(f"no folder {place.parent} for {place.name}; make it, or name another --out")


@contextmanager
def locked(opened: int | IO[bytes], refusal: str) -> Iterator[None]:
    """Hold an open file or folder, so that no other process holds it. Raises SettingsError with ``refusal`` where one
    does. A system or file system without locks is not asked."""
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
    """As ``locked``, for a folder that is there."""
    if os.name != "posix":  # elsewhere a folder can't be opened
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        with locked(opened, refusal):
            yield
    finally:
        os.close(opened)


def temporary_path(path: Path) -> Path:
    """What ``write_atomic`` writes before it has its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def leftover_files(folder: Path, *, below: bool = False) -> list[Path]:
    """What a process that was killed left half written in ``folder``; below: and in the folders in it."""
    return [path for path in folder.glob("**/.*.part" if below else ".*.part") if path.is_file()]


def folder_bytes(root: Path) -> int:
    """Of all files below ``root``; 0 where it is not there."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) if root.is_dir() else 0


def remove_folder(root: Path) -> None:
    """What can't be removed stays, and so does a folder around it."""
    shutil.rmtree(root, ignore_errors=True)
