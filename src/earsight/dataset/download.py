"""Download a file: resumed after a broken connection, verified, and never incomplete under its final name."""

import json
import os
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from earsight.dataset.walk import ProgressCallback
from earsight.errors import DataError
from earsight.extras import require

_BLOCK_BYTES = 1 << 14  # at most so much is lost where a transfer breaks off
_TEXT_TYPES = ("text/html", "application/xhtml")


@dataclass(frozen=True)
class Download:
    """One file to fetch. url: official address; its last part is the file's name unless ``name`` gives another.
    size_bytes: where published. checksum: ``md5:…`` or ``sha256:…``, where published."""

    url: str
    size_bytes: int | None = None
    checksum: str | None = None
    name: str = ""

    @property
    def file_name(self) -> str:
        return self.name or self.url.partition("?")[0].rstrip("/").rpartition("/")[2]

    @property
    def address(self) -> str:
        """The official address, or the file's name below ``$EARSIGHT_MIRROR`` (for networks without a way out)."""
        mirror = os.environ.get("EARSIGHT_MIRROR", "").rstrip("/")
        return f"{mirror}/{self.file_name}" if mirror else self.url


class _Retry(Exception):
    """The transfer broke off; another attempt may resume it."""


def fetch(
    download: Download,
    folder: Path,
    *,
    progress: ProgressCallback | None = None,
    timeout_s: float = 30.0,
    attempts: int = 5,
    wait_s: float = 1.0,
) -> Path:
    """Fetch one file into ``folder``, by pooch; returns its path.

    A file that is there with the right checksum is not downloaded again. A transfer that broke off, now or in an
    earlier process, is resumed where the server confirms that the file has not changed. timeout_s: without a byte.
    wait_s: before the second attempt; doubled each time. progress: called with (bytes done, bytes in all). Raises
    DataError where the file can't be downloaded, or is not the published one; only a complete and verified file gets
    the final name.
    """
    pooch = require("pooch")

    def transfer(url: str, output_file: str, _: Any) -> None:
        """The downloader for pooch, which renames ``output_file`` after the checksum matched."""
        part = folder / f"{download.file_name}.part"
        for attempt in range(attempts):
            try:
                _transfer(url, part, download, progress, timeout_s)
                break
            except _Retry as error:
                if attempt + 1 == attempts:
                    raise DataError(_failure_message(download, folder, f"{error}, {attempts} times")) from error
                time.sleep(wait_s * 2**attempt)
        part.replace(output_file)
        _validator_file(part).unlink(missing_ok=True)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with require("filelock").FileLock(folder / f".{download.file_name}.lock"):  # a second process waits
            for left in folder.glob(
                "tmp????????"
            ):  # temporary files of pooch; since we hold the lock, of a process that was killed
                left.unlink()
            _check_size_there(download, folder)
            found = pooch.retrieve(
                download.address, download.checksum, fname=download.file_name, path=folder, downloader=transfer
            )
    except ValueError as error:  # pooch raises it for a wrong checksum
        raise DataError(
            f"{download.address} served a file that is not the published one ({error}) and was removed; try again later"
        ) from error
    except OSError as error:
        raise DataError(
            f"can't write {folder / download.file_name}: {error.strerror or type(error).__name__}; make room, or set "
            "EARSIGHT_HOME to another folder"
        ) from error
    finally:
        logger.setLevel(level)
    return Path(found)


def _check_size_there(download: Download, folder: Path) -> None:
    """Where no checksum was published, check the size of a file that is there. A wrong one is kept: it may be the
    user's."""
    path = folder / download.file_name
    if download.checksum or download.size_bytes is None or not path.is_file():
        return
    size = path.stat().st_size
    if size != download.size_bytes:
        raise DataError(f"{path} has {size:,} bytes, {download.size_bytes:,} were published; remove it and try again")


