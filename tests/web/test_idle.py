"""Half a request, on a real socket."""

import socket
import threading
import time

import pytest
import uvicorn

from earsight.web import api
from earsight.web.idle import idle_closing_protocol


async def app(scope: dict[str, str], receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_request_that_never_comes_whole_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(api, "STALLED_S", 0.5)
    server = uvicorn.Server(uvicorn.Config(app, http=idle_closing_protocol(), log_level="warning", lifespan="off"))
    listening = socket.create_server(("127.0.0.1", 0))
    running = threading.Thread(target=server.run, args=([listening],))
    running.start()
    with socket.create_connection(listening.getsockname(), timeout=20) as client:
        if before:
            client.sendall(before)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        while client.recv(1000):
            pass
        assert time.monotonic() - begun < 4  # uvicorn closes what is quite silent after an answer after 5 s
    server.should_exit = True
    running.join(20)
