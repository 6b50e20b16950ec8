"""A real server while many ask for what takes long."""

import io
import select
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import tone
from tests.web.test_server import ask, begin, connection, end, settled


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Nearly ten minutes in two channels at 48 kHz: some seconds of work."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    second = np.stack([tone(300.0, 1.0, 48000)] * 2, 1)
    with soundfile.SoundFile(path, "w", 48000, 2) as file:
        for _ in range(590):
            file.write(second)
    return path.read_bytes()


def received(folder: Path, count: int, size: int) -> bool:
    """Whether so many recordings lie there, whole, within a minute."""
    return any(
        [path.stat().st_size for path in folder.rglob("earsight-*/earsight-*")] == [size] * count or time.sleep(0.05)
        for _ in range(1200)
    )


@pytest.mark.parametrize("query", ["", "?window=0.4&hop=0.1"])
def test_a_server_that_is_told_to_end_under_load_tells_all_who_wait_and_ends(
    home: Path, long: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, address = begin(home / "model.onnx")
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, f"{address}/api/predict{query}", long) for _ in range(12)]
        assert received(tmp_path, 12, len(long))
        process.send_signal(signal.SIGTERM)
        answers = [one.result() for one in asked]
    assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == -signal.SIGTERM
    refused = [told for status, _, told in answers if status != 200]  # a quick machine may have answered one or two
    assert refused.count({"error": "the server is ending; ask again when it is back"}) == len(refused) >= 10
    assert list(tmp_path.glob("earsight-*")) == []


def test_who_has_gone_is_not_worked_for(
    home: Path, long: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, address = begin(home / "model.onnx")
    head = f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(long)}\r\n\r\n"
    clients = [connection(address) for _ in range(12)]
    for client in clients:
        client.sendall(head.encode() + long)
    assert received(tmp_path, 12, len(long))
    for client in clients:
        client.close()
    begun = time.monotonic()
    assert settled(tmp_path)
    assert time.monotonic() - begun < 6
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[1] == ""


def test_who_waits_for_a_turn_does_not_keep_out_who_needs_none(home: Path, song: Path) -> None:
    """More wait than there are threads in starlette's pool, 40."""
    process, address = begin(home / "model.onnx", "--most-at-once", "130")
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(48000 * 590, dtype=np.int16), 48000, format="FLAC")
    body = silence.getvalue()
    head = f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    clients = [connection(address) for _ in range(120)]
    for client in clients:
        client.sendall(head.encode() + body)
    assert ask(f"{address}/api/predict?window=0.4", song.read_bytes())[0] == 200
    answered, _, _ = select.select(clients, [], [], 0)
    for client in clients:
        client.close()
    assert len(answered) < 60
    assert end(process) == (0, "")
