"""listen: a microphone, or a file in its place, answered window by window in real time."""

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earsight import extras
from earsight.audio.decode import Sound
from earsight.audio.stream import cut_windows, read_blocks
from earsight.errors import DataError, DecodeError, SettingsError
from earsight.tasks.predict import Piece, Row, Sliding, answer_pieces, check_model, open_model

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier
    from earsight.network.exported import Exported

MICROPHONE = "microphone"
_HOP_S = 0.5
_WAITING_S = 5.0
"""Seconds of sound that are buffered while the network is busy; beyond that, sound is dropped."""


class Ear:
    """A model that answers windows of ``window_s`` seconds as sound arrives. ``hear`` can be used once."""

    def __init__(self, model: "Classifier | Exported", sliding: Sliding, *, unknown: bool = True) -> None:
        self.model, self._sliding, self._unknown = model, sliding, unknown
        self.window_s = sliding.window_s

    def hear(self, blocks: Iterator[Sound], path: str | Path) -> Iterator[Row]:
        """One row a window, as ``predict`` with windows gives them. path: the path of the rows. Raises DecodeError."""
        audio = self.model.audio
        for window in cut_windows(blocks, audio, self._sliding.window_s, self._sliding.hop_s):
            yield from answer_pieces(self.model, [Piece.of_window(path, window, audio)], self._unknown)


def open_ear(
    run: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    unknown: bool = True,
    window_s: float | None = None,
    hop_s: float | None = None,
) -> Ear:
    """run, device, threads, unknown: as for ``predict``. window_s: None: the network's crop. hop_s: None: half a
    second, or the window where that is shorter. Raises EarsightError."""
    check_model(run, device, threads)

    def sliding(window_s: float) -> Sliding:
        return Sliding(window_s, min(_HOP_S, window_s) if hop_s is None else hop_s)

    if window_s is not None:
        sliding(window_s)  # refuses wrong values before the model is loaded
    model = open_model(run, device, threads)
    asked = sliding(model.audio.crop_s if window_s is None else window_s).of(model.audio)
    return Ear(model, asked, unknown=unknown)


def play_file(path: Path, *, fast: bool = False, clock: Callable[[], float] = time.monotonic) -> Iterator[Sound]:
    """A recording in blocks of 0.1 s, at the time when a microphone would deliver them; fast: without waiting."""
    began = clock()
    heard_s = 0.0
    for block in read_blocks(path):
        step = max(1, block.rate_hz // 10)
        for start in range(0, block.samples.shape[1], step):
            piece = Sound(block.samples[:, start : start + step], block.rate_hz)
            heard_s += piece.duration_s
            if not fast:
                time.sleep(max(0.0, began + heard_s - clock()))
            yield piece


def microphone(rate_hz: int, name: str | None, missed: Callable[[float], None]) -> Iterator[Sound]:
    """Mono sound from a microphone, without end. name: part of its name, or its number; None: the system's default.
    missed: called with the seconds of each dropped block. Raises MissingExtraError, SettingsError, DataError."""
    sounddevice: Any
    try:
        sounddevice = extras.require("sounddevice")
    except OSError as error:  # PortAudio, a system library, is missing
        raise DataError(f"can't use a microphone ({error}); install PortAudio, or pass --from FILE") from error
    waiting: queue.Queue[np.ndarray] = queue.Queue(maxsize=max(1, round(10 * _WAITING_S)))

    def take(samples: np.ndarray, frames: int, moment: object, status: object) -> None:
        try:
            waiting.put_nowait(samples[:, :1].T.copy())
        except queue.Full:
            missed(frames / rate_hz)

    device = int(name) if name is not None and name.isdigit() else name
    try:
        stream = sounddevice.InputStream(
            samplerate=rate_hz, blocksize=rate_hz // 10, device=device, channels=1, dtype="float32", callback=take
        )
    except ValueError as error:
        raise SettingsError(f"no microphone {name!r}: {error}") from error
    except sounddevice.PortAudioError as error:
        raise DataError(f"can't use the microphone: {error}; is one connected? or pass --from FILE") from error
    with stream:
        while True:
            try:
                yield Sound(waiting.get(timeout=_WAITING_S), rate_hz)
            except queue.Empty:
                raise DecodeError(
                    f"the microphone delivered no samples for {_WAITING_S:g} s; is it still connected?"
                ) from None
