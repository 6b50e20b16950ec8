"""A model behind HTTP: a page for people, JSON for programs. No torch here; an exported file needs none."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from earsight import __version__, extras
from earsight.errors import EarsightError, SettingsError
from earsight.network.prediction import Prediction
from earsight.plain import plain
from earsight.scores.events import Rule
from earsight.tasks.heard import EventRows
from earsight.tasks.predict import Row, Sliding, answer, check_model, load_model
from earsight.tasks.recordings import Recording

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response

    from earsight.audio.decode import Samples
    from earsight.network.classifier import Classifier
    from earsight.network.exported import Exported

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_LINES = "application/x-ndjson"
_HEADERS = {
    # All is our own: nothing from elsewhere is loaded (as FastAPI's pages of documentation would), no page frames ours.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class OneAtATime:
    """A model that several threads may ask: its network answers one of them after the other, with all its threads."""

    def __init__(self, model: "Classifier | Exported") -> None:
        self._model, self._lock = model, threading.Lock()
        self.audio, self.labels = model.audio, model.labels
        self.multilabel, self.thresholds = model.multilabel, model.thresholds

    def predictions(self, crops: "Samples") -> Iterator[Prediction]:
        with self._lock:
            return iter(list(self._model.predictions(crops)))


def create_app(
    model: "Classifier | Exported", name: str, *, unknown: bool = True, most_bytes: int = 200_000_000
) -> "FastAPI":
    """An ASGI application. name: of the model, for people. unknown: see ``predict``. most_bytes: of one recording.

    GET / is the page, GET /api/model tells what the model knows, POST /api/predict answers the recording that is the
    body of the request, and GET /health says that it is there. Errors are {"error": "one line"}. Raises
    MissingExtraError.
    """
    extras.check("fastapi")
    import fastapi
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException

    app = fastapi.FastAPI(
        title=f"earsight: {name}", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    shared: Any = OneAtATime(model)

    @app.middleware("http")
    async def headers(request: fastapi.Request, call_next: Any) -> Any:
        answered = await call_next(request)
        answered.headers.update(_HEADERS)
        return answered

    @app.exception_handler(EarsightError)
    async def refused(request: fastapi.Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": plain(str(error), 1000)}, 400 if isinstance(error, SettingsError) else 422)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: fastapi.Request, error: Exception) -> JSONResponse:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(map(str, first.get("loc", ())[1:]))
        said = f"{where}: {first.get('msg')}, got {first.get('input')!r}"
        return JSONResponse({"error": plain(said, 1000)}, 400)

    @app.exception_handler(HTTPException)
    async def absent(request: fastapi.Request, error: Exception) -> JSONResponse:
        code = error.status_code if isinstance(error, HTTPException) else 500
        asked = plain(f"{request.method} {request.url.path}", 100)
        said = f"{asked}: there is GET /, GET /api/model and POST /api/predict" if code in {404, 405} else str(error)
        return JSONResponse({"error": said}, code, getattr(error, "headers", None))

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/model")
    def told() -> dict[str, Any]:
        """labels: in the order of the answers. several: whether a clip can have several. crop_s: what is heard at
        once."""
        return {
            "name": name,
            "labels": list(model.labels),
            "several": model.multilabel,
            "crop_s": model.audio.crop_s,
            "rate_hz": model.audio.rate_hz,
            "unknown": unknown,
            "most_bytes": most_bytes,
            "earsight": __version__,
        }

    @app.post("/api/predict", response_model=None)
    async def predict(
        request: fastapi.Request,
        name: Annotated[str, fastapi.Query(max_length=300)] = "recording",
        window: float | None = None,
        hop: float | None = None,
        events: bool = False,
    ) -> "Response":
        """The answer to the recording in the body (WAV, FLAC, MP3, Ogg, Opus, AIFF, AU, CAF). window, hop: in seconds;
        answers to windows, and with events what was heard from when to when. With Accept: application/x-ndjson rows
        come one a line, while they are found."""
        if window is None and (hop is not None or events):
            raise SettingsError("hop and events are for windows; give window, in seconds, too")
        sliding = None
        if window is not None:
            sliding = Sliding(window, window / 3 if hop is None else hop).of(model.audio)
        place = await _received(request, most_bytes)
        rows = _rows(shared, place, name, unknown, sliding, events)
        if _LINES in request.headers.get("accept", ""):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return StreamingResponse(lines, media_type=_LINES)
        found = await run_in_threadpool(list, rows)
        if sliding is None and "error" in found[0]:
            return JSONResponse({"error": found[0]["error"]}, 422)
        return JSONResponse(found[0] if sliding is None else {"rows": found})

    def served(file: str) -> Any:
        content = files("earsight.web").joinpath("static", file).read_bytes()
        return lambda: fastapi.Response(content, media_type=_TYPES[file.rpartition(".")[2]])

    for address, file in (("/", "index.html"), *((f"/{one}", one) for one in ("page.js", "recorder.js", "style.css"))):
        app.api_route(address, methods=["GET", "HEAD"], include_in_schema=False)(served(file))
    return app


async def _received(request: "Request", most_bytes: int) -> Path:
    """The body, in a file. Raises SettingsError, and starlette's HTTPException where it is too large."""
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    handle, name = tempfile.mkstemp(prefix="earsight-")
    size = 0
    try:
        with os.fdopen(handle, "wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > most_bytes:
                    raise HTTPException(413, f"more than {most_bytes / 1e6:g} MB; send a part of it, or --most-mb")
                file.write(part)
        if not size:
            raise SettingsError("the body is empty; send the bytes of a recording")
    except (EarsightError, HTTPException, ClientDisconnect, OSError):
        Path(name).unlink()
        raise
    return Path(name)


def _rows(
    model: Any, place: Path, name: str, unknown: bool, sliding: Sliding | None, events: bool
) -> Iterator[dict[str, Any]]:
    """What is told of the recording at ``place``, which is removed at the end; it goes by ``name``."""
    found = None
    if sliding is not None and events:
        found = EventRows(model.labels, sliding.hop_s, Rule(), model.thresholds if model.multilabel else None)
    try:
        for row in answer(model, [Recording(str(place))], unknown=unknown, sliding=sliding):
            yield _told(row, place, name)
            for event in found.push(row) if found else ():
                if not isinstance(event, Row):
                    yield {"event": True, **event.to_dict(), "path": name}
    finally:
        place.unlink(missing_ok=True)


def _told(row: Row, place: Path, name: str) -> dict[str, Any]:
    def named(text: str | None) -> str | None:
        return None if text is None else text.replace(str(place), name)

    return replace(row, path=name, error=named(row.error), truncated=named(row.truncated)).to_dict()


def serve(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "cpu",
    threads: int | None = None,
    unknown: bool = True,
    most_mb: float = 200,
    ready: Any = None,
) -> None:
    """Serve a model until Ctrl-C. port: 0 takes a free one. ready: is told the address once it can be asked. Raises
    EarsightError."""
    if not most_mb > 0:
        raise SettingsError(f"--most-mb must be above 0, got {most_mb:g}")
    if not 0 <= port <= 65535:
        raise SettingsError(f"--port must be from 0 to 65535, got {port}")
    extras.check("fastapi", "uvicorn")
    check_model(run, device, threads)
    listening = _bound(host, port)
    with listening:
        app = create_app(
            load_model(run, device, threads), Path(run).name, unknown=unknown, most_bytes=round(most_mb * 1e6)
        )
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"

        @asynccontextmanager
        async def begun(_: Any) -> AsyncIterator[None]:
            if ready is not None:
                ready(address)
            yield

        app.router.lifespan_context = begun
        uvicorn = extras.require("uvicorn")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:  # create_server puts the address into the reason; an unknown host has no such number
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise SettingsError(f"can't listen on {host}, port {port} ({reason}); pass another --port or --host") from error
