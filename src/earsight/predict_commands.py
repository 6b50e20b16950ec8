"""The commands that use a model: predict, listen, serve."""

import difflib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from earsight.errors import SettingsError
from earsight.flags import EventFlags, Json, Switch, Thresholds, WholeNumber, parse_thresholds
from earsight.plain import plain, pluralise
from earsight.terminal import answer_line, json_line, note_unfinished, show, show_bars

if TYPE_CHECKING:
    from earsight.tasks.answers.event_rows import EventRow
    from earsight.tasks.answers.predict_file import Job
    from earsight.tasks.predict import Row


def predict(
    run: Path,
    paths: Annotated[list[str], Parameter(negative="", allow_leading_hyphen=True)],
    /,
    *,
    event_flags: EventFlags = EventFlags(),
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    format_: Annotated[
        Literal["jsonl", "csv", "parquet", "audacity", "rttm", "raven"] | None, Parameter(name="--format")
    ] = None,
    timelines: Path | None = None,
    resume: Switch = False,
    overwrite: Switch = False,
    device: str = "cpu",
    threads: WholeNumber | None = None,
    unknown: bool = True,
    threshold: Thresholds = None,
    json_: Json = False,
) -> int:
    """Classify recordings, whole or window by window: a table on a terminal, JSON Lines when piped, or a file.

    Parameters
    ----------
    run
        A run folder, a model of the hub (user/name), or a file of earsight export, which needs no torch.
    paths
        Recordings, folders of them, patterns ("*.wav"), tables with a column path (and start, end), addresses
        (https://…, s3://…), or - for a recording from standard input.
    out
        The output file; partial results are kept in OUT.part until it is complete.
    format_
        Otherwise by the ending of --out: .jsonl, .csv, .parquet, .txt (Audacity's labels), .rttm, .selections.txt
        (Raven). The last three hold events.
    timelines
        A folder for a picture of each recording: what was heard when.
    resume
        Go on with the --out of a run that was stopped: recordings that are done are not answered again.
    overwrite
        Replace --out, and the pictures of --timelines, where they are there already.
    device
        cpu, cuda, mps.
    threads
        Threads of the CPU; otherwise the cores that are free.
    unknown
        Say "unknown" of silence and of sounds unlike what the network was trained on; --no-unknown always names the
        likeliest class.
    threshold
        LABEL=P: answer LABEL wherever its probability is at least P, and nowhere else; may be repeated. The report of
        a run of two classes lists thresholds by their false alarms.
    json_
        JSON Lines on a terminal too, and in --out, whatever it is called: short for --format jsonl.
    """
    from earsight.tasks.answers.predict_file import Job, predict_to

    note_unfinished(run)
    _check_no_options(paths)
    if out is None and (resume or (overwrite and timelines is None)):
        raise SettingsError(f"--{'resume' if resume else 'overwrite'} is for a file; pass --out FILE too")
    rule = event_flags.rule()
    if json_ and format_ not in (None, "jsonl"):
        raise SettingsError(f"--json is short for --format jsonl; leave out one of --json and --format {format_}")
    format_ = "jsonl" if json_ else format_
    job = Job.of(
        run,
        paths,
        device=device,
        threads=threads,
        unknown=unknown,
        window_s=event_flags.window,
        hop_s=event_flags.hop,
        rule=rule,
        timelines=timelines,
        thresholds=parse_thresholds(threshold),
    )
    if out is None:
        return _print(job, format_, max(len(path) for path in paths), overwrite=overwrite)
    try:
        done = predict_to(job, out, format_name=format_, resume=resume, overwrite=overwrite, progress=True)
    except KeyboardInterrupt:
        show("stopped; what is done is kept: go on with the same command and --resume", to=sys.stderr)
        return 130
    gone_on = f", {done.resumed} of them before" if done.resumed else ""
    places = plain(", ".join(map(str, done.places[:3]))) + (" …" if len(done.places) > 3 else "")
    show(f"{pluralise(done.rows, 'row')} of {pluralise(done.recordings, 'recording')}{gone_on}: {places}")
    _note_unheard(done.unheard_s, job.model.audio.crop_s)
    return _failed(done.failures)


