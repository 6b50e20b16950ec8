"""evaluate --events: a run folder and annotated recordings → scores of event detection."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.errors import DataError, SettingsError
from earsight.plain import pluralise
from earsight.scores.detection import Annotation, Detection, Tally, tally_events, tally_segments
from earsight.scores.events import Event, Rule, find_events
from earsight.scores.timeline import draw_timeline
from earsight.tasks.answers.event_rows import EventRows, RecordingEvents
from earsight.tasks.answers.predict_file import check_pictures, check_timelines, unique_stems
from earsight.tasks.evaluate import ScoreContext, ScoringOptions, ScoringSet, prepare_scoring
from earsight.tasks.machine.cores import torch_threads
from earsight.tasks.predict import Sliding, answer
from earsight.tasks.progress import Progress
from earsight.tasks.recordings import Recording

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier

_OTHER_STARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Measure:
    """How detected events are compared with annotated ones: in segments of ``segment_s`` seconds, and as events with an
    intersection over union of at least ``overlap``. Raises SettingsError."""

    segment_s: float = 1.0
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not 0.01 <= self.segment_s < math.inf:
            raise SettingsError(f"--segment must be 0.01 s or more, got {self.segment_s:g}")
        if not 0 < self.overlap <= 1:
            raise SettingsError(f"--overlap is a share above 0 and up to 1, got {self.overlap:g}")


@dataclass(frozen=True)
class EventEvaluation(ScoreContext):
    """other_starts: start_at → F1 by segment and by event with that start_at. starts_at: the probability at which
    events of each label begin. recordings, duration_s: what was scored."""

    by_segment: Detection
    by_event: Detection
    other_starts: dict[float, tuple[float | None, float | None]]
    starts_at: tuple[float, ...]
    recordings: int
    duration_s: float
    measure: Measure

    @property
    def false_an_hour(self) -> float:
        """Wrongly found events per hour of recording."""
        right, _, found = self.by_event.total.counts.sum(axis=1)
        return float(found - right) * 3600 / self.duration_s

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        by_segment = {**self.by_segment.to_dict(), "error_rate": self.by_segment.error_rate}
        return {
            "recordings": self.recordings,
            "duration_s": self.duration_s,
            "by_segment": {"segment_s": self.measure.segment_s, **by_segment},
            "by_event": {
                "overlap": self.measure.overlap,
                "false_an_hour": self.false_an_hour,
                **self.by_event.to_dict(),
            },
            "starts_at": dict(zip(self.by_segment.labels, self.starts_at, strict=True)),
            "other_starts": [
                {"start_at": start_at, "f1_by_segment": segment, "f1_by_event": event}
                for start_at, (segment, event) in self.other_starts.items()
            ],
        }


def evaluate_events(
    run: str | Path,
    data: str | Path | DataSet | None = None,
    *,
    window_s: float,
    hop_s: float | None = None,
    rule: Rule | None = None,
    measure: Measure | None = None,
    timelines: Path | None = None,
    overwrite: bool = False,
    options: ScoringOptions | None = None,
) -> EventEvaluation:
    """Detect events in whole recordings, as ``predict`` with windows does, and compare them with annotated ones: the
    spans of ``data``, or the run's own test clips. Time without annotation counts as time without events.

    window_s, hop_s, rule: see ``predict`` and ``Rule``. timelines: a folder for one picture a recording; overwrite:
    those that are there already. options: as for ``evaluate``; leaks "drop" leaves out recordings of which any part was
    heard in training. Raises EarsightError.
    """
    rule, measure, options = rule or Rule(), measure or Measure(), options or ScoringOptions()
    sliding = Sliding.every(window_s, hop_s)
    if timelines is not None:
        check_timelines(timelines)
    to_score = prepare_scoring(run, data, options, for_events=True)
    model = to_score.classifier
    sliding = sliding.of(model.audio)
    starts_at = tuple(map(float, rule.starts(model.labels, model.thresholds)))
    recordings = _recordings(to_score)
    pictures = [] if timelines is None else [timelines / f"{name}.png" for name in unique_stems(recordings)]
    check_pictures(pictures, overwrite=overwrite)
    asked = _EventTally(model.labels, measure)
    rules = {at: replace(rule, start_at=at, stay_at=rule.stay_at and min(rule.stay_at, at)) for at in _OTHER_STARTS}
    others = {at: _EventTally(model.labels, measure) for at in _OTHER_STARTS}
    failures, duration_s = list(to_score.context.failures), 0.0
    with torch_threads(to_score.cores), Progress(shown=options.progress) as bar:
        bar.start("recordings heard", len(recordings))
        for number, heard in enumerate(_find_events(model, recordings, sliding, rule)):
            if isinstance(heard, Failure):
                failures.append(heard)
            else:
                clips = recordings[Path(heard.path)]
                until_s = heard.steps[-1].end_s
                told = (one for clip in clips for one in _annotations(clip, until_s))
                annotated = [one for one in told if one.label not in rule.background]
                group = clips[0].group or str(heard.path)
                asked.add(group, heard.events, annotated, until_s)
                for at, one in others.items():
                    found = find_events(heard.steps, model.labels, rules[at], model.thresholds)
                    one.add(group, found, annotated, until_s)
                duration_s += until_s
                if pictures:
                    pictures[number].parent.mkdir(parents=True, exist_ok=True)
                    draw_timeline(
                        pictures[number], model.labels, heard.steps, heard.events, str(heard.path), annotated=annotated
                    )
            bar.advance(number + 1, len(recordings))
    if not asked.scored:
        raise DataError(f"none of {pluralise(len(recordings), 'recording')} could be used; {failures[-1].reason}")
    f1 = {at: (one.by_segment.micro.f1, one.by_event.micro.f1) for at, one in others.items()}
    return EventEvaluation(
        **vars(replace(to_score.context, failures=tuple(failures))),
        by_segment=asked.by_segment,
        by_event=asked.by_event,
        other_starts=f1,
        starts_at=starts_at,
        recordings=asked.scored,
        duration_s=duration_s,
        measure=measure,
    )


class _EventTally:
    """Counts for one rule over recordings, by group."""

    def __init__(self, labels: tuple[str, ...], measure: Measure) -> None:
        self._labels, self._measure = labels, measure
        self.scored = 0
        self._segments: dict[str, Tally] = {}
        self._events: dict[str, Tally] = {}

    def add(self, group: str, found: Sequence[Event], annotated: Sequence[Annotation], until_s: float) -> None:
        segments = tally_segments(found, annotated, self._labels, until_s, self._measure.segment_s)
        events = tally_events(found, annotated, self._labels, self._measure.overlap)
        for tallies, one in ((self._segments, segments), (self._events, events)):
            tallies[group] = tallies[group] + one if group in tallies else one
        self.scored += 1

    @property
    def by_segment(self) -> Detection:
        return Detection(self._labels, tuple(self._segments.values()))

    @property
    def by_event(self) -> Detection:
        return Detection(self._labels, tuple(self._events.values()))


def _recordings(to_score: ScoringSet) -> dict[Path, list[Clip]]:
    """Recordings with their clips. A recording is left out as a whole where a clip of it can't be read, or was dropped
    since training heard it. Raises DataError where none is left."""
    left_out = (*to_score.context.dropped, *to_score.context.failures)
    paths = {failure.path.resolve() for failure in left_out}  # those of dropped clips are absolute
    found: defaultdict[Path, list[Clip]] = defaultdict(list)
    for clip in (to_score.store.clips[index] for index in to_score.indices):
        if clip.path.resolve() not in paths:
            found[clip.path].append(clip)
    if not found:
        raise DataError(f"no recording is left to find events in: {left_out[0].reason}")
    return dict(found)


def _find_events(
    model: "Classifier", recordings: Iterable[Path], sliding: Sliding, rule: Rule
) -> Iterator["RecordingEvents | Failure"]:
    """The events of each recording, or the reason why it, or its rest, can't be read: such a recording is not
    scored."""
    rows = EventRows.of(model, sliding.hop_s, rule, keep=True)
    for row in answer(model, [Recording(str(path)) for path in recordings], sliding=sliding):
        for _ in rows.push(row):
            pass
        if row.last:
            heard = rows.finished
            yield Failure(Path(row.path), row.error or "nothing was heard") if row.error or heard is None else heard


def _annotations(clip: Clip, until_s: float) -> Iterator[Annotation]:
    """One annotation for each label of a clip. until_s: the end of the recording."""
    for label in clip.labels:
        yield Annotation(clip.start_s or 0.0, until_s if clip.end_s is None else clip.end_s, label)
