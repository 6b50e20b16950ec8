"""Against a real HTTP server of our own on the loopback, that cuts, stalls, lies, and serves the wrong thing."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from earsight.dataset.download import Download, fetch
from earsight.errors import DataError

CONTENT = b"PK" + os.urandom(1_999_996) + b"KP"  # by chance one in 256 would begin with "<", as a web page does
BLOCK = 1 << 14
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does. cut_at: bytes after which each of the first ``cuts`` answers ends. stall: whether it keeps
    the connection then, silent. says: a Content-Length of its own; -1: none. failures: how many answers are 503.
    asks_if_range: whether a range of another version is refused. headers: further ones."""

    content: bytes = CONTENT
    cut_at: int = 0
    cuts: int = 0
    stall: bool = False
    says: int = 0
    failures: int = 0
    status: int = 0
    ranges: bool = True
    asks_if_range: bool = True
    tag: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/zip"
    pause_s: float = 0.0
    sent: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def tag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        b = self.behaviour
        b.asked.append(self.headers.get("Range", ""))
        if b.status or b.failures:
            b.failures = max(0, b.failures - 1)
            self.send_response(b.status or 503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = b.tag or tag_of(b.content)
        start = 0
        if b.ranges and "Range" in self.headers and (not b.asks_if_range or self.headers.get("If-Range") == tag):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start and start >= len(b.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(b.content) - 1}/{len(b.content)}")
        if b.says >= 0:
            self.send_header("Content-Length", str(b.says or len(body)))
        self.send_header("Content-Type", b.kind)
        self.send_header("ETag", tag)
        for name, value in b.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if b.cuts:
            b.cuts -= 1
            body = body[: b.cut_at]
        sent = 0
        for at in range(0, len(body), 100_000):
            try:
                self.wfile.write(body[at : at + 100_000])
            except OSError:  # the client went away
                break
            sent += len(body[at : at + 100_000])
            time.sleep(b.pause_s)
        b.sent.append(sent)
        if b.stall and len(body) < len(b.content) - start:
            time.sleep(3)
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    behaviour = Behaviour()
    handler = type("Own", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/files/data.zip?download=1", behaviour
        running.shutdown()


def get(url: str, folder: Path, *, checksum: str | None = MD5, size_bytes: int | None = None, **options: float) -> Path:
    return fetch(Download(url, size_bytes, checksum), folder, wait_s=0.01, timeout_s=0.5, **options)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_fetched_once(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    steps: list[tuple[int, int]] = []
    download = Download(url, len(CONTENT), MD5)
    path = fetch(download, tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert path == tmp_path / "data.zip"
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(download, tmp_path) == path
    assert len(behaviour.asked) == 1
    assert names(tmp_path) == ["data.zip"]


@pytest.mark.parametrize("stall", [False, True])
def test_a_cut_or_stalled_transfer_goes_on_where_it_was(
    server: tuple[str, Behaviour], tmp_path: Path, stall: bool
) -> None:
    url, behaviour = server
    behaviour.cut_at, behaviour.cuts, behaviour.stall = 40 * BLOCK, 2, stall
    assert get(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.asked == ["", f"bytes={40 * BLOCK}-", f"bytes={80 * BLOCK}-"]
    assert sum(behaviour.sent) == len(CONTENT)


def test_a_server_without_ranges_starts_over(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.cut_at, behaviour.cuts, behaviour.ranges = 700_000, 1, False
    assert get(url, tmp_path).read_bytes() == CONTENT
    assert sum(behaviour.sent) == 700_000 + len(CONTENT)


def test_a_later_call_goes_on_and_a_changed_file_starts_over(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.cut_at, behaviour.cuts = 30 * BLOCK, 1
    with pytest.raises(DataError, match=r"broke.* 1 times; try again, fetch it by hand to .*data\.zip"):
        get(url, tmp_path, attempts=1)
    assert names(tmp_path) == ["data.zip.part", "data.zip.part.json"]
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[: 30 * BLOCK]
    behaviour.content = CONTENT[::-1]
    changed = "md5:" + hashlib.md5(CONTENT[::-1]).hexdigest()
    assert get(url, tmp_path, checksum=changed).read_bytes() == CONTENT[::-1]
    assert behaviour.sent == [30 * BLOCK, len(CONTENT)]


def test_a_part_longer_than_the_file_starts_over(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / "data.zip.part.json").write_text(json.dumps(tag_of(CONTENT)))
    assert get(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.asked == [f"bytes={len(CONTENT) + 4}-", ""]


@pytest.mark.parametrize(
    ("says", "message"), [(len(CONTENT) + 10, "can't get"), (len(CONTENT) - 10, "not the published one")]
)
def test_a_server_that_lies_about_the_length(
    server: tuple[str, Behaviour], tmp_path: Path, says: int, message: str
) -> None:
    url, behaviour = server
    behaviour.says = says
    with pytest.raises(DataError, match=message):
        get(url, tmp_path, attempts=2)
    assert "data.zip" not in names(tmp_path)


def test_a_size_other_than_the_published_one_is_refused_before_the_transfer(
    server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    url, behaviour = server
    with pytest.raises(DataError, match="the server's file has 2,000,000 bytes, 2,000,001 were published"):
        get(url, tmp_path, size_bytes=2_000_001)
    assert len(behaviour.asked) == 1
    assert names(tmp_path) == []


def test_a_wrong_file_is_removed_and_named(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DataError, match=r"served a file that is not the published one .*and was removed") as error:
        get(url, tmp_path)
    assert hashlib.md5(CONTENT).hexdigest() in str(error.value)
    assert hashlib.md5(behaviour.content).hexdigest() in str(error.value)
    assert names(tmp_path) == []


def test_a_page_in_place_of_the_file_is_refused(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    for content, kind in (
        (b"<html>log in</html>", "text/html; charset=utf-8"),
        (b"please log in", "text/html"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html>", "application/octet-stream"),
    ):
        behaviour.content, behaviour.kind = content, kind
        with pytest.raises(DataError, match="answered with a web page"):
            get(url, tmp_path, checksum=None)
        assert names(tmp_path) == []


def test_the_published_checksum_says_more_than_the_type_that_the_server_gives(
    server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    url, behaviour = server
    behaviour.kind = "text/html"
    assert get(url, tmp_path).read_bytes() == CONTENT


def test_bytes_are_kept_as_they_are_sent(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.content = gzip.compress(b"a tar", mtime=0)
    behaviour.headers = {"Content-Encoding": "x-gzip"}
    sent = "md5:" + hashlib.md5(behaviour.content).hexdigest()
    assert get(url, tmp_path, checksum=sent).read_bytes() == behaviour.content


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_a_range_of_a_changed_file_is_never_joined_to_the_old_part(
    server: tuple[str, Behaviour], tmp_path: Path, tag: str
) -> None:
    url, behaviour = server
    behaviour.cut_at, behaviour.cuts, behaviour.tag, behaviour.asks_if_range = 30 * BLOCK, 1, tag, False
    with pytest.raises(DataError):
        get(url, tmp_path, checksum=None, attempts=1)
    behaviour.content = CONTENT[::-1]
    assert get(url, tmp_path, checksum=None).read_bytes() == CONTENT[::-1]
    assert behaviour.asked[1:] == ([""] if tag else [f"bytes={30 * BLOCK}-", ""])


def test_without_a_checksum_the_published_size_tells_a_cut_and_a_wrong_file(
    server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    url, behaviour = server
    behaviour.says, behaviour.cut_at, behaviour.cuts = -1, 10 * BLOCK, 1
    assert get(url, tmp_path, checksum=None, size_bytes=len(CONTENT)).read_bytes() == CONTENT
    assert behaviour.asked == ["", f"bytes={10 * BLOCK}-"]
    (tmp_path / "data.zip").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"data\.zip has 4 bytes, 2,000,000 were published; remove it"):
        get(url, tmp_path, checksum=None, size_bytes=len(CONTENT))
    assert (tmp_path / "data.zip").read_bytes() == b"mine"
    assert len(behaviour.asked) == 2


def test_an_empty_answer_is_no_file(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.content = b""
    with pytest.raises(DataError, match=r"nothing came, 2 times"):
        get(url, tmp_path, checksum=None, attempts=2)
    assert "data.zip" not in names(tmp_path)


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.failures = 2
    assert get(url, tmp_path / "a").read_bytes() == CONTENT
    behaviour.status, behaviour.asked = 404, []
    with pytest.raises(DataError, match=r"answered 404 .*set EARSIGHT_MIRROR"):
        get(url, tmp_path / "b")
    assert len(behaviour.asked) == 1
    behaviour.status, behaviour.asked = 503, []
    with pytest.raises(DataError, match=r"answered 503 .*, 3 times"):
        get(url, tmp_path / "c", attempts=3)
    assert len(behaviour.asked) == 3


def test_no_network_says_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/x\.zip: the connection was refused.*EARSIGHT_MIRROR"):
        get("http://127.0.0.1:9/x.zip", tmp_path, attempts=1)


def test_an_address_that_is_none_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARSIGHT_MIRROR", "mirror.local/data")
    with pytest.raises(DataError, match=r"can't get mirror\.local/data/x\.zip: this is not an http address"):
        get("http://127.0.0.1:9/x.zip", tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_says_so(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    (tmp_path / "data.zip.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"can't write .*data\.zip: No space left on device; make room"):
        get(url, tmp_path)
    assert len(behaviour.asked) == 1
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"can't write .*Not a directory"):
        get(url, tmp_path / "file" / "folder")


def test_a_mirror_stands_for_the_official_address(
    server: tuple[str, Behaviour], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = server
    monkeypatch.setenv("EARSIGHT_MIRROR", url.partition("/files")[0] + "/files/")
    assert get("https://example.invalid/records/data.zip?download=1", tmp_path).read_bytes() == CONTENT


def test_a_killed_process_leaves_a_part_that_the_next_one_goes_on_from(
    server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    url, behaviour = server
    behaviour.pause_s = 0.2
    code = (
        "import sys; from pathlib import Path; from earsight.dataset.download import Download, fetch; "
        "fetch(Download(sys.argv[1], None, sys.argv[3]), Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path), MD5])
    part = tmp_path / "data.zip.part"
    until = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size >= 500_000) and time.monotonic() < until:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    had = part.stat().st_size
    assert had >= 500_000
    assert "data.zip" not in names(tmp_path)
    behaviour.pause_s = 0.0
    assert get(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.asked[-1] == f"bytes={had}-"


def test_what_a_killed_process_left_of_pooch_is_removed_by_the_next(
    server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    url, _ = server
    (tmp_path / "tmpab12cd_4").touch()
    (tmp_path / "tmp.zip").write_text("not the published one")
    get(url, tmp_path)
    assert names(tmp_path) == ["data.zip", "tmp.zip"]


def test_two_at_once_fetch_one_file(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.pause_s = 0.01
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(get(url, tmp_path).read_bytes())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT, CONTENT]
    assert len(behaviour.asked) == 1
