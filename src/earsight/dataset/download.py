"""An official address → a file on this machine: resumed after a cut, checked, never half."""

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

_BLOCK_BYTES = 1 << 14  # what is lost at most where a transfer is cut
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
    """The transfer broke, and another attempt may go on from where it did."""


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

    What is there with the right checksum is not fetched again. A transfer that was cut, now or by an earlier process,
    is resumed where the server says that the file is still the same. timeout_s: without a byte. wait_s: before the
    second attempt; doubled each time. progress: called with (bytes done, bytes of all). Raises DataError where the file
    can't be had, or is not the one that was published; the final name is given to a whole and checked file only.
    """
    pooch = require("pooch")

    def transfer(url: str, output_file: str, _: Any) -> None:
        """pooch's downloader: it renames ``output_file`` after the checksum was found right."""
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
            for left in folder.glob("tmp????????"):  # pooch's; under the lock, of a process that was killed
                left.unlink()
            _check_size_there(download, folder)
            found = pooch.retrieve(
                download.address, download.checksum, fname=download.file_name, path=folder, downloader=transfer
            )
    except ValueError as error:  # pooch's word for a wrong checksum
        raise DataError(
            f"{download.address} served another file than the published one ({error}); it was removed; try again later"
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
    """The size is all that tells a wrong file where no checksum was published. It may be the user's: it is kept."""
    path = folder / download.file_name
    if download.checksum or download.size_bytes is None or not path.is_file():
        return
    size = path.stat().st_size
    if size != download.size_bytes:
        raise DataError(f"{path} has {size:,} bytes, {download.size_bytes:,} were published; remove it and try again")


def _transfer(url: str, part: Path, download: Download, progress: ProgressCallback | None, timeout_s: float) -> None:
    """Append to ``part`` what it lacks. Raises _Again where another attempt may help, DataError where none will."""
    requests = require("requests")
    have, version = _resumable(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as answer:
            if answer.status_code == 416 or (answer.status_code == 206 and not _is_continuation(answer, have, version)):
                part.unlink(missing_ok=True)
                raise _Retry("the server could not go on where the transfer was cut")
            if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
                raise _Retry(f"the server answered {answer.status_code} {answer.reason}")
            if answer.status_code not in {200, 206}:
                reason = f"the server answered {answer.status_code} {answer.reason}"
                raise DataError(_failure_message(download, part.parent, reason))
            have = have if answer.status_code == 206 else 0
            total = _total(answer, have) or download.size_bytes
            if download.size_bytes is not None and total != download.size_bytes:
                reason = f"it has {total:,} bytes there, {download.size_bytes:,} were published"
                raise DataError(_failure_message(download, part.parent, reason))
            # Some servers call a .tar.gz an encoded .tar: what was published are the bytes as they are sent.
            answer.raw.headers.pop("Content-Encoding", None)
            blocks = answer.iter_content(_BLOCK_BYTES)
            first = next(blocks, b"")
            if not have and _is_page(answer, first, download):
                raise DataError(_failure_message(download, part.parent, "the server answered with a web page"))
            with part.open("ab" if have else "wb") as out:
                # Only now is the part empty or gone on with: the note never names a version that its bytes are not of.
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
        raise _Retry(f"{have:,} of {total:,} bytes came")


def _total(answer: Any, have: int) -> int | None:
    """The whole file's bytes, as the server says, or None."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if answer.status_code == 206 and whole.isdecimal():
        return int(whole)
    length = answer.headers.get("Content-Length", "")
    return have + int(length) if length.isdecimal() else None


def _is_page(answer: Any, first: bytes, download: Download) -> bool:
    """Whether it is a web page, by its first bytes (no archive begins so); a published checksum says more than the
    type that the server gives it."""
    typed = answer.headers.get("Content-Type", "").startswith(_TEXT_TYPES)
    return first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") or (typed and not download.checksum)


def _resumable(part: Path) -> tuple[int, str]:
    """Bytes that are there, and the version of the file that they are of; (0, "") where they can't be gone on from."""
    try:
        version = json.loads(_validator_file(part).read_text())
        return (part.stat().st_size, str(version)) if version else (0, "")
    except (OSError, ValueError):
        return 0, ""


def _validator(answer: Any) -> str | None:
    """What If-Range may ask for: a strong ETag, or the date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _is_continuation(answer: Any, have: int, version: str) -> bool:
    """Whether the answer is the rest of the same file: some servers send a range of a changed one."""
    same = _validator(answer) in {None, version}
    return bool(same and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"))


def _validator_file(part: Path) -> Path:
    """Beside the part: the ETag or date that the server gave it."""
    return part.with_name(f"{part.name}.json")


def _connection_reason(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE" in text:
        return "its certificate is not trusted here"
    if "timed out" in text:
        return "the server fell silent"
    if "resolve" in text or "getaddrinfo" in text:
        return "the address can't be found; is there a network?"
    return "the connection broke" if "refused" not in text else "the connection was refused"


def _failure_message(download: Download, folder: Path, reason: str) -> str:
    return (
        f"can't get {download.address}: {reason}; try again, fetch it by hand to {folder / download.file_name}, or set "
        "EARSIGHT_MIRROR to an address that has it"
    )
