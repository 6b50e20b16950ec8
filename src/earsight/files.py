"""Files that are written whole or not at all, and folders measured and removed. Free of torch."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or the next start after a crash, finds the old or the new, never half of it.

    Raises OSError with the name of the file, and leaves nothing beside it.
    """
    work = part_of(path)
    # surrogateescape: a file name that is not UTF-8 is written as the bytes that it is
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    try:
        with work.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        work.replace(path)
    except OSError as error:  # of a full disk it does not know the file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            work.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[io.BufferedWriter]:
    """As ``write_whole``, for what is written piece by piece; where the block ends by an error, the old file stays."""
    work = part_of(path)
    try:
        with work.open("wb") as file:
            yield file
            if not file.closed:  # a writer of tables may close it
                file.flush()
                os.fsync(file.fileno())
        work.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            work.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """What ``write_whole`` writes before it has its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def folder_bytes(root: Path) -> int:
    """Of all files below ``root``; 0 where it is not there."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) if root.is_dir() else 0


def remove_folder(root: Path) -> None:
    """What can't be removed stays, and so does a folder around it."""
    shutil.rmtree(root, ignore_errors=True)
