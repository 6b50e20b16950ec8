"""Files that are written whole or not at all. Free of torch."""

import os
from contextlib import suppress
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


def part_of(path: Path) -> Path:
    """What ``write_whole`` writes before it has its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
