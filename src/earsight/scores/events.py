"""Answers to overlapping windows → probabilities over time, and events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earsight.errors import SettingsError

Floats = npt.NDArray[np.float64]

_ROUNDING_S = 1e-6
_START_AT = 0.3
"""Low, since windows that cover more than one sound pull the mean down: docs/deploy.md has measurements."""


@dataclass(frozen=True)
class Rule:
    """When an event begins and ends. start_at: the probability at which it begins; None: 0.3, or, where a clip can have
    several labels, the threshold of the label. stay_at: the probability below which it ends; None: 0.7 of the first.
    shortest_s: shorter events are left out. background: labels that are no events, such as "normal": they end
    other events and are left out. Raises SettingsError."""

    start_at: float | None = None
    stay_at: float | None = None
    shortest_s: float = 0.0
    background: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("--start-at", self.start_at), ("--stay-at", self.stay_at)):
            if value is not None and not 0 < value <= 1:
                raise SettingsError(f"{name} is a probability above 0 and up to 1, got {value:g}")
        if self.start_at is not None and self.stay_at is not None and self.stay_at > self.start_at:
            raise SettingsError(f"--stay-at {self.stay_at:g} is above --start-at {self.start_at:g}; lower it")
        if not 0 <= self.shortest_s < float("inf"):
            raise SettingsError(f"--shortest must be 0 s or more, got {self.shortest_s:g}")

    def starts(self, labels: Sequence[str], thresholds: Sequence[float] | None) -> Floats:
        """float64 [classes]: the probability at which events of each label begin. Raises SettingsError where one is
        below that at which they end, or a background label is not one of these."""
        if strange := [label for label in self.background if label not in labels]:
            raise SettingsError(
                f"--background {strange[0]}: the model does not know it; its labels: {', '.join(labels)}"
            )
        if self.start_at is not None:
            return np.full(len(labels), self.start_at)
        found = np.full(len(labels), _START_AT) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
        lowest = int(found.argmin())
        if self.stay_at is not None and self.stay_at > found[lowest]:
            of_label = "" if thresholds is None else f" of {labels[lowest]!r}"
            raise SettingsError(
                f"--stay-at {self.stay_at:g} is above {found[lowest]:.3g}, where events{of_label} begin; "
                "lower it, or pass --start-at too"
            )
        return found


@dataclass(frozen=True)
class Step:
    """The mean answer of all windows over the time from start_s to end_s. probabilities: float64 [classes]. known:
    share of these windows whose answer is not "unknown"."""

    start_s: float
    end_s: float
    probabilities: Floats
    known: float


@dataclass(frozen=True)
class Event:
    """probability: the mean from start_s to end_s."""

    start_s: float
    end_s: float
    label: str
    probability: float


class Track:
    """Merges answers to overlapping windows: each step of ``hop_s`` has the mean of the windows over its middle.

    Windows must come in the order of their starts. A step is yielded as soon as no later window can reach it.
    """

    def __init__(self, hop_s: float, start_s: float = 0.0) -> None:
        self._hop_s, self._start_s = hop_s, start_s
        self._windows: list[tuple[float, float, Floats, bool]] = []
        self._count = 0
        self._end_s = start_s

    def push(self, start_s: float, end_s: float, probabilities: Floats, known: bool) -> Iterator[Step]:
        """Add the answer to a window, float64 [classes]; yields the steps that are complete now."""
        yield from self._before(start_s)
        self._windows.append((start_s, end_s, probabilities, known))
        self._end_s = max(self._end_s, end_s)

    def close(self) -> Iterator[Step]:
        """The rest, up to the end of the last window."""
        yield from self._before(float("inf"))

    def _before(self, limit_s: float) -> Iterator[Step]:
        """The steps whose middle lies before ``limit_s``."""
        while True:
            start_s = self._start_s + self._count * self._hop_s
            end_s = min(start_s + self._hop_s, self._end_s)
            # A window may end exactly at the middle of a step: rounding errors must not decide.
            middle_s = (start_s + end_s) / 2 + _ROUNDING_S
            if end_s - start_s < 4 * _ROUNDING_S or middle_s >= limit_s:
                return
            self._windows = [window for window in self._windows if window[1] > middle_s]
            over = [window for window in self._windows if window[0] <= middle_s]
            self._count += 1
            shares = np.mean([window[2] for window in over], axis=0)
            yield Step(start_s, end_s, shares, float(np.mean([window[3] for window in over])))


@dataclass
class _OpenEvent:
    """An event that has not ended. weighted: sum of seconds × probability; the steps are not kept, to save memory."""

    start_s: float
    end_s: float = 0.0
    seconds: float = 0.0
    weighted: float = 0.0

    def add(self, step: Step, probability: float) -> None:
        self.end_s = step.end_s
        self.seconds += step.end_s - step.start_s
        self.weighted += (step.end_s - step.start_s) * probability


class EventFinder:
    """Steps → events, with hysteresis: an event begins at one probability and lasts down to a lower one.

    With one label a clip, events don't overlap: the likeliest label that reaches ``start_at`` ends the event before.
    There is no event where half of the windows or more are unknown.
    """

    def __init__(self, labels: Sequence[str], rule: Rule, thresholds: Sequence[float] | None = None) -> None:
        """thresholds: one a label, where several labels can be active at once."""
        self._labels, self._rule, self._several = labels, rule, thresholds is not None
        self._on = rule.starts(labels, thresholds)
        self._off: Floats = 0.7 * self._on if rule.stay_at is None else np.full(len(labels), rule.stay_at)
        self._open: dict[int, _OpenEvent] = {}

    def push(self, step: Step) -> Iterator[Event]:
        """Events that end where ``step`` begins."""
        shares = step.probabilities
        going = {place for place in self._open if shares[place] >= self._off[place]}
        begun = {int(place) for place in np.flatnonzero(shares >= self._on)}
        if step.known <= 0.5:
            going, begun = set(), set()
        if not self._several:
            strongest = max(going | begun, key=lambda place: shares[place], default=None)
            if strongest is not None:
                # A label that has not reached start_at does not end the one that has.
                going, begun = ({strongest}, set()) if strongest in going else (set(), {strongest})
        for place in [place for place in self._open if place not in going]:
            yield from self._end(place)
        for place in going | begun:
            self._open.setdefault(place, _OpenEvent(step.start_s)).add(step, float(shares[place]))

    def close(self) -> Iterator[Event]:
        """Events that last to the end."""
        for place in list(self._open):
            yield from self._end(place)

    def _end(self, place: int) -> Iterator[Event]:
        found = self._open.pop(place)
        if self._labels[place] in self._rule.background:
            return
        event = Event(found.start_s, found.end_s, self._labels[place], found.weighted / found.seconds)
        if event.end_s - event.start_s >= self._rule.shortest_s - 1e-9:
            yield event


def find_events(
    steps: Sequence[Step], labels: Sequence[str], rule: Rule, thresholds: Sequence[float] | None = None
) -> list[Event]:
    """All events of a recording, by ``EventFinder``, in the order of their ends."""
    finder = EventFinder(labels, rule, thresholds)
    return [event for step in steps for event in finder.push(step)] + list(finder.close())
