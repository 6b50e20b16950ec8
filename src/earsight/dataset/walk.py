"""The recordings below a folder, as plain strings: a path object a file would cost seconds in a large data set."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from earsight.audio.decode import SUFFIXES
from earsight.dataset.clip import Failure
from earsight.errors import DataError

Advance = Callable[[int, int], None]
"""What long work calls, where it is given: (done, all)."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""File name endings (lower case) that are taken for archives."""
_UNREAD = frozenset({".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".mka", ".ape", ".wv", ".dsf"})


@dataclass(frozen=True)
class Listing:
    """place: what the user gave. root: the folder where the files lie. names: of the recordings below root, with
    ``/`` between their parts, sorted. archives: likewise, the archives beside them. left_out: what holds sound and is
    not read."""

    place: Path
    root: Path
    names: tuple[str, ...]
    archives: tuple[str, ...] = ()
    left_out: tuple[Failure, ...] = ()

    def path(self, name: str) -> Path:
        return Path(f"{self._root}/{name}")

    @cached_property
    def _root(self) -> str:
        return str(self.root)


def cache_folder() -> Path:
    """``$EARSIGHT_HOME``, or ``earsight`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("EARSIGHT_HOME") or Path(base) / "earsight")


def store_folder() -> Path:
    """Where decoded recordings are kept."""
    return cache_folder() / "store"


def is_recording(name: str) -> bool:
    """Whether a file name has the ending of a recording, and is not hidden."""
    _, dot, ending = name.rpartition(".")
    return not name.startswith(".") and bool(dot) and f".{ending.lower()}" in SUFFIXES


def is_archive(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(ARCHIVES)


def walk(place: Path, root: Path | None = None) -> Listing:
    """List ``root`` (or ``place`` itself). Links to folders are followed, each folder once; hidden files are not
    listed. Raises DataError where the root can't be read."""
    top = str(root or place)
    left_out: list[Failure] = []

    def unreadable(error: OSError) -> None:
        if str(error.filename) == top:
            raise DataError(f"can't read {top} ({error.strerror}); mend its permissions") from error
        left_out.append(Failure(Path(error.filename), f"a folder that can't be read ({error.strerror})"))

    names: list[str] = []
    archives: list[str] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(top, onerror=unreadable, followlinks=True):
        stat = os.stat(parent)  # noqa: PTH116
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()  # of two links to one folder the same one is taken on every machine
        inside = parent[len(top) :].lstrip(os.sep).replace(os.sep, "/")
        prefix = f"{inside}/" if inside else ""
        names += [prefix + name for name in files if is_recording(name)]
        archives += [prefix + name for name in files if is_archive(name)]
        left_out += [Failure(Path(parent, name), reason) for name in files if (reason := _unread(name))]
    if names:
        packed = "an archive among the recordings; unpack it"
        left_out += [Failure(Path(top, name), packed) for name in archives]
    left_out.sort(key=lambda failure: str(failure.path))
    return Listing(place, Path(top), tuple(sorted(names)), tuple(sorted(archives)), tuple(left_out))


def _unread(name: str) -> str:
    """Why a file of sound is not read; "" for any other."""
    ending = name[name.rfind(".") :].lower()
    return f"{ending} is not read; convert it to wav or flac" if ending in _UNREAD and name[0] != "." else ""
