"""What a real server writes of requests."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.web.test_server import ask, begin, connection, end


def test_a_line_a_request_says_what_was_done_and_not_to_whom(home: Path, song: Path) -> None:
    process, address = begin(home / "model.onnx", "--log")
    body = song.read_bytes()
    sent = [len(json.dumps(ask(f"{address}/api/predict?name=anna_03.wav", body)[2], separators=(",", ":")))]
    ask(f"{address}/api/predict?window=0.4", body, Accept="application/x-ndjson")
    ask(f"{address}/api/predict?name=anna_03.wav", b"no sound")
    ask(f"{address}/anna_03.wav")
    ask(f"{address}/health", Host="anna.example")
    with connection(address) as client:
        client.sendall(b"POST /api/predict?name=anna HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n1234")
        time.sleep(1)
    time.sleep(1)
    status, said = end(process)
    assert (status, "anna" in said, "127.0.0.1" in said, "high" in said) == (0, False, False, False)
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(one["method"], one["path"], one["status"], one["received"], one["gone"]) for one in lines] == [
        ("POST", "/api/predict", 200, len(body), False),
        ("POST", "/api/predict", 200, len(body), False),
        ("POST", "/api/predict", 422, 8, False),
        ("GET", None, 404, 0, False),
        ("GET", None, 421, 0, False),
        ("POST", "/api/predict", 400, 4, True),
    ]
    assert lines[0]["sent"] == sent[0]
    assert lines[1]["sent"] > 10 * sent[0] > 0
    assert all(0 <= one["seconds"] < 60 for one in lines)
    assert lines[-1]["seconds"] >= 1
    assert abs((datetime.now(UTC) - datetime.fromisoformat(lines[0]["time"])).total_seconds()) < 120
