"""A model behind HTTP: a page for people, JSON for programs. No torch here; an exported file needs none."""

import asyncio
import json
import math
import os
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from earsight import __version__, extras
from earsight.errors import EarsightError, SettingsError, first_line
from earsight.network.prediction import Prediction
from earsight.plain import plain
from earsight.scores.events import Rule
from earsight.tasks.answers.event_rows import EventRows
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.interrupt import closed_on_sigterm
from earsight.tasks.predict import Row, Sliding, answer, check_model, open_model
from earsight.tasks.recordings import Recording
from earsight.web import asked
from earsight.web.asked import Refused, check_query, is_of_another_site, received, sliding_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

    from earsight.audio.decode import Samples
    from earsight.network.classifier import Classifier
    from earsight.network.exported import Exported

MOST_AT_ONCE = 16
"""Recordings that are received or answered at once; whoever comes then is told to come again."""
_LONGEST_S = 600.0  # of a recording that is answered as a whole: 115 MB at 48 kHz
_MOST_ROWS, _MOST_NUMBERS = 100_000, 2_000_000  # of one answer that is sent as a whole
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
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
    """A model that several threads may ask: its network answers one of them after the other, with all its threads.
    whole: held while a recording is heard as a whole; there is one a core."""

    def __init__(self, model: "Classifier | Exported") -> None:
        self._model, self._lock = model, threading.Lock()
        self.whole = threading.BoundedSemaphore(allowed_cores())
        self.audio, self.labels = model.audio, model.labels
        self.multilabel, self.thresholds = model.multilabel, model.thresholds

    def predictions(self, crops: "Samples") -> Iterator[Prediction]:
        try:
            with self._lock:
                return iter(list(self._model.predictions(crops)))
        except MemoryError as error:
            raise Refused(503, "not enough memory for this recording now; ask again, or for shorter ones") from error
        except Exception as error:  # of torch or onnxruntime, which have kinds of their own
            raise Refused(500, f"the model failed: {first_line(error)[:200]}") from error


class Rows:
    """The rows of one recording, which lies in a file of its own: made one after the other in other threads, until the
    client or the server goes away. Close it."""

    def __init__(self, place: Path, rows: Iterator[dict[str, Any]], gone: Callable[[], Any]) -> None:
        self._place, self._rows, self._gone = place, rows, gone

    async def step(self) -> dict[str, Any] | None:
        """The next row; None after the last. Raises Refused where the server is ending, or nobody takes it."""
        from starlette.concurrency import run_in_threadpool

        if await self._gone():
            raise Refused(503, asked.ENDING)
        return await run_in_threadpool(next, self._rows, None)

    async def close(self) -> None:
        import anyio

        with anyio.CancelScope(shield=True):  # also where the request was cancelled
            await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        self._rows.close()  # type: ignore[attr-defined]
        self._place.unlink(missing_ok=True)