def _check_no_options(paths: list[str]) -> None:
    """ "-" is a recording, and so may be a file that begins so; a misspelled option is none. Raises SettingsError."""
    for path in paths:
        if path.startswith("-") and path != "-" and not Path(path).exists():
            keywords = [one for one in inspect.signature(predict).parameters.values() if one.kind is one.KEYWORD_ONLY]
            names = [*(one.name for one in keywords), *(one.name for one in fields(EventFlags))]
            options = ["--" + name.strip("_").replace("_", "-") for name in names]
            near = difflib.get_close_matches(path.partition("=")[0], options, 1)
            raise SettingsError(
                f"no option {path!r}, and no recording of this name"
                + (f"; did you mean {near[0]}?" if near else "; earsight predict --help lists the options")
            )


def listen(
    run: Path,
    /,
    *,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    fast: Switch = False,
    microphone: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    seconds: float | None = None,
    device: str = "cpu",
    threads: WholeNumber | None = None,
    unknown: bool = True,
    threshold: Thresholds = None,
    json_: Json = False,
) -> int:
    """Answer what the microphone hears while it sounds: bars on a terminal, JSON Lines when piped. Ctrl-C ends it.

    Parameters
    ----------
    run
        A run folder, a model of the hub (user/name), or a file of earsight export, which needs no torch.
    from_
        Play this recording, as if it were heard now, in the place of the microphone.
    fast
        With --from: as fast as it can be answered.
    microphone
        A part of its name, or its number; otherwise the system's own.
    window
        Seconds that are answered together; otherwise all that the network hears at once.
    hop
        Seconds from one answer to the next; otherwise 0.5, or the window where that is shorter.
    seconds
        End after so many seconds of sound.
    device
        cpu, cuda, mps: where the network runs.
    threads
        Threads of the CPU; otherwise the cores that are free.
    unknown
        Say "unknown" of silence and of sounds unlike what the network was trained on.
    threshold
        LABEL=P: answer LABEL wherever its probability is at least P, and nowhere else; may be repeated. The report of
        a run of two classes lists thresholds by their false alarms.
    json_
        JSON Lines on a terminal too.
    """
    if fast and from_ is None:
        raise SettingsError("--fast is for a file; pass --from FILE too")
    if microphone is not None and from_ is not None:
        raise SettingsError("--from plays a file in the place of the microphone; leave out --microphone")
    if seconds is not None and not seconds > 0:
        raise SettingsError(f"--seconds must be above 0, got {seconds:g}")
    from earsight.tasks import listen as task

    note_unfinished(run)
    thresholds = parse_thresholds(threshold)
    ear = task.open_ear(run, device=device, threads=threads, unknown=unknown, window_s=window, hop_s=hop)
    ear.model.set_answer_thresholds(thresholds)
    if seconds is not None and seconds < ear.window_s:
        raise SettingsError(
            f"--seconds {seconds:g} is less than a window of {ear.window_s:g} s; pass more, or a shorter --window"
        )
    missed: list[float] = []
    blocks = (
        task.microphone(ear.model.audio.rate_hz, microphone, missed.append)
        if from_ is None
        else task.play_file(from_, fast=fast)
    )
    rows = ear.hear(blocks, task.MICROPHONE if from_ is None else from_)
    if seconds is not None:
        rows = takewhile(lambda row: (row.end_s or 0.0) <= seconds + 1e-6, rows)
    try:
        if json_ or not sys.stdout.isatty():
            for row in rows:
                show(json_line(row.to_dict()))
                sys.stdout.flush()
        else:
            show_bars(rows)
    except KeyboardInterrupt:  # the way to end it
        if from_ is not None:
            raise
    if missed:
        show(f"note: the network was too slow for {sum(missed):.1f} s of sound; pass a longer --hop", to=sys.stderr)
    return 0


