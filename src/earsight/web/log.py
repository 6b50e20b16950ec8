"""A line of JSON for each request: when, what, how long. It has no client address, file name or answer."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any


class RequestLog:
    """ASGI middleware that writes a line to standard error when a request is over.

    path: without the query, which may hold file names; null for pages that do not exist, whose path may hold anything.
    received, sent: bytes of the bodies. gone: whether the client left before the end of its answer.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at, begun = datetime.now(UTC), time.monotonic()
        line = {"time": at.isoformat(timespec="milliseconds"), "method": scope["method"][:10], "path": None}
        line |= {"status": None, "seconds": 0.0, "received": 0, "sent": 0, "gone": False}
        over = False

        async def receiving() -> Any:
            message = await receive()
            line["received"] += len(message.get("body", b""))
            line["gone"] = line["gone"] or (message["type"] == "http.disconnect" and not over)
            return message

        async def sending(message: Any) -> None:
            nonlocal over
            line["status"] = message.get("status", line["status"])
            line["sent"] += len(message.get("body", b""))
            over = over or (message["type"] == "http.response.body" and not message.get("more_body", False))
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        finally:
            line["path"] = scope["path"] if "endpoint" in scope else None  # where it is one of ours
            line["seconds"] = round(time.monotonic() - begun, 3)
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()
