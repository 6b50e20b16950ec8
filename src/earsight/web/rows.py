"""An uploaded recording → its rows, made in worker threads. No torch here."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight.errors import first_line
from earsight.network.prediction import Prediction
from earsight.plain import plain
from earsight.scores.events import Rule
from earsight.tasks.answers.event_rows import EventRows
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.predict import Row, Sliding, answer
from earsight.tasks.recordings import Recording
from earsight.web import api
from earsight.web.api import Refused

if TYPE_CHECKING:
    from earsight.audio.decode import Samples
    from earsight.network.classifier import Classifier
    from earsight.network.exported import Exported

_LONGEST_S = 600.0  # of a recording that is answered as a whole: 115 MB at 48 kHz


class SharedModel:
    """A model shared by threads: its network runs one batch at a time, with all its threads.
    whole: held while a recording is answered as a whole; one per core may be."""

    def __init__(self, model: "Classifier | Exported", ending: Callable[[], bool]) -> None:
        self._model, self._ending, self._lock = model, ending, threading.Lock()
        self.whole = threading.BoundedSemaphore(allowed_cores())
        self.audio, self.labels = model.audio, model.labels
        self.multilabel, self.thresholds = model.multilabel, model.thresholds

    def predictions(self, crops: "Samples") -> Iterator[Prediction]:
        with self._lock:
            if self._ending():  # while this thread waited for its turn
                raise Refused(503, api.ENDING)
            try:
                return iter(list(self._model.predictions(crops)))
            except MemoryError as error:
                said = "not enough memory for this recording now; ask again, or for shorter ones"
                raise Refused(503, said) from error
            except Exception as error:  # of torch or onnxruntime, which have kinds of their own
                raise Refused(500, f"the model failed: {first_line(error)[:200]}") from error


class Rows:
    """The rows of one uploaded recording, made one by one in worker threads until the client leaves or the server
    stops. Close it: that deletes the file."""

    def __init__(
        self, place: Path, rows: Callable[[threading.Event], Iterator[dict[str, Any]]], gone: Callable[[], Any]
    ) -> None:
        self._left = threading.Event()
        self._place, self._rows, self._gone = place, rows(self._left), gone

    async def step(self) -> dict[str, Any] | None:
        """The next row; None after the last. Raises Refused where the server stops, or the client has left."""
        from starlette.concurrency import run_in_threadpool

        row: asyncio.Future[dict[str, Any] | None] | None = None
        while not await self._gone():
            row = row or asyncio.ensure_future(run_in_threadpool(next, self._rows, None))
            if (await asyncio.wait([row], timeout=api.LOOKED_UP_S))[0]:
                return row.result()
        if row is not None:
            self._left.set()
            os.truncate(self._place, 0)  # a thread can't be stopped, but what it decodes now ends soon
            await asyncio.gather(row, return_exceptions=True)
        raise Refused(503, api.ENDING)

    async def close(self) -> None:
        import anyio

        with anyio.CancelScope(shield=True):  # also where the request was cancelled
            await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        self._rows.close()  # type: ignore[attr-defined]
        self._place.unlink(missing_ok=True)


async def lines(first: dict[str, Any], found: Rows) -> AsyncIterator[str]:
    row: dict[str, Any] | None = first
    while row is not None:
        yield json.dumps(row, ensure_ascii=False) + "\n"
        try:
            row = await found.step()
        except Refused as error:  # the status has been sent
            yield json.dumps({"error": str(error)}) + "\n"
            return


def make_rows(
    model: Any,
    place: Path,
    name: str,
    unknown: bool,
    sliding: Sliding | None,
    events: bool,
    left: threading.Event,
) -> Iterator[dict[str, Any]]:
    """The rows of the recording at ``place``, under the name ``name``. left: is set when the client has left."""
    found = None
    if sliding is not None and events:
        found = EventRows.of(model, sliding.hop_s, Rule())
    recordings = [Recording(str(place))]
    rows = answer(model, recordings, unknown=unknown, sliding=sliding, longest_s=_LONGEST_S)
    if sliding is None:
        # Ten minutes of sound take 100 MB: not for all requests at once.
        while not model.whole.acquire(timeout=api.LOOKED_UP_S):
            if left.is_set():
                return
        try:
            rows = iter(list(rows))
        finally:
            model.whole.release()
    for row in rows:
        for event in found.push(row) if found else ():
            if not isinstance(event, Row):
                yield {"event": True, **event.to_dict(), "path": name}
        yield _row_dict(row, place, name)


def _row_dict(row: Row, place: Path, name: str) -> dict[str, Any]:
    def named(text: str | None) -> str | None:
        return None if text is None else plain(text.replace(str(place), name))

    return replace(row, path=name, error=named(row.error), truncated=named(row.truncated)).to_dict()