def _print(job: "Job", format_name: str | None, longest: int, *, overwrite: bool) -> int:
    from earsight.tasks.answers.predict_file import check_out

    wanted = check_out(job, None, format_name, overwrite=overwrite)
    failures: list[str] = []
    unheard: list[float] = []

    def rows() -> "Iterator[Row | EventRow]":
        for row, told in job.answers():
            if row.failed:
                failures.append(row.error or row.truncated or "")
            if row.much_unheard(job.model.audio):
                unheard.append(row.unheard_s)
            yield from told

    if format_name is None and sys.stdout.isatty():
        for row in rows():
            show(answer_line(row, min(60, longest + 24)))
    elif wanted.lines is not None:
        for line in wanted.lines((row.to_dict() for row in rows()), job.facts):
            show(line)
    _note_unheard(unheard, job.model.audio.crop_s)
    return _failed(failures)


def _note_unheard(unheard_s: Sequence[float], crop_s: float) -> None:
    if unheard_s:
        show(
            f"note: only {crop_s:g} s of {pluralise(len(unheard_s), 'recording')} were heard, up to "
            f"{max(unheard_s):.0f} s were not; pass --window {crop_s:g} to hear all",
            to=sys.stderr,
        )


def _failed(failures: Sequence[str]) -> int:
    if failures:
        show(
            f"earsight: could not be read, or not to the end: {pluralise(len(failures), 'recording')}, the first: "
            f"{plain(failures[0])}",
            to=sys.stderr,
        )
    return 2 if failures else 0


def serve(
    run: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: WholeNumber = 8000,
    most_mb: float = 200,
    most_at_once: WholeNumber = 16,
    allowed_host: Annotated[list[str] | None, Parameter(negative="")] = None,
    log: Switch = False,
    device: str = "cpu",
    threads: WholeNumber | None = None,
    unknown: bool = True,
    threshold: Thresholds = None,
) -> int:
    """Serve a model: a page where recordings are dropped and the microphone is heard, and JSON for programs. Ctrl-C
    ends it.

    Parameters
    ----------
    run
        A run folder, a model of the hub (user/name), or a file of earsight export, which needs no torch.
    host
        Where to listen: 127.0.0.1 is this machine alone, 0.0.0.0 is whoever can reach it. There are no passwords.
    port
        0 takes a free one.
    most_mb
        Largest upload that is accepted, in MB.
    most_at_once
        Requests that are handled at once; further ones get 503.
    allowed_host
        A host name to answer to, beside IP addresses, localhost and --host; may be repeated. Without it, a server that
        other machines can reach answers to any.
    log
        Write a line of JSON for each request to standard error, without client addresses, file names or answers.
    device
        cpu, cuda, mps: where the network runs.
    threads
        Threads of the CPU; otherwise the cores that are free.
    unknown
        Say "unknown" of silence and of sounds unlike what the network was trained on.
    threshold
        LABEL=P: answer LABEL wherever its probability is at least P, and nowhere else; may be repeated. The report of
        a run of two classes lists thresholds by their false alarms.
    """
    from earsight.web.server import serve as task

    def ready(address: str) -> None:
        show(f"{plain(str(run))} at {address}, until Ctrl-C")
        sys.stdout.flush()

    note_unfinished(run)
    with suppress(KeyboardInterrupt):  # the way to end it
        task(
            run,
            host=host,
            port=port,
            device=device,
            threads=threads,
            unknown=unknown,
            thresholds=parse_thresholds(threshold),
            most_mb=most_mb,
            most_at_once=most_at_once,
            allowed_hosts=allowed_host or (),
            log=log,
            ready=ready,
        )
    return 0


COMMANDS = (predict, listen, serve)
