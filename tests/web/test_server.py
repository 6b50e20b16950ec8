"""A real server in a process of its own, asked over HTTP."""

import asyncio
import errno
import io
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earsight.network.exported import Exported
from earsight.tasks.predict import predict
from earsight.web import api, rows
from earsight.web.server import _LINES, create_app
from tests.conftest import tone

Process = subprocess.Popen[str]


def begin(
    *arguments: object, python: str | Path = sys.executable, env: dict[str, str] | None = None
) -> tuple[Process, str]:
    """A server on a free port, and its address."""
    command = [python, "-m", "earsight", "serve", *map(str, arguments), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert " at http://" in line, process.communicate()
    return process, line.split(" at ")[1].split(",")[0]


def end(process: Process) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)
    return process.returncode, said[1]


@pytest.fixture(scope="module")
def address(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, address = begin(home / "model.onnx", "--most-mb", "2")
    yield address
    assert end(process) == (0, "")


def ask(address: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers, and what the body holds: JSON, or bytes."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=60) as answer:
            status, told, content = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, told, content = error.code, error.headers, error.read()
    return status, told, json.loads(content) if told["Content-Type"] == "application/json" else content


def test_it_tells_what_the_model_knows(address: str) -> None:
    status, _, told = ask(f"{address}/api/model")
    assert status == 200
    assert (told["name"], told["labels"], told["several"]) == ("model.onnx", ["high", "low"], False)
    assert (told["crop_s"], told["rate_hz"], told["unknown"], told["most_bytes"]) == (0.4, 16000, True, 2_000_000)
    assert ask(f"{address}/health")[2] == {"status": "ok"}


def test_it_answers_as_predict_does(address: str, home: Path, song: Path) -> None:
    for path in [*sorted((home / "tones" / "low").glob("*.wav"))[:2], song]:
        expected = next(predict(home / "model.onnx", [path], threads=1)).to_dict()
        status, _, row = ask(f"{address}/api/predict?name=a%26b.wav", path.read_bytes())
        assert (status, row) == (200, {**expected, "path": "a&b.wav"})


def test_windows_and_events_come_together_or_line_by_line(address: str, home: Path, song: Path) -> None:
    expected = [
        {**row.to_dict(), "path": "song"}
        for row in predict(home / "model.onnx", [song], threads=1, window_s=0.4, hop_s=0.1)
    ]
    query = f"{address}/api/predict?name=song&window=0.4&hop=0.1"
    assert ask(query, song.read_bytes())[2] == {"rows": expected}
    status, told, content = ask(f"{query}&events=true", song.read_bytes(), Accept="application/x-ndjson")
    assert (status, told["Content-Type"]) == (200, "application/x-ndjson")
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row for row in rows if "event" not in row] == expected
    events = [row for row in rows if "event" in row]
    assert [event["label"] for event in events] == ["low", "high", "low"]
    assert [event["start_s"] for event in events] == pytest.approx([0, 2, 5], abs=0.11)
    assert {event["path"] for event in events} == {"song"}
    assert rows.index(events[0]) < len(rows) - 10  # told when it is over, not at the end


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("windows=3", "unknown query parameter 'windows'; did you mean window?"),
        ("foo=3", "unknown query parameter 'foo'; there is name, window, hop, events"),
        ("window=0.4&window=0.2", "window stands twice; give it once"),
    ],
)
def test_a_query_that_would_be_ignored_is_refused(address: str, query: str, words: str) -> None:
    status, _, told = ask(f"{address}/api/predict?{query}", b"x")
    assert (status, told["error"]) == (400, words)


