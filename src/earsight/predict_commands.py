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
    """Classify recordings, whole or window by window, into a table in a terminal, JSON Lines when piped, or a file.

    Parameters
    ----------
    run
        A run folder, a model on the Hugging Face hub (user/name), or an exported file, which needs no torch.
    paths
        Recordings, folders, patterns ("*.wav"), tables with a column path (and optionally start and end), URLs
        (https://…, s3://…), or - for one recording from standard input.
    out
        File to write. Until it is complete, results are in OUT.part.
    format_
        Output format. Default: that of the ending of --out, which is .jsonl, .csv, .parquet, .txt (Audacity labels),
        .rttm or .selections.txt (Raven). The last three need --events.
    timelines
        Folder for one image per recording that shows what was heard when; needs --window.
    resume
        Continue an interrupted --out: recordings that are finished are not classified again.
    overwrite
        Replace --out, and the images in --timelines, if they exist.
    device
        Device to run on: cpu, cuda or mps.
    threads
        Number of CPU threads. Default: as many as there are idle cores.
    unknown
        Answer "unknown" for silence and for sounds unlike the training data; --no-unknown always names the likeliest
        class.
    threshold
        LABEL=P: answer LABEL wherever its probability is at least P, and nowhere else; may be repeated. The report of
        a run of two classes lists thresholds by their false alarms.
    json_
        Write JSON Lines, also in a terminal; short for --format jsonl.
    """
    from earsight.tasks.answers.predict_file import Job, predict_to
    from earsight.tasks.answers.row_formats import other_suffix

    note_unfinished(run)
    _check_no_options(paths)
    if out is None and (resume or (overwrite and timelines is None)):
        raise SettingsError(f"--{'resume' if resume else 'overwrite'} only works with a file; pass --out FILE too")
    rule = event_flags.rule()
    if json_ and format_ not in (None, "jsonl"):
        raise SettingsError(f"--json is short for --format jsonl; leave out one of --json and --format {format_}")
    if json_ and out is not None and (suffix := other_suffix("jsonl", out)):
        raise SettingsError(f"--json writes JSON Lines, but --out {out} ends in {suffix}; drop --json, or rename it")
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
        show("stopped; finished recordings are kept; to continue, add --resume to the same command", to=sys.stderr)
        return 130
    gone_on = f" ({done.resumed} from before)" if done.resumed else ""
    places = plain(", ".join(map(str, done.places[:3]))) + (" …" if len(done.places) > 3 else "")
    show(f"{pluralise(done.rows, 'row')} from {pluralise(done.recordings, 'recording')}{gone_on}: {places}")
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
                f"there is no option {path!r}, and no recording with this name"
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
    """Classify the sound of the microphone live: bars in a terminal, JSON Lines when piped. Ctrl-C stops it.

    Parameters
    ----------
    run
        A run folder, a model on the Hugging Face hub (user/name), or an exported file, which needs no torch.
    from_
        Play this recording, in real time, instead of using the microphone.
    fast
        With --from: as fast as possible instead of in real time.
    microphone
        Part of the microphone's name, or its number. Default: the system's default microphone.
    window
        Seconds of sound that are classified at a time. Default: the length of the network's input.
    hop
        Seconds from one answer to the next. Default: 0.5, or --window if that is shorter.
    seconds
        Stop after this many seconds of sound.
    device
        Device to run on: cpu, cuda or mps.
    threads
        Number of CPU threads. Default: as many as there are idle cores.
    unknown
        Answer "unknown" for silence and for sounds unlike the training data.
    threshold
        LABEL=P: answer LABEL wherever its probability is at least P, and nowhere else; may be repeated. The report of
        a run of two classes lists thresholds by their false alarms.
    json_
        Print JSON Lines in a terminal too.
    """
    if fast and from_ is None:
        raise SettingsError("--fast only works with a file; pass --from FILE too")
    if microphone is not None and from_ is not None:
        raise SettingsError("--from plays a file instead of the microphone; leave out --microphone")
    if seconds is not None and not seconds > 0:
        raise SettingsError(f"--seconds must be above 0, got {seconds:g}")
    from earsight.tasks import listen as task

    note_unfinished(run)
    thresholds = parse_thresholds(threshold)
    ear = task.open_ear(run, device=device, threads=threads, unknown=unknown, window_s=window, hop_s=hop)
    ear.model.set_answer_thresholds(thresholds)
    if seconds is not None and seconds < ear.window_s:
        raise SettingsError(
            f"--seconds {seconds:g} is shorter than the window of {ear.window_s:g} s; raise it, or lower --window"
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
        text = f"the network was too slow, and {sum(missed):.1f} s of sound were skipped; pass a longer --hop"
        show(f"note: {text}", to=sys.stderr)
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
        which = "1 recording was" if len(unheard_s) == 1 else f"each of {len(unheard_s)} recordings was"
        show(
            f"note: only {crop_s:g} s of {which} used, and up to {max(unheard_s):.0f} s were ignored; "
            f"pass --window {crop_s:g} to classify every part",
            to=sys.stderr,
        )


def _failed(failures: Sequence[str]) -> int:
    if failures:
        show(
            f"earsight: {pluralise(len(failures), 'recording')} could not be read completely; the first: "
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
    """Serve a model as a web page, for recordings and the microphone, and as a JSON API for programs. Ctrl-C stops it.

    Parameters
    ----------
    run
        A run folder, a model on the Hugging Face hub (user/name), or an exported file, which needs no torch.
    host
        Address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for everyone who can reach it. There are no
        passwords.
    port
        Port to listen on; 0 picks a free one.
    most_mb
        Largest accepted upload, in MB.
    most_at_once
        Requests that are handled at once; further ones get 503.
    allowed_host
        A host name to answer to, beside IP addresses, localhost and --host; may be repeated. Without it, a server that
        other machines can reach answers to any.
    log
        Write a line of JSON for each request to standard error, without client addresses, file names or answers.
    device
        Device to run on: cpu, cuda or mps.
    threads
        Number of CPU threads. Default: as many as there are idle cores.
    unknown
        Answer "unknown" for silence and for sounds unlike the training data.
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
