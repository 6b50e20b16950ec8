"""predict into files: rows or events in any format, timelines, and resuming a stopped run."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from earsight import extras
from earsight.audio.decode import header_length_s
from earsight.errors import SettingsError
from earsight.files import check_output_path
from earsight.network.description import SETTINGS_NAME, WEIGHTS_NAME
from earsight.network.exported import Exported
from earsight.scores.events import Rule
from earsight.tasks.answers.event_rows import EventRow, EventRows, RecordingEvents
from earsight.tasks.answers.journal import Journal
from earsight.tasks.answers.row_formats import Cells, Format, FormatContext, find_format, write_rows
from earsight.tasks.machine.cores import set_torch_threads
from earsight.tasks.predict import Row, Sliding, answer, prepare
from earsight.tasks.progress import Progress
from earsight.tasks.recordings import STANDARD_INPUT, Recording

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier

_MOST_LOOKED_UP = 10_000
"""Most recordings whose durations are looked up first, for the progress bar."""


@dataclass(frozen=True)
class Job:
    """What is asked for, checked, with the model loaded. sources: what was named. rule: of events; None: rows are
    answers. timelines: a folder for one picture a recording. thresholds: of labels that are answered by one."""

    run: Path
    model: "Classifier | Exported"
    sources: tuple[str, ...]
    recordings: tuple[Recording, ...]
    unknown: bool
    sliding: Sliding | None
    rule: Rule | None
    timelines: Path | None
    thresholds: Mapping[str, float]

    @classmethod
    def of(
        cls,
        run: str | Path,
        sources: Sequence[str | Path],
        *,
        device: str = "cpu",
        threads: int | None = None,
        unknown: bool = True,
        window_s: float | None = None,
        hop_s: float | None = None,
        rule: Rule | None = None,
        timelines: Path | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> "Job":
        """Arguments as for ``predict``. thresholds: of ``Predictor.set_answer_thresholds``. Raises EarsightError."""
        if thresholds and (rule is not None or timelines is not None):
            raise SettingsError("--threshold is for answers; events have a probability where they begin: --start-at")
        if window_s is None and hop_s is not None:
            raise SettingsError(f"--hop {hop_s:g} only works with windows; pass --window too")
        if window_s is None and (rule is not None or timelines is not None):
            raise SettingsError("--events and --timelines need windows; pass --window SECONDS too")
        if timelines is not None:
            check_timelines(timelines)
        ready = prepare(run, sources, device, threads, window_s, hop_s)
        ready.model.set_answer_thresholds(thresholds or {})
        set_torch_threads(ready.threads)
        if rule is not None:
            rule.starts(ready.model.labels, ready.model.thresholds)
        named, recordings = tuple(map(str, sources)), tuple(ready.recordings)
        return cls(
            ready.place, ready.model, named, recordings, unknown, ready.sliding, rule, timelines, thresholds or {}
        )

    @property
    def facts(self) -> FormatContext:
        low_hz, high_hz = _band_hz(self.model)
        return FormatContext(self.model.labels, low_hz, high_hz, self.rule is not None)

    def answers(self, skip: int = 0) -> Iterator[tuple[Row, list[Row | EventRow]]]:
        """Each answer, and the rows to write after it. skip: number of recordings that are done."""
        events = None
        if self.sliding is not None and (self.rule is not None or self.timelines is not None):
            keep = self.timelines is not None
            events = EventRows.of(self.model, self.sliding.hop_s, self.rule or Rule(), keep=keep)
        pictures = iter(self.pictures()[skip:])
        for row in answer(self.model, self.recordings[skip:], unknown=self.unknown, sliding=self.sliding):
            heard: list[Row | EventRow] = [] if events is None else list(events.push(row))
            # Before its rows are yielded: a run that is stopped in between draws it again when it is resumed.
            if row.last and self.timelines is not None and events is not None and events.finished is not None:
                self._draw(events.finished, next(pictures))
            yield row, [row] if self.rule is None else heard

    def pictures(self) -> list[Path]:
        """The file of the timeline of each recording; [] without timelines."""
        if self.timelines is None:
            return []
        return [
            self.timelines / f"{name}.png" for name in unique_stems(recording.path for recording in self.recordings)
        ]

    def _draw(self, heard: RecordingEvents, place: Path) -> None:
        from earsight.scores.timeline import draw_timeline

        if heard.steps:
            place.parent.mkdir(parents=True, exist_ok=True)
            draw_timeline(place, self.model.labels, heard.steps, heard.events, str(heard.path))


@dataclass(frozen=True)
class PredictFileResult:
    """places: the files. recordings: number of all; resumed: of those that were done before. failures: one message for
    each recording that could not be read, or not to its end. unheard_s: seconds that were not heard, of each recording
    answered now of which much was not."""

    places: tuple[Path, ...]
    rows: int
    recordings: int
    resumed: int
    failures: tuple[str, ...]
    unheard_s: tuple[float, ...]


def predict_to(
    job: Job,
    out: Path,
    *,
    format_name: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> PredictFileResult:
    """Write the rows of a job to a file, or to a folder for a format with one recording a file.

    Until it is complete, rows are kept in OUT.part, from which ``resume`` continues. Raises EarsightError, OSError.
    """
    wanted = check_out(job, out, format_name, resume=resume, overwrite=overwrite)
    _check_not_read(job, out)
    if resume and any(recording.name == STANDARD_INPUT for recording in job.recordings):
        raise SettingsError('standard input ("-") can\'t be read again to resume; leave out --resume')
    with Journal(partial_path(out), _journal_head(job), resume=resume) as journal, Progress(shown=progress) as bar:
        resumed, unheard_s = journal.done, list[float]()
        lengths_s = _lengths_s(job) if progress else []
        total_s = sum(lengths_s)
        bar.start("seconds heard" if total_s else "classifying", round(total_s) or len(job.recordings))
        past_s = sum(lengths_s[:resumed])
        for row, told in job.answers(skip=resumed):
            if row.much_unheard(job.model.audio):
                unheard_s.append(row.unheard_s)
            for one in told:
                journal.write(one.to_dict())
            if row.last:
                past_s += lengths_s[journal.done] if lengths_s else 0.0
                journal.finish_item()
            begun_s = job.recordings[min(journal.done, len(job.recordings) - 1)].start_s
            reached_s = past_s + (0.0 if row.last else max(0.0, (row.end_s or 0.0) - begun_s))
            if total_s:
                bar.advance(round(min(reached_s, total_s)), round(total_s))
            else:
                bar.advance(journal.done, len(job.recordings))
        counted = _Counted(journal.rows())
        places = _write(counted, out, wanted, job)
    journal.remove()
    return PredictFileResult(
        tuple(places), counted.rows, len(job.recordings), resumed, tuple(counted.failures), tuple(unheard_s)
    )


def check_timelines(folder: Path) -> None:
    """Raises SettingsError, MissingExtraError."""
    extras.check("matplotlib")
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--timelines {folder} is a file; name a folder")


def check_pictures(pictures: Iterable[Path], *, overwrite: bool) -> None:
    """Raises SettingsError where one exists."""
    for picture in pictures:
        if picture.exists() and not overwrite:
            raise SettingsError(f"{picture} exists; pass --overwrite, or another --timelines")


def partial_path(out: Path) -> Path:
    """The journal beside ``out``, as long as ``out`` is not complete."""
    whole = out if out.name else out.absolute()  # also for "."
    return whole.parent / f"{whole.name}.part"


def check_out(
    job: Job, out: Path | None, format_name: str | None, *, resume: bool = False, overwrite: bool = False
) -> Format:
    """Raises SettingsError, MissingExtraError."""
    check_pictures(job.pictures(), overwrite=resume or overwrite)
    wanted = find_format(format_name, out)
    if wanted.events and job.rule is None:
        raise SettingsError(f"--format {wanted.name} needs events; pass --events and --window SECONDS")
    if wanted.lines is None:
        extras.check("pyarrow")
        if out is None:
            raise SettingsError(f"--format {wanted.name} can't be printed; pass --out FILE{wanted.suffix}")
    several = wanted.alone and len(job.recordings) > 1
    if out is None:
        if several:
            raise SettingsError(f"--format {wanted.name} holds one recording a file; pass --out FOLDER")
        return wanted
    if several and out.is_file():
        raise SettingsError(f"--format {wanted.name} holds one recording a file, and {out} is one; give a folder")
    if not several and out.is_dir():
        raise SettingsError(f"--out {out} is a folder; give the name of a file")
    begun = resume and partial_path(out).exists()
    free = several and out.is_dir() and (begun or not any(out.iterdir()))
    check_output_path(out, overwrite=overwrite or free, folder=several)
    return wanted


def _check_not_read(job: Job, out: Path) -> None:
    """Raises SettingsError where ``out`` would replace the model, a recording, or a table of recordings."""
    if not out.is_file():
        return
    read = dict.fromkeys(job.sources, "one of the input tables")
    read |= dict.fromkeys((one.name for one in job.recordings), "one of the recordings")
    for name, what in {**read, str(job.run): "the model"}.items():
        try:
            same = out.samefile(name)
        except (OSError, ValueError):
            continue  # no file of this name
        if same:
            raise SettingsError(f"--out {out} is {what}; name another file")


class _Counted:
    """Iterates over rows once. rows: their number so far; failures: their error messages."""

    def __init__(self, rows: Iterator[Cells]) -> None:
        self._rows, self.rows, self.failures = rows, 0, list[str]()

    def __iter__(self) -> Iterator[Cells]:
        for row in self._rows:
            self.rows += 1
            if (wrong := row.get("error", row.get("truncated"))) is not None:
                self.failures.append(wrong)
            yield row


def _write(rows: Iterable[Cells], out: Path, wanted: Format, job: Job) -> list[Path]:
    if not (wanted.alone and len(job.recordings) > 1):
        write_rows(out, rows, wanted, job.facts)
        return [out]
    out.mkdir(exist_ok=True)
    of: dict[str, list[Any]] = {str(recording.path): [] for recording in job.recordings}
    for row in rows:
        of[row["path"]].append(row)
    places = [out / f"{name}{wanted.suffix}" for name in unique_stems(of)]
    for place, own in zip(places, of.values(), strict=True):
        write_rows(place, own, wanted, job.facts)
    return places


def unique_stems(paths: Iterable[str | Path]) -> list[str]:
    """A unique file name without suffix for each recording."""
    names: dict[str, None] = {}
    numbers: defaultdict[str, int] = defaultdict(int)
    for path in paths:
        last = str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
        name = stem = last.rpartition(".")[0] or last.strip(".-") or "recording"
        while name in names or not numbers[stem]:
            numbers[stem] += 1
            name = stem if numbers[stem] == 1 else f"{stem}-{numbers[stem]}"
        names[name] = None
    return list(names)


def _journal_head(job: Job) -> dict[str, Any]:
    names = xxhash.xxh3_128()
    for recording in job.recordings:
        names.update(f"{recording.name}\n{recording.start_s}\n{recording.end_s}\n".encode(errors="surrogateescape"))
    sliding, rule = job.sliding, job.rule
    return {
        "model": _model_digest(job.run),
        "recordings": names.hexdigest(),
        "windows": None if sliding is None else [sliding.window_s, sliding.hop_s],
        "events": None if rule is None else [rule.start_at, rule.stay_at, rule.shortest_s, *rule.background],
        "unknown": job.unknown,
        **({"thresholds": dict(job.thresholds)} if job.thresholds else {}),
    }


def _model_digest(run: Path) -> str:
    digest = xxhash.xxh3_128()
    for path in [run] if run.is_file() else [run / SETTINGS_NAME, run / WEIGHTS_NAME]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _lengths_s(job: Job) -> list[float]:
    """Durations by the headers; [] without windows, or where looking them up would take long."""
    if job.sliding is None or len(job.recordings) > _MOST_LOOKED_UP or any(one.remote for one in job.recordings):
        return []
    return [_length_s(recording) for recording in job.recordings]


def _length_s(recording: Recording) -> float:
    if recording.name == STANDARD_INPUT:
        return 0.0
    ends = [end for end in (header_length_s(recording.name), recording.end_s) if end is not None]
    return max(0.0, min(ends) - recording.start_s) if ends else 0.0


def _band_hz(model: "Classifier | Exported") -> tuple[float, float]:
    """The frequency range of the mel bins."""
    mel = model.about.get("mel", {}) if isinstance(model, Exported) else model.mel.model_dump()
    nyquist_hz = model.audio.rate_hz / 2
    return float(mel.get("f_min_hz", 0.0)), float(mel.get("f_max_hz") or nyquist_hz)