def test_what_was_cut_off_is_answered_and_marked(address: str, song: Path) -> None:
    whole = song.read_bytes()
    status, _, row = ask(f"{address}/api/predict?name=half.wav", whole[: len(whole) // 2])
    assert status == 200
    assert row["label"] is not None
    assert row["truncated"].endswith("are there: half.wav; download it again")


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("/api/predict", b"no sound", 422, "not readable as sound: recording ("),
        ("/api/predict?name=x.wav", b"no sound", 422, "not readable as sound: x.wav ("),
        ("/api/predict", b"", 400, "the body is empty"),
        ("/api/predict?hop=1", b"x", 400, "give window"),
        ("/api/predict?events=1", b"x", 400, "give window"),
        ("/api/predict?window=9", b"x", 400, "longer than the 0.4 s that the network hears"),
        ("/api/predict?window=nan", b"x", 400, "must be above 0 s"),
        ("/api/predict?window=wide", b"x", 400, "window: Input should be a valid number"),
        ("/api/predict?name=", b"x", 400, "name: "),
        ("/api/predict?name=%0a%0dx", b"no sound", 422, r"not readable as sound: \x0a\x0dx"),
        ("/api/predict", None, 405, "GET /api/predict: there is GET /, GET /api/model and POST /api/predict"),
        ("/absent", None, 404, "GET /absent: there is"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    address: str, query: str, body: bytes | None, status: int, words: str
) -> None:
    found, _, told = ask(address + query, body)
    assert (found, list(told)) == (status, ["error"])
    assert words in told["error"]
    assert "\n" not in told["error"]
    assert "/tmp" not in told["error"]


def test_windows_end_with_a_row_that_says_what_could_not_be_read(address: str, song: Path) -> None:
    for accept in ("application/json", "application/x-ndjson"):
        status, _, told = ask(f"{address}/api/predict?window=0.4", b"no sound", Accept=accept)
        assert (status, told["error"][:21]) == (422, "not readable as sound")
    whole = song.read_bytes()
    status, _, told = ask(f"{address}/api/predict?name=half.wav&window=0.4&events=1", whole[: len(whole) // 2])
    assert status == 200
    assert told["rows"][-1]["error"].endswith("are there: half.wav; download it again")
    assert [row["label"] for row in told["rows"] if "event" in row] == ["low", "high"]


def connection(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def settled(folder: Path) -> bool:
    """Whether no recording lies there any more, within ten seconds."""
    return any(not list(folder.rglob("earsight-*/earsight-*")) or time.sleep(0.1) for _ in range(100))


def test_who_goes_away_leaves_nothing_behind_and_the_others_are_answered(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, address = begin(home / "model.onnx", "--most-mb", "50")
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(16000 * 3000), 16000)
    body = long.read_bytes()
    head = "POST /api/predict{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n"
    lines = "Accept: application/x-ndjson\r\n"
    for query, length, more in (
        ("?window=0.4&hop=0.1", len(body), ""),
        ("?window=0.4&hop=0.1", len(body), lines),
        ("", len(body) + 1000, ""),  # which never come
    ):
        with connection(address) as client:
            client.sendall(head.format(query, length, more).encode() + body)
            if more:
                assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert settled(tmp_path)
    assert ask(f"{address}/health")[2] == {"status": "ok"}
    with connection(address) as client:  # the server ends while it answers
        client.sendall(head.format("?window=0.4&hop=0.1", len(body), lines).encode() + body)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert end(process) == (0, "")
    assert list(tmp_path.glob("earsight-*")) == []


def ask_app(
    app: Any, query: str, body: bytes, accept: str = "*/*", taken: float = math.inf, drip_s: float = 0.0
) -> tuple[int, bytes]:
    """Status and body of an application that is asked in this process, without a server. taken: so many messages of its
    answer; the next ones wait, as for a client that does not read. drip_s: the body is sent again and again, after so
    many seconds."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "POST",
        "path": "/api/predict",
        "query_string": query.encode(),
        "headers": [(b"accept", accept.encode())],
    }
    sent: list[Any] = []

    async def asked() -> None:
        parts = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            if drip_s:
                await asyncio.sleep(drip_s)
                return {**parts[0], "more_body": True}
            return parts.pop() if parts else await asyncio.sleep(60)

        async def send(message: Any) -> None:
            if len(sent) == taken:
                await asyncio.sleep(60)
            sent.append(message)

        await app(scope, receive, send)

    asyncio.run(asked())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_half_of_the_rows_are_not_taken_for_all_where_the_server_ends(home: Path, song: Path) -> None:
    model = Exported.load(home / "model.onnx", 1)
    for accept in ("*/*", "application/x-ndjson"):
        steps = itertools.count()  # three times while it is received, once before the network
        app = create_app(model, "m", ending=lambda steps=steps: next(steps) == 7)
        status, body = ask_app(app, "window=0.4&hop=0.1", song.read_bytes(), accept)
        *rows, last = [json.loads(line) for line in body.splitlines()]
        assert (status, len(rows)) == ((503, 0) if accept == "*/*" else (200, 3))
        assert last == {"error": "the server is ending; ask again when it is back"}


def test_rows_that_nobody_takes_do_not_hold_a_place_for_ever(
    home: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "STALLED_S", 0.2)
    app = create_app(Exported.load(home / "model.onnx", 1), "m", folder=tmp_path)
    queries = ["window=0.4&hop=0.1"] * 20  # more than may be answered at once
    statuses = [ask_app(app, query, song.read_bytes(), _LINES, taken=3)[0] for query in queries]
    assert statuses == [200] * 20
    assert list(tmp_path.iterdir()) == []


def test_who_sends_a_byte_at_a_time_does_not_hold_a_place_for_ever(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "STALLED_S", 0.3)
    app = create_app(Exported.load(home / "model.onnx", 1), "m", folder=tmp_path)
    status, body = ask_app(app, "", b"RIFF", drip_s=0.1)
    assert (status, json.loads(body)) == (408, {"error": "slower than 4 kB a second; send it faster"})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_one_line(home: Path, song: Path, tmp_path: Path) -> None:
    app = create_app(Exported.load(home / "model.onnx", 1), "m", folder=tmp_path)

    class Full(io.RawIOBase):
        def write(self, part: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(handle: int, mode: str) -> Full:
        os.close(handle)
        return Full()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdopen", opened)
        status, body = ask_app(app, "", song.read_bytes())
    said = "the server can't keep the recording (No space left on device); ask again later"
    assert (status, json.loads(body)) == (507, {"error": said})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("options", "most"), [((), 16), (("--most-at-once", "3"), 3)])
def test_too_many_at_once_are_told_to_come_again(home: Path, options: tuple[str, ...], most: int) -> None:
    process, address = begin(home / "model.onnx", *options)
    held = [connection(address) for _ in range(most)]
    for client in held:
        client.sendall(b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234")
    time.sleep(1)
    status, headers, told = ask(f"{address}/api/predict", b"x")
    assert (status, headers["Retry-After"]) == (503, "1")
    assert told["error"] == f"as many recordings as may be ({most}) are being answered; try again"
    assert ask(f"{address}/health")[2] == {"status": "ok"}
    for client in held:
        client.close()
    time.sleep(1)
    assert ask(f"{address}/api/predict", b"x")[0] == 422
    assert end(process) == (0, "")


def test_many_channels_in_a_small_file_take_the_memory_of_one(address: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((192000 * 20, 8), dtype=np.int16), 192000, format="FLAC")
    assert ask(f"{address}/api/predict", file.getvalue())[2]["label"] == "unknown"
    long = io.BytesIO()
    soundfile.write(long, np.zeros(8000 * 601, dtype=np.int16), 8000, format="FLAC")
    status, _, told = ask(f"{address}/api/predict", long.getvalue())
    assert (status, told["error"][:25]) == (422, "longer than 10 minutes, o")


def test_a_label_is_answered_from_its_threshold(home: Path) -> None:
    process, address = begin(home / "model.onnx", "--no-unknown", "--threshold", "high=0")
    low = next((home / "tones" / "low").glob("*.wav"))
    told = ask(f"{address}/api/predict", low.read_bytes())[2]
    assert told["label"] == "high"
    assert told["probabilities"]["low"] > 0.5
    assert end(process) == (0, "")


def test_many_ask_at_once_and_nothing_is_left_behind(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, address = begin(home / "model.onnx", "--no-unknown")
    paths = sorted((home / "tones").rglob("*.wav"))
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda path: ask(f"{address}/api/predict", path.read_bytes())[2], paths))
    assert [row["label"] for row in rows] == [path.parent.name for path in paths]
    assert list(tmp_path.rglob("earsight-*/earsight-*")) == []
    assert end(process) == (0, "")
    assert list(tmp_path.glob("earsight-*")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_server_that_is_told_to_end_leaves_no_recording(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """As systemd and Docker do, and a terminal that is closed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, address = begin(home / "model.onnx")
    with connection(address) as client:
        client.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n" + bytes(40_000)
        )
        while not list(tmp_path.rglob("earsight-*/earsight-*")):
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=20) == -number
        if number == signal.SIGTERM:  # who was sending is told
            answer = client.recv(4000)
            assert answer.startswith(b"HTTP/1.1 503"), answer
    if number == signal.SIGTERM:
        assert process.communicate()[1] == ""
    assert list(tmp_path.glob("earsight-*")) == []


def test_a_form_and_another_sites_page_are_refused(address: str) -> None:
    status, _, told = ask(f"{address}/api/predict", b"x", **{"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, "curl --data-binary" in told["error"]) == (400, True)
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        assert ask(f"{address}/api/predict", b"x", **headers)[0] == 403
    proxied = {"Origin": "http://ears.example", "X-Forwarded-Host": "ears.example"}
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": "http://proxy.example"}, {"Origin": address}, proxied):
        assert ask(f"{address}/api/predict", b"x", **headers)[0] == 422  # it is no sound
    with connection(address) as client:
        client.sendall(b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000000\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413")  # before a byte of it has come
    with connection(address) as client:
        client.sendall(b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(21):  # of 100,000 bytes, and none of them says that it is the last
            client.sendall(b"186a0\r\n" + bytes(100_000) + b"\r\n")
        answer = b""
        while not answer.endswith(b'{"error":"more than 2 MB, which is the most here; send a part of it"}'):
            part = client.recv(4000)
            assert part, answer
            answer += part
        assert answer.startswith(b"HTTP/1.1 413")
    request = urllib.request.Request(f"{address}/api/model", method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert (answer.status, answer.read()) == (200, b"")


def test_the_page_holds_together(address: str) -> None:
    status, headers, page = ask(f"{address}/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    for name, kind in (("style.css", "text/css"), ("page.js", "text/javascript"), ("recorder.js", "text/javascript")):
        status, headers, content = ask(f"{address}/{name}")
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert b"http://" not in content  # nothing from elsewhere
        if name != "recorder.js":
            assert f'"{name}"'.encode() in page
    script = ask(f"{address}/page.js")[2].decode()
    named = {part.split('"')[0] for part in script.split('$("')[1:]}
    assert named <= {part.split('"')[0] for part in page.decode().split('id="')[1:]}
    assert {"files", "live", "label", "bars", "events"} <= named


def test_a_run_folder_is_served_too(home: Path, song: Path) -> None:
    process, address = begin(home / "run")
    expected = next(predict(home / "run", [song], threads=1))
    row = ask(f"{address}/api/predict", song.read_bytes())[2]
    assert row["label"] == expected.label
    assert row["probabilities"] == pytest.approx(expected.probabilities)
    rows = ask(f"{address}/api/predict?window=0.4&events=1", song.read_bytes())[2]["rows"]
    assert [row["label"] for row in rows if "event" in row] == ["low", "high", "low"]
    assert end(process) == (0, "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--host", "999.1.1.1"], "can't listen on 999.1.1.1, port 8000"),
        (["--host", "my..host"], "--host my..host is not the name of a host"),
        (["--most-mb", "0"], "--most-mb must be above 0"),
        (["--most-mb", "inf"], "--most-mb must be above 0 and finite, got inf"),
        (["--most-at-once", "0"], "--most-at-once must be from 1 to 1000, got 0"),
        (["--device", "cuda"], "an exported file runs on the CPU here"),
    ],
)
def test_a_server_that_can_not_be_is_refused(home: Path, options: list[str], words: str) -> None:
    command = [sys.executable, "-m", "earsight", "serve", home / "model.onnx", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert words in done.stderr


def test_a_port_that_is_taken_is_named(home: Path, address: str) -> None:
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "earsight", "serve", home / "model.onnx", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"can't listen on 127.0.0.1, port {port} (Address already in use)" in done.stderr


def test_more_than_a_crop_is_heard_in_its_middle(address: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(3000.0, 1.0), 16000)
    assert ask(f"{address}/api/predict", (tmp_path / "a.flac").read_bytes())[2]["label"] == "high"


def test_a_model_that_fails_is_told_in_one_line(home: Path, song: Path, tmp_path: Path) -> None:
    class Failing(Exported):
        error: type[Exception] = RuntimeError

        def predictions(self, crops: Any) -> Any:
            raise self.error("of the\nruntime")

    model = Failing.load(home / "model.onnx", 1)
    for error, status, said in (
        (RuntimeError, 500, "the model failed: of the"),
        (MemoryError, 503, "not enough memory for this recording now; ask again, or for shorter ones"),
    ):
        Failing.error = error
        app = create_app(model, "m", folder=tmp_path)
        found, body = ask_app(app, "", song.read_bytes())
        assert (found, json.loads(body)) == (status, {"error": said})
        assert list(tmp_path.iterdir()) == []


def test_what_it_takes_and_answers_is_told_to_machines(home: Path) -> None:
    app = create_app(Exported.load(home / "model.onnx", 1), "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = app.openapi()
    ids = [one["operationId"] for path in told["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids)) == 3
    asked_of = told["paths"]["/api/predict"]["post"]
    (kind,) = asked_of["requestBody"]["content"]
    assert kind == "application/octet-stream"
    assert set(asked_of["responses"]) == {"200", "400", "403", "408", "413", "421", "422", "500", "503", "507"}
    refusals = [asked_of["responses"][code]["content"]["application/json"]["schema"] for code in ("400", "422", "507")]
    assert [list(one["properties"]) for one in refusals] == [["error"]] * 3


def test_many_who_ask_for_long_recordings_are_heard_a_few_at_a_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "allowed_cores", lambda: 2)
    at_work, most, two = [], [], threading.Barrier(2)  # they go on by twos, however slow the machine

    sound = io.BytesIO()
    soundfile.write(sound, tone(3000, 0.5), 16000, format="WAV")
    real = rows.answer

    def counted(*arguments: Any, **options: Any) -> Any:
        at_work.append(1)
        two.wait(timeout=20)
        most.append(len(at_work))
        two.wait(timeout=20)
        yield from real(*arguments, **options)
        at_work.pop()

    monkeypatch.setattr(rows, "answer", counted)
    app = create_app(Exported.load(home / "model.onnx", 1), "m")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: ask_app(app, "", sound.getvalue())[0], range(8)))
    assert (statuses, max(most)) == ([200] * 8, 2)
