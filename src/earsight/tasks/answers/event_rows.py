"""Answers to windows → events, one recording after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from earsight.scores.events import Event, EventFinder, Rule, Step, Track
from earsight.tasks.predict import Row

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier
    from earsight.network.exported import Exported


@dataclass(frozen=True)
class EventRow:
    """An event in the recording at ``path``. probability: the mean from start_s to end_s."""

    path: str | Path
    start_s: float
    end_s: float
    label: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "label": self.label,
            "probability": self.probability,
        }


@dataclass(frozen=True)
class RecordingEvents:
    """Probabilities over time and events of a whole recording."""

    path: str | Path
    steps: tuple[Step, ...]
    events: tuple[Event, ...]


class EventRows:
    """Rows of windows, in order → events. keep: set ``finished`` to the steps and events of the recording that ended
    last; without it, memory does not grow with the length of a recording."""

    def __init__(
        self,
        labels: Sequence[str],
        hop_s: float,
        rule: Rule,
        thresholds: Sequence[float] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self._labels, self._hop_s, self._rule, self._thresholds, self._keep = labels, hop_s, rule, thresholds, keep
        self.finished: RecordingEvents | None = None
        self._begin(0.0)

    @classmethod
    def of(cls, model: "Classifier | Exported", hop_s: float, rule: Rule, *, keep: bool = False) -> Self:
        """For answers of this model to windows that start every ``hop_s``."""
        return cls(model.labels, hop_s, rule, model.thresholds, keep=keep)

    def _begin(self, start_s: float) -> None:
        self._fresh = True
        self._track = Track(self._hop_s, start_s)
        self._finder = EventFinder(self._labels, self._rule, self._thresholds)
        self._steps: list[Step] = []
        self._events: list[Event] = []

    def push(self, row: Row) -> Iterator[EventRow | Row]:
        """The events that end with this row; a row with an error is yielded after them."""
        if self._fresh:
            self._begin(row.start_s or 0.0)
            self._fresh = False
        if row.probabilities is not None and row.start_s is not None and row.end_s is not None:
            shares = np.fromiter(row.probabilities.values(), dtype=np.float64)
            for step in self._track.push(row.start_s, row.end_s, shares, not row.unknown):
                yield from self._push_step(row.path, step)
        if row.last:
            for step in self._track.close():
                yield from self._push_step(row.path, step)
            yield from self._emit(row.path, self._finder.close())
            if self._keep:
                self.finished = RecordingEvents(row.path, tuple(self._steps), tuple(self._events))
            self._fresh = True
        if row.probabilities is None:
            yield row

    def _push_step(self, path: str | Path, step: Step) -> Iterator[EventRow]:
        if self._keep:
            self._steps.append(step)
        yield from self._emit(path, self._finder.push(step))

    def _emit(self, path: str | Path, events: Iterator[Event]) -> Iterator[EventRow]:
        for event in events:
            if self._keep:
                self._events.append(event)
            yield EventRow(path, event.start_s, event.end_s, event.label, event.probability)