def _transfer(url: str, part: Path, download: Download, progress: ProgressCallback | None, timeout_s: float) -> None:
    """Append to ``part`` what it lacks. Raises _Retry where another attempt may help, DataError where none can."""
    requests = require("requests")
    have, version = _resumable(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as answer:
            if answer.status_code == 416 or (answer.status_code == 206 and not _is_continuation(answer, have, version)):
                part.unlink(missing_ok=True)
                raise _Retry("the server can't resume the interrupted transfer")
            if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
                raise _Retry(f"the server answered {answer.status_code} {answer.reason}")
            if answer.status_code not in {200, 206}:
                reason = f"the server answered {answer.status_code} {answer.reason}"
                raise DataError(_failure_message(download, part.parent, reason))
            have = have if answer.status_code == 206 else 0
            total = _total(answer, have) or download.size_bytes
            if download.size_bytes is not None and total != download.size_bytes:
                reason = f"the server's file has {total:,} bytes, {download.size_bytes:,} were published"
                raise DataError(_failure_message(download, part.parent, reason))
            # Some servers declare a .tar.gz as an encoded .tar; the published bytes are those on the wire.
            answer.raw.headers.pop("Content-Encoding", None)
            blocks = answer.iter_content(_BLOCK_BYTES)
            first = next(blocks, b"")
            if not have and _is_page(answer, first, download):
                raise DataError(_failure_message(download, part.parent, "the server answered with a web page"))
            with part.open("ab" if have else "wb") as out:
                # Only after the part was opened (and truncated, unless resumed): the validator always belongs to its
                # bytes.
                _validator_file(part).write_text(json.dumps(_validator(answer)))
                for block in chain((first,), blocks):
                    out.write(block)
                    have += len(block)
                    if progress:
                        progress(have, total or have)
    except requests.exceptions.RequestException as error:
        if isinstance(error, ValueError):
            raise DataError(_failure_message(download, part.parent, "this is not an http address")) from error
        raise _Retry(_connection_reason(error)) from error
    if not have:
        raise _Retry("nothing came")
    if total is not None and have != total:
        raise _Retry(f"{have:,} of {total:,} bytes arrived")


def _total(answer: Any, have: int) -> int | None:
    """Size of the whole file by the server's headers; None where they don't say."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if answer.status_code == 206 and whole.isdecimal():
        return int(whole)
    length = answer.headers.get("Content-Length", "")
    return have + int(length) if length.isdecimal() else None


def _is_page(answer: Any, first: bytes, download: Download) -> bool:
    """Whether the answer is a web page: by its first bytes, since no archive begins so; and by its declared type,
    unless a checksum will tell."""
    typed = answer.headers.get("Content-Type", "").startswith(_TEXT_TYPES)
    return first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") or (typed and not download.checksum)


def _resumable(part: Path) -> tuple[int, str]:
    """Bytes of ``part`` and the validator of the file that they belong to; (0, "") where it can't be resumed."""
    try:
        version = json.loads(_validator_file(part).read_text())
        return (part.stat().st_size, str(version)) if version else (0, "")
    except (OSError, ValueError):
        return 0, ""


def _validator(answer: Any) -> str | None:
    """What If-Range takes (RFC 9110): a strong ETag, else the date of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _is_continuation(answer: Any, have: int, version: str) -> bool:
    """Whether the answer continues the same file: some servers send a range of a changed one."""
    same = _validator(answer) in {None, version}
    return bool(same and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"))


def _validator_file(part: Path) -> Path:
    """The file beside ``part`` with its validator."""
    return part.with_name(f"{part.name}.json")


def _connection_reason(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE" in text:
        return "its certificate is not trusted here"
    if "timed out" in text:
        return "the server stopped responding"
    if "resolve" in text or "getaddrinfo" in text:
        return "the address can't be found; is there a network?"
    return "the connection broke" if "refused" not in text else "the connection was refused"


def _failure_message(download: Download, folder: Path, reason: str) -> str:
    return (
        f"can't get {download.address}: {reason}; try again, fetch it by hand to {folder / download.file_name}, or set "
        "EARSIGHT_MIRROR to an address that has it"
    )
