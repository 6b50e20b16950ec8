"""inspect: a data set → what is in it and what is wrong with it. Reads each recording once, in blocks."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earsight.audio.sound_stats import SoundStats, measure_sound
from earsight.dataset.checks import dataset_warnings
from earsight.dataset.clip import Clip, DataSet, Failure, fold_order
from earsight.dataset.sources import known_sources, read_dataset
from earsight.dataset.store import SHORTEST_S, cancel_on_error
from earsight.errors import DecodeError, SettingsError
from earsight.tasks.data import ensure_downloaded
from earsight.tasks.machine.cores import allowed_cores, check_threads
from earsight.tasks.progress import Progress

SHORT_S = 0.5
_MOSTLY = 0.5


@dataclass(frozen=True)
class Inspection:
    """dataset: as read. clips: those that training could use. facts: their statistics. failures: other clips, and what
    the source left out. short_s: shorter clips are listed."""

    dataset: DataSet
    clips: tuple[Clip, ...]
    facts: tuple[SoundStats, ...]
    failures: tuple[Failure, ...]
    short_s: float = SHORT_S

    @property
    def silent(self) -> list[Clip]:
        return [clip for clip, facts in self._pairs() if facts.silent]

    @property
    def clipped(self) -> list[Clip]:
        return [clip for clip, facts in self._pairs() if facts.clipped]

    @property
    def offset(self) -> list[Clip]:
        """Clips of which a channel has more than half of its energy in a constant offset, as from a DC-coupled sensor:
        trimming, peak and familiarity are those of the offset."""
        return [clip for clip, facts in self._pairs() if facts.offset > _MOSTLY]

    @property
    def silent_channels(self) -> list[Clip]:
        """Clips with a silent channel beside one that is not."""
        return [clip for clip, facts in self._pairs() if facts.silent_channels and not facts.silent]

    @property
    def short(self) -> list[Clip]:
        return [clip for clip, facts in self._pairs() if facts.duration_s < self.short_s]

    @property
    def identical(self) -> list[list[Clip]]:
        """Sets of clips with identical samples, except silence."""
        found: defaultdict[str, list[Clip]] = defaultdict(list)
        for clip, facts in self._pairs():
            if not facts.silent:
                found[facts.digest].append(clip)
        return [clips for clips in found.values() if len(clips) > 1]

    @property
    def contradicting(self) -> list[list[Clip]]:
        """Sets of ``identical`` whose labels differ."""
        return [clips for clips in self.identical if len({frozenset(clip.labels) for clip in clips}) > 1]

    @property
    def truncated(self) -> list[Failure]:
        """Failures of recordings that were cut off."""
        return [failure for failure in self.failures if failure.reason.startswith("truncated: ")]

    def counts(self) -> dict[str, int]:
        """Clips of each class, in the order of the labels."""
        found = Counter(label for clip in self.dataset.clips for label in clip.labels)
        return {label: found[label] for label in self.dataset.labels}

    def _pairs(self) -> list[tuple[Clip, SoundStats]]:
        return list(zip(self.clips, self.facts, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """For JSON. Times in seconds; levels in dB relative to full scale, null for silence."""
        dataset = self.dataset
        groups = Counter(clip.group for clip in dataset.clips if clip.group)
        folds = Counter(clip.fold for clip in dataset.clips if clip.fold)
        return {
            "place": str(dataset.place),
            "source": dataset.source,
            "clips": len(dataset.clips),
            "files": dataset.files,
            "synthetic": dataset.synthetic,
            "classes": self.counts(),
            "multilabel": dataset.multilabel,
            "unlabelled": sum(not clip.label for clip in dataset.clips),
            "group_name": dataset.group_name,
            "groups": dict(sorted(groups.items())),
            "folds": {fold: folds[fold] for fold in sorted(folds, key=fold_order)},
            "duration_s": summary_stats([facts.duration_s for facts in self.facts]),
            "rates_hz": _counted(facts.rate_hz for facts in self.facts),
            "channels": _counted(facts.channels for facts in self.facts),
            "peak_dbfs": summary_stats([20 * math.log10(f.peak) for f in self.facts if not f.silent]),
            "rms_dbfs": summary_stats([facts.rms_dbfs for facts in self.facts if not facts.silent]),
            "silent": _names(self.silent),
            "clipped": _names(self.clipped),
            "offset": _names(self.offset),
            "silent_channels": _names(self.silent_channels),
            "short_s": self.short_s,
            "short": _names(self.short),
            "identical": [_names(clips) for clips in self.identical],
            "contradicting": [
                [{"path": clip.name, "label": clip.label_text} for clip in clips] for clips in self.contradicting
            ],
            "truncated": _reasons(self.truncated),
            "doubts": list(dataset_warnings(dataset)),
            "unfilled": [str(folder) for folder in dataset.empty_class_folders],
            "failures": _reasons(self.failures),
        }


def inspect(
    place: str | Path,
    *,
    source: str | None = None,
    group_pattern: str | None = None,
    short_s: float = SHORT_S,
    threads: int | None = None,
    progress: bool = False,
) -> Inspection:
    """Read a data set as training would, and every recording of it once. Raises DataError where there is none.

    place, source, group_pattern: see ``read_dataset``. short_s: shorter clips are listed. threads: for decoding. Raises
    SettingsError for a negative or infinite short_s.
    """
    if not (math.isfinite(short_s) and short_s >= 0):
        raise SettingsError(f"--short-s must be a number of seconds, 0 or more, got {short_s:g}")
    dataset = read_dataset(
        ensure_downloaded(place, progress=progress), source=source, group_pattern=group_pattern, fewest_classes=1
    )

    def look(clip: Clip) -> SoundStats | DecodeError:
        try:
            facts = measure_sound(clip.path, clip.start_s or 0.0, clip.end_s)
        except DecodeError as error:
            return error
        if facts.duration_s < SHORTEST_S:
            return DecodeError(f"shorter than {SHORTEST_S} s, training leaves it out: {clip.name}")
        return facts

    clips: list[Clip] = []
    found: list[SoundStats] = []
    failures = list(dataset.failures)
    workers = ThreadPoolExecutor(check_threads(threads) or allowed_cores())
    with Progress(shown=progress) as shown, cancel_on_error(workers) as pool:
        shown.start("reading", len(dataset.clips))
        # soundfile and numpy release the interpreter's lock while they work.
        for done, (clip, facts) in enumerate(zip(dataset.clips, pool.map(look, dataset.clips), strict=True), 1):
            if isinstance(facts, DecodeError):
                failures.append(Failure(clip.path, str(facts)))
            else:
                clips.append(clip)
                found.append(facts)
            shown.advance(done, len(dataset.clips))
    return Inspection(dataset, tuple(clips), tuple(found), tuple(failures), short_s)


def summary_stats(values: Sequence[float]) -> dict[str, float] | None:
    """min, median, mean, max and sum; None without values."""
    if not values:
        return None
    found = {"min": min(values), "median": statistics.median(values), "mean": statistics.fmean(values)}
    return {name: round(value, 4) for name, value in {**found, "max": max(values), "sum": sum(values)}.items()}


def _counted(values: Any) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _names(clips: Sequence[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def _reasons(failures: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"path": str(failure.path), "reason": failure.reason} for failure in failures]


def source_facts(name: str) -> dict[str, str]:
    """Title, licence, citation, page and official protocol of a known source; {} for others."""
    source = known_sources().get(name)
    if source is None:
        return {}
    return {key: getattr(source, key) for key in ("title", "licence", "citation", "page", "protocol")}
