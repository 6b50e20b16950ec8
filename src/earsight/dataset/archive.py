"""A zip or tar → a folder: whole or not at all, and nothing outside of it."""

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from earsight.dataset.walk import ProgressCallback, cache_folder, is_hidden, is_recording, unsupported_reason
from earsight.errors import DataError, DiskFullError

_LEFT_OUT_NAME = ".earsight-left-out.json"
_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_LARGEST_BYTES = 64 * 2**30
_LARGEST_RATIO = 200
_SUSPICIOUS_BYTES = 2**30
_BLOCK_BYTES = 1 << 20
_LARGEST_HEADER_BYTES = 1 << 20
_ABANDONED_S = 24 * 3600
_DRIVE = re.compile(r"[A-Za-z]:")
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, BadGzipFile, LZMAError, EOFError),
    *(ValueError, OverflowError, IndexError, struct.error),  # of numbers and names in headers
)


@dataclass(frozen=True)
class _Member:
    """name: as in the archive. size_bytes: as declared. link: a link or a device. encrypted: needs a password. open:
    its content."""

    name: str
    size_bytes: int
    link: bool
    encrypted: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, target: Path | None = None, *, progress: ProgressCallback | None = None) -> Path:
    """Unpack the recordings and tables of a zip or tar, once; returns their folder.

    target: None: a folder in the cache, the same for the same archive as long as it is not changed. progress: called
    with (bytes done, bytes in all). Raises DataError, and leaves nothing behind, where the archive is damaged or
    encrypted, has no recording, holds a link, a name twice or a name outside its folder, or would unpack to more than
    fits on the disk or is plausible.
    """
    try:
        target = target or _cached(archive)
        there = target.is_dir()
        if there and not any(is_recording(PurePosixPath(name).name) for name in left_out(target)):
            return target  # else PyAV has been installed since: what was left out can be read now
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        work, old = (
            target.parent / f".unpacking-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(8)}" for _ in range(2)
        )
        try:
            work.mkdir()
            with _members(archive) as members:
                wanted, unread = _wanted(archive, members)
                _write(archive, wanted, work, progress)
            if unread:
                (work / _LEFT_OUT_NAME).write_text(json.dumps(unread), encoding="utf-8")
            if there:
                with suppress(FileNotFoundError):  # another process was first
                    target.rename(old)  # atomic: a folder that is half removed would be taken for a complete one
            try:
                work.rename(target)
            except OSError:  # another process was first
                if not target.is_dir():
                    raise
        finally:
            for rest in (work, old):
                shutil.rmtree(rest, ignore_errors=True)
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged ({_reason(error)}); download it again") from error
    except NotImplementedError as error:  # zipfile raises it for unknown compression methods
        raise DataError(f"can't unpack {archive}: {_reason(error)}; unpack it by hand and give the folder") from error
    except OSError as error:
        where = f" into {target.parent}" if target else ""
        raise DataError(
            f"can't unpack {archive}{where}: {_reason(error)}; fix it, or set EARSIGHT_HOME to another folder"
        ) from error
    return target


