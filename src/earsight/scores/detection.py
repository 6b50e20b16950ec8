"""Detected events against annotated ones: segment by segment, and event by event."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from earsight.scores.intervals import Interval, Jackknife

Counts = npt.NDArray[np.int64]
_ROUNDING_S = 1e-6


class Span(Protocol):
    """A label from when to when, in seconds: ``Event``, or an annotation."""

    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def label(self) -> str: ...


class Annotation(NamedTuple):
    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Tally:
    """Counts of one recording or of many. counts: int64 [3, labels]: true positives, annotated, detected. errors:
    substitutions, deletions, insertions of segments (Mesaros et al. 2016); zeros for events."""

    counts: Counts
    errors: tuple[int, int, int] = (0, 0, 0)

    def __add__(self, other: "Tally") -> "Tally":
        first, second, third = np.add(self.errors, other.errors).tolist()
        return Tally(self.counts + other.counts, (first, second, third))


def tally_segments(
    found: Sequence[Span], annotated: Sequence[Span], labels: Sequence[str], duration_s: float, segment_s: float
) -> Tally:
    """Segment by segment: a label is active in every segment that an event of it touches.

    The measure of Mesaros, Heittola and Virtanen 2016 ("Metrics for polyphonic sound event detection", section 3.1).
    labels: all of ``found`` and ``annotated``. segment_s: above 0. duration_s: of the recording; the last segment may
    be shorter, and annotations after the end count as well.
    """
    ends_s = [duration_s, *(one.end_s for one in (*found, *annotated))]
    segments = max(1, int(np.ceil(max(ends_s) / segment_s - _ROUNDING_S)))
    truth, heard = (_active(spans, labels, segments, segment_s) for spans in (annotated, found))
    counts = np.stack([(truth & heard).sum(axis=0), truth.sum(axis=0), heard.sum(axis=0)])
    missed, made_up = (truth & ~heard).sum(axis=1), (heard & ~truth).sum(axis=1)
    both = np.minimum(missed, made_up)
    return Tally(counts, (int(both.sum()), int((missed - both).sum()), int((made_up - both).sum())))


def _active(spans: Sequence[Span], labels: Sequence[str], segments: int, segment_s: float) -> npt.NDArray[np.bool_]:
    """[segments, labels]"""
    place = {label: n for n, label in enumerate(labels)}
    active = np.zeros((segments, len(labels)), dtype=bool)
    for one in spans:
        first = int(one.start_s / segment_s + _ROUNDING_S)
        active[first : max(first + 1, int(np.ceil(one.end_s / segment_s - _ROUNDING_S))), place[one.label]] = True
    return active


def tally_events(found: Sequence[Span], annotated: Sequence[Span], labels: Sequence[str], overlap: float) -> Tally:
    """Event by event: a detection is correct where its intersection over union with an annotation of its label is at
    least ``overlap``, which is above 0 and up to 1.

    Each event counts once, in a maximum matching, as in task 5 of DCASE 2021.
    """
    place = {label: n for n, label in enumerate(labels)}
    counts = np.zeros((3, len(labels)), dtype=np.int64)
    sides: defaultdict[str, tuple[list[Span], list[Span]]] = defaultdict(lambda: ([], []))
    for side, spans in enumerate((annotated, found)):
        for one in spans:
            sides[one.label][side].append(one)
    for label, (truth, heard) in sides.items():
        counts[:, place[label]] = _most_pairs(_alike(truth, heard, overlap)), len(truth), len(heard)
    return Tally(counts)


def _alike(truth: Sequence[Span], heard: Sequence[Span], overlap: float) -> list[list[int]]:
    """For each span of ``truth``, indices of the spans of ``heard`` that overlap enough with it."""
    starts_s, ends_s = (np.array([getattr(one, edge) for one in heard]) for edge in ("start_s", "end_s"))
    near = []
    for one in truth:
        shared = np.minimum(one.end_s, ends_s) - np.maximum(one.start_s, starts_s)
        together = np.maximum(one.end_s, ends_s) - np.minimum(one.start_s, starts_s)
        near.append(np.flatnonzero((shared > 0) & (shared >= overlap * together - _ROUNDING_S)).tolist())
    return near


def _most_pairs(near: Sequence[Sequence[int]]) -> int:
    """Size of a maximum bipartite matching, by augmenting paths that are searched breadth first. near: for each event
    on one side, indices of those on the other that it may be matched with."""
    mate: dict[int, int] = {}
    mate_of_other: dict[int, int] = {}
    for root in range(len(near)):
        reached_from: dict[int, int] = {}
        free: int | None = None
        waiting = [root]
        for one in waiting:  # grows meanwhile
            for other in near[one]:
                if other not in reached_from:
                    reached_from[other] = one
                    if other not in mate_of_other:
                        free = other
                        break
                    waiting.append(mate_of_other[other])
            if free is not None:
                break
        while free is not None:  # along the path back to the root, swap matched and unmatched edges
            one = reached_from[free]
            mate_of_other[free], mate[one], free = one, free, mate.get(one)
    return len(mate)


class Scores(NamedTuple):
    """precision, recall, f1: in [0, 1]; None where the denominator is 0. annotated, found: numbers of events."""

    precision: float | None
    recall: float | None
    f1: float | None
    annotated: int
    found: int


@dataclass(frozen=True)
class Detection:
    """How well events were found. tallies: one a group, in whose recordings they are. labels: that the network
    knows."""

    labels: tuple[str, ...]
    tallies: tuple[Tally, ...]

    @property
    def total(self) -> Tally:
        return sum(self.tallies[1:], self.tallies[0])

    @property
    def micro(self) -> Scores:
        """Scores of all labels pooled."""
        return _scores(self.total.counts.sum(axis=1))

    @property
    def per_label(self) -> dict[str, Scores]:
        return {label: _scores(counts) for label, counts in zip(self.labels, self.total.counts.T, strict=True)}

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 of the labels that were annotated or detected."""
        known = [scores.f1 for scores in self.per_label.values() if scores.f1 is not None]
        return float(np.mean(known)) if known else None

    @property
    def error_rate(self) -> float | None:
        """(Substitutions + deletions + insertions) / annotated; may be above 1. Of segments only."""
        annotated = int(self.total.counts[1].sum())
        return sum(self.total.errors) / annotated if annotated else None

    @property
    def f1_interval(self) -> Interval | None:
        """Of the F1 of all labels together, 95 %, by groups; None of few, or where all are alike."""
        counts = np.stack([tally.counts.sum(axis=-1) for tally in self.tallies])  # [groups, 3]
        left_out = counts.sum(axis=0) - counts
        f1 = 2 * left_out[:, 0] / np.maximum(left_out[:, 1] + left_out[:, 2], 1)
        whole = {"f1": self.micro.f1 or 0.0}
        return Jackknife(len(counts), whole, {"f1": f1}).interval("f1")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        interval = self.f1_interval
        return {
            **self.micro._asdict(),
            "f1_interval": None if interval is None else list(interval),
            "macro_f1": self.macro_f1,
            "labels": {label: scores._asdict() for label, scores in self.per_label.items()},
        }


def _scores(counts: Counts) -> Scores:
    right, annotated, found = map(int, counts)

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return Scores(share(right, found), share(right, annotated), share(2 * right, annotated + found), annotated, found)
