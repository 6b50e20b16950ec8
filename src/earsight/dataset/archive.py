"""A zip or tar → a folder: whole or not at all, and nothing outside of it."""

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from earsight.dataset.walk import cache_folder, is_recording
from earsight.errors import DataError

Advance = Callable[[int, int], None]
_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
_LARGEST_BYTES = 64 * 2**30
_LARGEST_RATIO = 200
_SUSPICIOUS_BYTES = 2**30
_BLOCK_BYTES = 1 << 20
_ABANDONED_S = 24 * 3600


@dataclass(frozen=True)
class _Member:
    """name: as the archive has it. size_bytes: as it declares. link: it points elsewhere. open: its content."""

    name: str
    size_bytes: int
    link: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, target: Path | None = None, *, progress: Advance | None = None) -> Path:
    """Unpack the recordings and tables of a zip or tar, once; returns their folder.

    target: otherwise a folder in the cache of this archive's own, found again as long as the archive is not changed.
    progress: called with (bytes done, bytes of all). Raises DataError, and leaves nothing, where the archive is damaged
    or encrypted, has no recording, holds a link, a name twice or a name that leads out of its folder, or would unpack
    to more than fits or than is believable.
    """
    if target is None:
        facts = archive.stat()
        key = hashlib.sha256(
            f"{archive.resolve()}|{facts.st_size}|{facts.st_mtime_ns}".encode(errors="surrogateescape")
        )
        target = cache_folder() / "unpacked" / f"{archive.name.partition('.')[0]}-{key.hexdigest()[:16]}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        work = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
        try:
            with _members(archive) as members:
                _write(archive, members, work, progress)
            try:
                work.rename(target)
            except OSError:  # another process was first
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged ({_reason(error)}); get it again") from error
    except RuntimeError as error:  # zipfile's word for a password
        raise DataError(f"{archive} is encrypted; unpack it by hand and give the folder") from error
    except OSError as error:
        raise DataError(f"can't unpack {archive}: {_reason(error)}") from error
    return target


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half unpacked."""
    for path in folder.glob(".unpacking-*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Everything in the archive but folders."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            yield [_Member(i.filename, i.file_size, _is_zip_link(i), partial(opened.open, i)) for i in infos]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            members = []
            for info in tar:
                if not info.isdir():
                    members.append(_Member(info.name, info.size, not info.isreg(), partial(tar.extractfile, info)))
                if info.size > _LARGEST_BYTES:  # going on would seek beyond what any disk holds
                    break
            yield members
    else:
        raise DataError(f"{archive} is neither a zip nor a tar, or was cut off; get it again")


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _write(archive: Path, members: list[_Member], work: Path, progress: Advance | None) -> None:
    wanted: dict[PurePosixPath, _Member] = {}
    for member in members:
        inside = PurePosixPath(member.name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts or ":" in (inside.parts or ("",))[0]:
            raise DataError(f"refused {archive}: the name {member.name!r} leads out of its folder")
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in inside.parts)
        if hidden or not (is_recording(inside.name) or inside.name.lower().endswith(_TABLES)):
            continue
        if member.link:
            raise DataError(f"refused {archive}: {member.name!r} is a link or a device, not a file")
        if inside in wanted:
            raise DataError(f"refused {archive}: it holds {member.name!r} twice")
        wanted[inside] = member
    if not any(is_recording(inside.name) for inside in wanted):
        raise DataError(f"no recordings in {archive}")
    total = sum(member.size_bytes for member in wanted.values())
    free = shutil.disk_usage(work).free
    if total > min(_LARGEST_BYTES, free):
        raise DataError(
            f"refused {archive}: it says that it unpacks to {total / 2**30:.0f} GiB; {free / 2**30:.0f} are free"
        )
    if total > _SUSPICIOUS_BYTES and total > _LARGEST_RATIO * archive.stat().st_size:
        raise DataError(f"refused {archive}: it says that it unpacks to {_LARGEST_RATIO} times its size, as bombs do")
    done = 0
    for inside, member in wanted.items():
        path = work.joinpath(*inside.parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is None:
            raise DataError(f"refused {archive}: {member.name!r} is no file")
        with source, path.open("xb") as out:
            left = member.size_bytes
            while block := source.read(_BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise DataError(f"refused {archive}: {member.name!r} is longer than it says")
                out.write(block)
                done += len(block)
                if progress:
                    progress(done, total)
        if left:
            raise DataError(f"{archive} is damaged ({member.name!r} is cut off); get it again")


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return os.path.basename(text.strip()) if os.sep in text else text.strip() or type(error).__name__  # noqa: PTH119
