"""What is asked of the server: whether it makes sense, who asks, and the recording in the body."""

import asyncio
import difflib
import math
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight.errors import EarsightError, SettingsError
from earsight.plain import plain
from earsight.tasks.predict import Sliding

if TYPE_CHECKING:
    from fastapi import Request

STALLED_S = 30.0
"""Without a byte of a recording, or with a row that nobody takes."""
LOOKED_UP_S = 0.5
"""How often it is looked whether the client or the server goes away."""
_LEAST_BYTES_A_S = 4000  # after the first half minute, on average: who sends less keeps others out
ENDING = "the server is ending; ask again when it is back"
_QUERY = ("name", "window", "hop", "events")


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a recording: WAV, FLAC, MP3, Ogg, Opus, AIFF, AU, CAF or W64.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What POST /api/predict takes, for openapi.json."""
_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "One line."}},
    "required": ["error"],
}
_REFUSALS = {
    400: "What was asked makes no sense.",
    403: "Asked by a page of another site.",
    408: "No byte came for half a minute.",
    413: "Too large, or too many rows at once.",
    421: "Asked by a name that is not the server's.",
    422: "Nothing that can be heard.",
    500: "The model failed.",
    503: "Too many at once, not enough memory, or the server is ending.",
    507: "The server's disk is full.",
}
_ROW = {
    "type": "object",
    "description": "As a line of earsight predict: docs/predict.md.",
    "properties": {
        "path": {"type": "string"},
        "label": {"type": "string"},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
_ROWS = {"type": "object", "properties": {"rows": {"type": "array", "items": _ROW}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A row; with window all of them, together or, by Accept, one a line.",
        "content": {
            "application/json": {"schema": {"anyOf": [_ROW, _ROWS]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
    **{
        code: {"description": why, "content": {"application/json": {"schema": _ERROR}}}
        for code, why in _REFUSALS.items()
    },
}
"""What it answers, likewise."""


class Refused(EarsightError):
    """What a request can't have. status: of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_query(request: "Request") -> None:
    """Raise SettingsError for a name that means nothing, or that stands twice: what was meant would not be done."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in _QUERY:
            near = difflib.get_close_matches(name, _QUERY, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(_QUERY)}"
            raise SettingsError(f"unknown query parameter {plain(name, 40)!r}; {hint}")
        if names.count(name) > 1:
            raise SettingsError(f"{name} stands twice; give it once")


def is_cross_site(request: "Request") -> bool:
    """Browsers say so by a header; to an address that is neither https nor of the same machine by the page's origin
    alone, which is that of this server, or of the proxy before it."""
    told, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if told is not None or origin is None:
        return told in {"cross-site", "same-site"}  # the second: another port of this machine, too
    own = {request.headers.get(name) for name in ("host", "x-forwarded-host")}
    return origin.partition("://")[2] not in own


def sliding_of(window: float | None, hop: float | None, events: bool, model: Any) -> Sliding | None:
    """Raises SettingsError."""
    if window is None:
        if hop is not None or events:
            raise SettingsError("hop and events are for windows; give window, in seconds, too")
        return None
    return Sliding.every(window, hop).of(model.audio)


async def receive_body(request: "Request", most_bytes: int, folder: Path | None, ending: Callable[[], bool]) -> Path:
    """The body, in a file. ending: whether the server is about to end. Raises EarsightError, and ClientDisconnect."""
    too_large = Refused(413, f"more than {most_bytes / 1e6:g} MB, which is the most here; send a part of it")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise SettingsError("the body is a form; send the bytes of the recording alone (curl --data-binary @a.wav)")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most_bytes:
        raise too_large
    try:
        handle, name = tempfile.mkstemp(prefix="earsight-", dir=folder)
    except OSError as error:
        raise _no_room(error) from error
    size, parts, begun = 0, aiter(request.stream()), asyncio.get_running_loop().time()
    try:
        with os.fdopen(handle, "wb") as file:
            while (part := await _next(parts, ending)) is not None:
                size += len(part)
                if size > most_bytes:
                    raise too_large
                file.write(part)
                took_s = asyncio.get_running_loop().time() - begun
                if took_s > STALLED_S and size < _LEAST_BYTES_A_S * (took_s - STALLED_S):
                    raise Refused(408, f"slower than {_LEAST_BYTES_A_S / 1000:g} kB a second; send it faster")
        if not size:
            raise SettingsError("the body is empty; send the bytes of a recording")
    except BaseException as error:  # a request may be cancelled, too
        Path(name).unlink()
        if isinstance(error, OSError):
            raise _no_room(error) from error
        raise
    return Path(name)


async def _next(parts: AsyncIterator[bytes], ending: Callable[[], bool]) -> bytes | None:
    """None after the last."""
    coming = asyncio.ensure_future(anext(parts, None))
    try:
        for _ in range(math.ceil(STALLED_S / LOOKED_UP_S)):
            if ending():
                raise Refused(503, ENDING)
            if (await asyncio.wait([coming], timeout=min(STALLED_S, LOOKED_UP_S)))[0]:
                return coming.result()
        raise Refused(408, f"no byte came for {STALLED_S:g} s")
    finally:
        coming.cancel()


def _no_room(error: OSError) -> Refused:
    return Refused(507, f"the server can't keep the recording ({error.strerror}); ask again later")
