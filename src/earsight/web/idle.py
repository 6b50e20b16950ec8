"""Closes connections on which no whole request arrives: uvicorn waits for the rest of a request's head without end, so
that a client with enough such connections would keep everybody out."""

from typing import Any

from earsight.web import api


def idle_closing_protocol() -> type:
    """For uvicorn: HTTP/1.1 that closes a connection after ``STALLED_S`` to twice that without a whole request."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Prompt(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._look(object())

        def _look(self, before: object) -> None:
            if self.conn.their_state is h11.IDLE and self.cycle is before:  # no request has come since
                self.transport.close()
            elif not self.transport.is_closing():
                self.loop.call_later(api.STALLED_S, self._look, self.cycle)

    return Prompt