def create_app(
    model: "Classifier | Exported",
    name: str,
    *,
    unknown: bool = True,
    most_bytes: int = 200_000_000,
    folder: Path | None = None,
    ready: Callable[[], None] | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> "FastAPI":
    """An ASGI application. name: of the model, for people. unknown: see ``predict``. most_bytes: of one recording.
    folder: where recordings lie until they are answered; None: the system's for temporary files. ready: is called when
    it begins. ending: whether the server is about to end, and requests should too.

    GET / is the page, GET /api/model tells what the model knows, POST /api/predict answers the recording that is the
    body of the request, and GET /health says that it is there. Errors are {"error": "one line"}. Raises
    MissingExtraError.
    """
    extras.check("fastapi")
    import fastapi
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        if ready is not None:
            ready()
        yield

    app = fastapi.FastAPI(
        title=f"earsight: {name}",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
    )
    shared: Any = OneAtATime(model)
    busy: set[object] = set()

    def refusal(status: int, message: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": plain(message)}, status, headers)

    class Streamed(StreamingResponse):
        """With what is to be done after it, whether it came to its end, broke off, or never began."""

        def __init__(self, lines: AsyncIterator[str], done: Callable[[], Any]) -> None:
            super().__init__(lines, media_type=_LINES)
            self._done = done

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def taken(message: Any) -> None:
                await asyncio.wait_for(send(message), asked.STALLED_S)

            try:
                await super().__call__(scope, receive, taken)
            except (TimeoutError, ClientDisconnect):  # starlette's word for the first
                pass  # nobody takes the rows; the connection ends in the middle of them
            finally:
                await self._done()

    @app.exception_handler(EarsightError)
    async def refused(request: fastapi.Request, error: Exception) -> JSONResponse:
        said = str(error)
        for option in ("window", "hop"):  # of the command line; here they are parts of the query
            said = said.replace(f"--{option}", option)
        status = error.status if isinstance(error, Refused) else 400 if isinstance(error, SettingsError) else 422
        return refusal(status, said, {"Retry-After": "1"} if status == 503 else None)

    @app.exception_handler(Exception)
    async def failed(request: fastapi.Request, error: Exception) -> JSONResponse:
        """A mistake of ours: the server's log has it. This answer does not pass through ``_WithHeaders``."""
        return refusal(500, "the server failed; its log says why", _HEADERS)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: fastapi.Request, error: Exception) -> JSONResponse:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(map(str, first.get("loc", ())[1:]))
        return refusal(400, f"{where}: {first.get('msg')}, got {plain(first.get('input'), 100)!r}")

    @app.exception_handler(HTTPException)
    async def absent(request: fastapi.Request, error: Exception) -> JSONResponse:
        code = error.status_code if isinstance(error, HTTPException) else 500
        what = plain(f"{request.method} {request.url.path}", 100)
        said = f"{what}: there is GET /, GET /api/model and POST /api/predict" if code in {404, 405} else str(error)
        return refusal(code, said, getattr(error, "headers", None))

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.head("/api/model", include_in_schema=False)
    @app.get("/api/model")
    async def told() -> dict[str, Any]:
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

    @app.post("/api/predict", response_model=None, responses=asked.ANSWERS, openapi_extra=asked.BODY)
    async def predict(
        request: fastapi.Request,
        name: Annotated[str, fastapi.Query(min_length=1, max_length=300)] = "recording",
        window: float | None = None,
        hop: float | None = None,
        events: bool = False,
    ) -> "Response":
        """The answer to the recording in the body (WAV, FLAC, MP3, Ogg, Opus, AIFF, AU, CAF). window, hop: in seconds;
        answers to windows, and with events what was heard from when to when. With Accept: application/x-ndjson rows
        come one a line, while they are found."""
        check_query(request)
        sliding = sliding_of(window, hop, events, model)
        if is_of_another_site(request):
            raise Refused(
                403, "asked by a page of another site; open the page of this server (a proxy must hand on Host)"
            )
        if len(busy) >= MOST_AT_ONCE:
            raise Refused(503, f"{MOST_AT_ONCE} recordings are being answered; try again")
        busy.add(request)
        found: Rows | None = None
        streamed = False

        async def gone() -> bool:
            return ending() or await request.is_disconnected()

        async def done() -> None:
            busy.discard(request)
            if found is not None:
                await found.close()

        try:
            place = await received(request, most_bytes, folder, ending)
            found = Rows(place, _rows(shared, place, plain(name), unknown, sliding, events), gone)
            first = await found.step() or {}
            if first.get("error"):  # nothing of it could be heard
                raise Refused(422, first["error"])
            if _LINES in request.headers.get("accept", ""):
                streamed = True
                return Streamed(_lines(first, found), done)
            rows = [first]
            most = min(_MOST_ROWS, _MOST_NUMBERS // len(model.labels))
            while (row := await found.step()) is not None:
                rows.append(row)
                if len(rows) > most:
                    raise Refused(413, f"more than {most:,} rows; take a longer hop, or Accept: {_LINES}")
            return JSONResponse(rows[0] if sliding is None else {"rows": rows})
        except ClientDisconnect:
            return fastapi.Response(status_code=400)  # nobody reads it
        finally:
            if not streamed:
                await done()

    def served(file: str) -> Any:
        content = files("earsight.web").joinpath("static", file).read_bytes()

        async def answered() -> fastapi.Response:
            return fastapi.Response(content, media_type=_TYPES[file.rpartition(".")[2]])

        return answered

    for address, file in (("/", "index.html"), *((f"/{one}", one) for one in ("page.js", "recorder.js", "style.css"))):
        app.api_route(address, methods=["GET", "HEAD"], include_in_schema=False)(served(file))
    app.add_middleware(_WithHeaders)
    return app


class _WithHeaders:
    """ASGI: every answer has them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        await self._app(scope, receive, sending)


async def _lines(first: dict[str, Any], found: Rows) -> AsyncIterator[str]:
    row: dict[str, Any] | None = first
    while row is not None:
        yield json.dumps(row, ensure_ascii=False) + "\n"
        try:
            row = await found.step()
        except Refused as error:  # the status has been sent
            yield json.dumps({"error": str(error)}) + "\n"
            return


def _rows(
    model: Any, place: Path, name: str, unknown: bool, sliding: Sliding | None, events: bool
) -> Iterator[dict[str, Any]]:
    """What is told of the recording at ``place``, which goes by ``name``."""
    found = None
    if sliding is not None and events:
        found = EventRows.of(model, sliding.hop_s, Rule())
    recordings = [Recording(str(place))]
    rows = answer(model, recordings, unknown=unknown, sliding=sliding, longest_s=_LONGEST_S)
    if sliding is None:
        with model.whole:  # ten minutes of sound are megabytes, and those of all who ask at once would be gigabytes
            rows = iter(list(rows))
    for row in rows:
        for event in found.push(row) if found else ():
            if not isinstance(event, Row):
                yield {"event": True, **event.to_dict(), "path": name}
        yield _told(row, place, name)


def _told(row: Row, place: Path, name: str) -> dict[str, Any]:
    def named(text: str | None) -> str | None:
        return None if text is None else plain(text.replace(str(place), name))

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
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a model until Ctrl-C; SIGTERM ends the process when recordings are removed. port: 0 takes a free one.
    ready: is told the address once it can be asked. Raises EarsightError."""
    if not 0 < most_mb * 1e6 < math.inf:
        raise SettingsError(f"--most-mb must be above 0 and finite, got {most_mb:g}")
    if not 0 <= port <= 65535:
        raise SettingsError(f"--port must be from 0 to 65535, got {port}")
    extras.check("fastapi", "uvicorn")
    check_model(run, device, threads)
    with (
        closed_on_sigterm(),
        _bound(host, port) as listening,
        tempfile.TemporaryDirectory(prefix="earsight-") as folder,
    ):
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        app = create_app(
            open_model(run, device, threads),
            Path(run).name,
            unknown=unknown,
            most_bytes=round(most_mb * 1e6),
            folder=Path(folder),
            ready=lambda: ready(address),
            ending=lambda: server.should_exit,
        )
        uvicorn = extras.require("uvicorn")
        server: Any = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
        server.run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except UnicodeError as error:
        raise SettingsError(f"--host {host} is not the name of a host; pass another") from error
    except OSError as error:  # create_server puts the address into the reason; an unknown host has no such number
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise SettingsError(f"can't listen on {host}, port {port} ({reason}); pass another --port or --host") from error
