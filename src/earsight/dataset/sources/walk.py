"""The sound files under a folder, or inside a zip."""

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from earsight.audio.decode import SUFFIXES
from earsight.errors import DataError

_LARGEST_UNPACKED_BYTES = 64 * 2**30


def cache_folder() -> Path:
    """``$EARSIGHT_HOME``, or ``earsight`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("EARSIGHT_HOME") or Path(base) / "earsight")


def is_recording(name: str) -> bool:
    """Whether a file name has the ending of a recording, and is not hidden."""
    _, dot, ending = name.rpartition(".")
    return not name.startswith(".") and bool(dot) and f".{ending.lower()}" in SUFFIXES


def walk_recordings(folder: Path) -> list[Path]:
    """Every recording below ``folder``, sorted. Plain strings inside: a path object a file would cost seconds."""
    return sorted(Path(parent) / name for parent, _, names in os.walk(folder) for name in names if is_recording(name))


def sound_files(place: Path) -> list[Path]:
    """Every sound file under ``place``, sorted; a zip is unpacked into the cache first. Raises DataError."""
    if not place.exists():
        raise DataError(f"no such data: {place}; give a folder of recordings or a zip")
    if place.is_file():
        if not zipfile.is_zipfile(place):
            raise DataError(f"not a folder and not a zip: {place}")
        place = unpack(place)
    files = walk_recordings(place)
    if not files:
        raise DataError(f"no recordings in {place}; looked for {', '.join(sorted(SUFFIXES))}")
    return files


def unpack(archive: Path) -> Path:
    """Unpack the sound files of a zip into the cache, once; returns their folder.

    A name that leads out of the folder is refused. Nothing half unpacked is ever used: the work is done beside
    and renamed at the end.
    """
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    target = cache_folder() / "unpacked" / f"{archive.stem}-{key}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir()]
            if sum(m.file_size for m in members) > _LARGEST_UNPACKED_BYTES:
                raise DataError(f"refused {archive}: it says that it unpacks to more than 64 GiB")
            for member in members:
                inside = PurePosixPath(member.filename.replace("\\", "/"))
                if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0]:
                    raise DataError(f"refused {archive}: the name {member.filename!r} leads out of its folder")
                if inside.suffix.lower() not in SUFFIXES and inside.name != "SYNTHETIC.txt":
                    continue
                path = work.joinpath(*inside.parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, path.open("wb") as out:
                    shutil.copyfileobj(source, out)
        try:
            work.rename(target)
        except OSError:  # another process was first
            if not target.is_dir():
                raise
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"can't unpack {archive}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target
