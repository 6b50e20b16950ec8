"""The recordings below a folder, as strings: a Path for each file would cost seconds in a large data set."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from earsight.audio import containers
from earsight.audio.decode import suffixes
from earsight.dataset.clip import Failure
from earsight.errors import DataError, SettingsError

ProgressCallback = Callable[[int, int], None]
"""Called with (done, all) while long work goes on."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""File name endings (lower case) that are taken for archives."""
_UNSUPPORTED = re.compile(
    r"\.(aifc|dff|dsf|flv|gsm|mpc|nist|pcm|ra|rm|shn|snd|sph|spx|voc)",
)
_UNSUPPORTED_ARCHIVES = frozenset({".7z", ".rar", ".zst"})


@dataclass(frozen=True)
class Listing:
    """place: as the user gave it. root: the folder of the files. names: of the recordings, relative to root, with ``/``
    between their parts, sorted. archives: likewise, of archives. left_out: folders that can't be read, and files that
    may hold sound but are not read. empty_folders: folders with neither
    recordings nor folders in them, sorted."""

    place: Path
    root: Path
    names: tuple[str, ...]
    archives: tuple[str, ...] = ()
    left_out: tuple[Failure, ...] = ()
    empty_folders: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        return Path(f"{self._root}/{name}")

    @cached_property
    def _root(self) -> str:
        return str(self.root)


def cache_folder() -> Path:
    """``$EARSIGHT_HOME``, or ``earsight`` in the user's cache folder. Raises SettingsError where that is a file."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("EARSIGHT_HOME") or Path(base) / "earsight").expanduser()
    if folder.is_file():
        raise SettingsError(f"the cache folder {folder} is a file; set EARSIGHT_HOME to a folder")
    return folder


def store_folder() -> Path:
    """Where decoded recordings are kept."""
    return cache_folder() / "store"


def is_hidden(part: str) -> bool:
    """Whether a file or folder of this name is of a tool and not of the data (.git, .Trash, __MACOSX)."""
    return part.startswith(".") or part == "__MACOSX"


def is_recording(name: str) -> bool:
    """Whether a file name has a supported suffix and is not hidden."""
    _, dot, ending = name.rpartition(".")
    return not name.startswith(".") and bool(dot) and f".{ending.lower()}" in suffixes()


def is_archive(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(ARCHIVES)


def unsupported_reason(name: str) -> str:
    """Why a file that may hold sound is not read, and what to do; "" for a file that is read or holds none."""
    if name.startswith("."):
        return ""
    ending = name[name.rfind(".") :].lower()
    if ending in containers.SUFFIXES and not containers.can_read():
        return f"{ending} is read by PyAV; pip install 'earsight[av]', or convert it to wav or flac"
    if _UNSUPPORTED.fullmatch(ending):
        return f"{ending} is not read; convert it to wav or flac"
    return "an archive among the recordings; unpack it" if ending in _UNSUPPORTED_ARCHIVES or is_archive(name) else ""


def walk(place: Path, root: Path | None = None) -> Listing:
    """List ``root`` (or ``place`` itself). Links to folders are followed, each folder once; hidden files and folders
    below it are not listed. Raises DataError where the root can't be read."""
    top = str(root or place)
    left_out: list[Failure] = []

    def unreadable(error: OSError) -> None:
        if str(error.filename) == top:
            raise DataError(f"can't read {top} ({error.strerror}); fix its permissions") from error
        left_out.append(Failure(Path(error.filename or top), f"a folder that can't be read ({error.strerror})"))

    names: list[str] = []
    archives: list[str] = []
    empty_folders: list[str] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(top, onerror=unreadable, followlinks=True):
        stat = os.stat(parent)  # noqa: PTH116
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        # Sorted: of two links to one folder the same one is taken on every machine.
        folders[:] = sorted(folder for folder in folders if not is_hidden(folder))
        inside = parent[len(top) :].lstrip(os.sep).replace(os.sep, "/")
        prefix = f"{inside}/" if inside else ""
        if inside and not folders and not any(map(is_recording, files)):
            empty_folders.append(inside)
        for name in files:
            if is_recording(name):
                names.append(prefix + name)
            elif is_archive(name):
                archives.append(prefix + name)
            elif reason := unsupported_reason(name):
                left_out.append(Failure(Path(parent, name), reason))
    if names:
        left_out += [Failure(Path(top, name), unsupported_reason(PurePath(name).name)) for name in archives]
    left_out.sort(key=lambda failure: str(failure.path))
    return Listing(
        place, Path(top), tuple(sorted(names)), tuple(sorted(archives)), tuple(left_out), tuple(sorted(empty_folders))
    )
