"""A model behind HTTP: a page for people, JSON for programs. No torch here; an exported file needs none."""

import asyncio
import math
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from earsight import __version__, extras
from earsight.errors import EarsightError, SettingsError
from earsight.plain import plain
from earsight.tasks.machine.interrupt import closed_on_sigterm
from earsight.tasks.predict import check_model, open_model
from earsight.web import api
from earsight.web.api import Refused, check_query, is_cross_site, receive_body, sliding_of
from earsight.web.idle import idle_closing_protocol
from earsight.web.log import RequestLog
from earsight.web.middleware import HEADERS, HostCheck, SecurityHeaders, allowed_names
from earsight.web.rows import Rows, SharedModel, lines, make_rows

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

    from earsight.network.classifier import Classifier
    from earsight.network.exported import Exported

_MOST_ROWS, _MOST_NUMBERS = 100_000, 2_000_000  # of one answer that is sent as a whole
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_LINES = "application/x-ndjson"


def create_app(
    model: "Classifier | Exported",
    name: str,
    *,
    unknown: bool = True,
    most_bytes: int = 200_000_000,
    most_at_once: int = 16,
    folder: Path | None = None,
    names: Collection[str] | None = None,
    ready: Callable[[], None] | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> "FastAPI":
    """An ASGI application.

    name: of the model, for people. unknown: see ``predict``. most_bytes: the largest recording. most_at_once: requests
    that are handled at once; further ones get 503. folder: where recordings lie until they are answered; None: the
    system's for temporary files. names: the host names that are answered (``allowed_names``); None: all. ready: called
    when the application starts. ending: whether the server is stopping, so that open requests should end.

    GET / is the page, GET /api/model describes the model, POST /api/predict answers the recording in the body, GET
    /health is for probes. Errors are {"error": "one line"}. Raises MissingExtraError.
    """
    extras.check("fastapi")
    import anyio
    import fastapi
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        threads = anyio.to_thread.current_default_thread_limiter()
        threads.total_tokens = max(threads.total_tokens, 2 * most_at_once)  # each request may hold one while it waits
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
    shared: Any = SharedModel(model, ending)
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
                await asyncio.wait_for(send(message), api.STALLED_S)

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
        """A mistake of ours: the server's log has it. This answer does not pass through ``SecurityHeaders``."""
        return refusal(500, "the server failed; its log says why", HEADERS)

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

    @app.post("/api/predict", response_model=None, responses=api.ANSWERS, openapi_extra=api.BODY)
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
        if is_cross_site(request):
            raise Refused(
                403, "asked by a page of another site; open the page of this server (a proxy must hand on Host)"
            )
        if len(busy) >= most_at_once:
            raise Refused(503, f"as many recordings as may be ({most_at_once}) are being answered; try again")
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
            place = await receive_body(request, most_bytes, folder, ending)
            found = Rows(place, partial(make_rows, shared, place, plain(name), unknown, sliding, events), gone)
            first = await found.step() or {}
            if first.get("error"):  # nothing of it could be heard
                raise Refused(422, first["error"])
            if _LINES in request.headers.get("accept", ""):
                streamed = True
                return Streamed(lines(first, found), done)
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
    if names is not None:
        app.add_middleware(HostCheck, names=names)
    app.add_middleware(SecurityHeaders)
    return app


def serve(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "cpu",
    threads: int | None = None,
    unknown: bool = True,
    thresholds: Mapping[str, float] | None = None,
    most_mb: float = 200,
    most_at_once: int = 16,
    allowed_hosts: Sequence[str] = (),
    log: bool = False,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a model until Ctrl-C or SIGTERM. port: 0 takes a free one. log: see ``RequestLog``. thresholds: of
    ``Predictor.set_answer_thresholds``. ready: called with the address once it answers. Raises EarsightError."""
    if not 0 < most_mb * 1e6 < math.inf:
        raise SettingsError(f"--most-mb must be above 0 and finite, got {most_mb:g}")
    if not 1 <= most_at_once <= 1000:
        raise SettingsError(f"--most-at-once must be from 1 to 1000, got {most_at_once}")
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
        bound, port = listening.getsockname()[:2]
        names = allowed_names(host, bound, allowed_hosts)
        address = f"http://{shown}:{port}"
        model = open_model(run, device, threads)
        model.set_answer_thresholds(thresholds or {})
        app: Any = create_app(
            model,
            Path(run).name,
            unknown=unknown,
            most_bytes=round(most_mb * 1e6),
            most_at_once=most_at_once,
            folder=Path(folder),
            names=names,
            ready=lambda: ready(address),
            ending=lambda: server.should_exit,
        )
        uvicorn = extras.require("uvicorn")
        config = uvicorn.Config(
            RequestLog(app) if log else app,
            http=idle_closing_protocol(),
            log_level="warning",
            timeout_graceful_shutdown=5,
        )
        server: Any = uvicorn.Server(config)
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