def left_out(folder: Path) -> list[str]:
    """Names of files in the archive of ``folder`` that may hold sound and were not unpacked."""
    try:
        return json.loads((folder / _LEFT_OUT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def _cached(archive: Path) -> Path:
    facts = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}|{facts.st_size}|{facts.st_mtime_ns}".encode(errors="surrogateescape"))
    return cache_folder() / "unpacked" / f"{archive.name.partition('.')[0]}-{key.hexdigest()[:16]}"


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left half unpacked."""
    for path in folder.glob(".unpacking-*"):
        with suppress(OSError):  # its own process has just renamed or removed it
            if _process_is_gone(path) or time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


def _process_is_gone(work: Path) -> bool:
    """Whether the process in the name of the folder ran on this machine and no longer exists."""
    host, _, number = work.name.removeprefix(".unpacking-").rpartition("-")[0].rpartition("-")
    if os.name != "posix" or host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return True
    return False


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Everything in the archive but folders."""
    if tarfile.is_tarfile(archive):  # first: a tar whose last member is a zip would pass for that zip
        with tarfile.open(archive, tarinfo=_BoundedTarInfo) as tar:
            yield _tar_members(archive, tar)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            yield [
                _Member(i.filename, i.file_size, _is_zip_link(i), bool(i.flag_bits & 1), partial(opened.open, i))
                for i in infos
            ]
    else:
        raise DataError(f"{archive} is neither a zip nor a tar, or was cut off; download it again")


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses large extended headers, which tarfile reads into memory before any size can be checked."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        longs = (*tarfile.GNU_TYPES[:2], tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in longs and self.size > _LARGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def _tar_members(archive: Path, tar: tarfile.TarFile) -> list[_Member]:
    """Reads the archive to its very end, where a compressed one has its checksum."""
    members = []
    total = 0
    for info in tar:
        total += info.size
        _check_believable(archive, total)
        if not info.isdir():
            members.append(_Member(info.name, info.size, not info.isreg(), False, partial(tar.extractfile, info)))
    stream = tar.fileobj
    if stream is None:
        raise DataError(f"can't read {archive}")
    # tarfile stops silently at a damaged header, and where the file ends between two members
    stream.seek(tar.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{archive} is damaged (it breaks off after {len(members):,} files); download it again")
    while block := stream.read(_BLOCK_BYTES):
        total += len(block)
        _check_believable(archive, total)
        if block.strip(b"\0"):  # files of a second tar, or after a damaged header, would be missing silently
            raise DataError(f"{archive} has data after its end; unpack it by hand and give the folder")
    return members


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _check_believable(archive: Path, total_bytes: int) -> None:
    if total_bytes > _LARGEST_BYTES:
        raise DataError(
            f"refused {archive}: its declared unpacked size is {total_bytes / 2**30:,.0f} GiB, above the limit of 64; "
            "unpack it by hand and give the folder"
        )
    if total_bytes > _SUSPICIOUS_BYTES and total_bytes > _LARGEST_RATIO * archive.stat().st_size:
        raise DataError(
            f"refused {archive}: its declared unpacked size is over {_LARGEST_RATIO} times its own, as in a zip bomb"
        )


def _wanted(archive: Path, members: list[_Member]) -> tuple[dict[PurePosixPath, _Member], list[str]]:
    """Path in the folder → member, of recordings and tables; and the names of other files that may hold sound. Raises
    DataError for a member that can't be trusted."""
    wanted: dict[PurePosixPath, _Member] = {}
    unread: list[str] = []
    for member in members:
        inside = PurePosixPath(member.name.replace("\\", "/"))
        if inside.is_absolute() or "\0" in member.name or any(p == ".." or _DRIVE.match(p) for p in inside.parts):
            raise DataError(f"refused {archive}: the name {member.name!r} leads out of its folder")
        hidden = any(map(is_hidden, inside.parts))
        if hidden or not (is_recording(inside.name) or inside.name.lower().endswith(_TABLES)):
            if not hidden and unsupported_reason(inside.name):
                unread.append(str(inside))
            continue
        if member.link:
            raise DataError(f"refused {archive}: {member.name!r} is a link or a device, not a file")
        if member.encrypted:
            raise DataError(f"{archive} is encrypted ({member.name!r}); unpack it by hand and give the folder")
        if inside in wanted:
            raise DataError(f"refused {archive}: it holds {member.name!r} twice")
        wanted[inside] = member
    if not any(is_recording(inside.name) for inside in wanted):
        first = f"; left out: {unread[0]}, {unsupported_reason(PurePosixPath(unread[0]).name)}" if unread else ""
        raise DataError(f"no recordings in {archive}{first}")
    return wanted, sorted(unread)


def _write(archive: Path, wanted: dict[PurePosixPath, _Member], work: Path, progress: ProgressCallback | None) -> None:
    total = sum(member.size_bytes for member in wanted.values())
    _check_believable(archive, total)
    free = shutil.disk_usage(work).free
    if total > free:
        raise DiskFullError(
            f"no room for {archive}: its declared unpacked size is {total / 2**30:.1f} GiB, but only "
            f"{free / 2**30:.1f} GiB are free; make room, or set EARSIGHT_HOME to a folder on a larger disk"
        )
    done = 0
    for inside, member in wanted.items():
        path = work.joinpath(*inside.parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        end = done + member.size_bytes
        with path.open("xb") as out:
            for block in _blocks(archive, member):
                done += len(block)
                if done > end:
                    raise DataError(f"refused {archive}: {member.name!r} is longer than it says")
                out.write(block)
                if progress:
                    progress(done, total)
        if done < end:
            raise DataError(f"{archive} is damaged ({member.name!r} is cut off); download it again")


def _blocks(archive: Path, member: _Member) -> Iterator[bytes]:
    try:
        source = member.open()
        if source is None:
            raise DataError(f"refused {archive}: {member.name!r} is not a file")
        with source:
            while block := source.read(_BLOCK_BYTES):
                yield block
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged ({member.name!r} does not come out whole); download it again") from error


def _reason(error: Exception) -> str:
    """The reason in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
