"""ASGI middleware around every request: which `Host` names are answered, and the headers of all answers."""

import ipaddress
import re
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

from earsight.errors import SettingsError
from earsight.plain import plain

HEADERS = {
    # Nothing is loaded from elsewhere (FastAPI's documentation pages would), and no other page may frame ours.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class SecurityHeaders:
    """Adds ``HEADERS`` to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self._app(scope, receive, sending)


class HostCheck:
    """Refuses requests whose `Host` is none of ``names``, an IP address or localhost. Otherwise a page elsewhere could
    point its own name at this machine (DNS rebinding), and the browser would take this server for that page's own."""

    def __init__(self, app: Any, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import JSONResponse

        # A client that sends none, as old probes do, is no browser.
        host = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1")
        app = self._app
        if host and not _is_named(host, self._names):
            name = plain(host, 100)
            app = JSONResponse(
                {"error": f"asked as {name}, which is no name of this server; where it is, pass --allowed-host NAME"},
                421,
            )
        await app(scope, receive, send)


def _is_named(host: str, names: Collection[str]) -> bool:
    """host: as a request has it, perhaps with a port."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:  # [ without ]
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names or name.split(".")[-1] == "localhost"
    return True


def allowed_names(host: str, address: str, allowed: Sequence[str]) -> frozenset[str] | None:
    """The names that are answered beside IP addresses and localhost; None: all, where other machines reach the server
    and no name was given. host: as given to listen on. address: its IP address. Raises SettingsError."""
    if not allowed and not ipaddress.ip_address(address).is_loopback:
        return None
    return frozenset({host.lower(), *map(_as_sent, allowed)})


def _as_sent(name: str) -> str:
    """A name as browsers send it: lower case, international names in punycode."""
    try:
        if re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
            return name.encode("idna").decode().lower()
    except UnicodeError:  # too long
        pass
    raise SettingsError(f"--allowed-host {name} is not the name of a host; pass it alone, as in ears.example")
