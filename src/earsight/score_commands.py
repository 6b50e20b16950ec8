"""The commands that score or combine runs: evaluate, crossval, compare, ensemble."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earsight.errors import SettingsError
from earsight.flags import DataFlags, EventFlags, Json, Switch, WholeNumber
from earsight.plain import plain, pluralise
from earsight.recipe_flags import Leaks, MachineFlags, RecipeFlags, Settings, TrainingDataFlags
from earsight.score_lines import comparison_lines, cross_lines, detection_lines, metrics_lines
from earsight.terminal import json_line, note_unfinished, show


def evaluate(
    run: Path,
    data: Path | None = None,
    /,
    *,
    data_flags: DataFlags = DataFlags(),
    leaks: Leaks = "refuse",
    event_flags: EventFlags = EventFlags(),
    segment: float | None = None,
    overlap: float | None = None,
    timelines: Path | None = None,
    overwrite: Switch = False,
    device: str = "cpu",
    threads: WholeNumber | None = None,
    strict: Switch = False,
    json_: Json = False,
) -> int:
    """Score a trained run on its own test clips, or on DATA. With --events: score the events that it finds in whole
    recordings against those annotated in DATA, or in the test clips.

    Parameters
    ----------
    run
        A run folder, or a model on the Hugging Face hub (user/name).
    data
        Labelled recordings, as for earsight train. Default: the run's own test clips.
    leaks
        What to do if the run was trained or validated on clips of DATA, copies of them or their speakers. refuse: stop.
        drop: leave these clips of DATA out. allow: score them anyway, and say so beside every score.
    segment
        With --events: length of scored segments in seconds; a label is right in a segment if it is both found and
        annotated there. Default: 1.
    overlap
        With --events: an event is right if its overlap with an annotated event is at least this share of the time that
        the two cover together. Default: 0.5.
    timelines
        With --events: folder for one image per recording that shows the events found and annotated.
    overwrite
        Replace the images in --timelines if they exist.
    device
        Device to run on: cpu, cuda or mps.
    threads
        Number of CPU threads. Default: as many as there are idle cores.
    strict
        Stop at the first bad file, instead of leaving it out with a note.
    json_
        Print JSON instead of a table.
    """
    from earsight.tasks.evaluate import Evaluation, ScoringOptions
    from earsight.tasks.evaluate import evaluate as task
    from earsight.tasks.evaluate_events import EventEvaluation, Measure, evaluate_events

    note_unfinished(run)
    options = ScoringOptions(
        **asdict(data_flags), leaks=leaks, device=device, threads=threads, strict=strict, progress=True
    )
    rule = event_flags.rule()
    done: Evaluation | EventEvaluation
    if rule is not None:
        if event_flags.window is None:
            raise SettingsError("--events needs windows; pass --window SECONDS too")
        done = evaluate_events(
            run,
            data,
            window_s=event_flags.window,
            hop_s=event_flags.hop,
            rule=rule,
            measure=Measure(1.0 if segment is None else segment, 0.5 if overlap is None else overlap),
            timelines=timelines,
            overwrite=overwrite,
            options=options,
        )
    else:
        for_events = event_flags.window, event_flags.hop, segment, overlap, timelines, overwrite or None
        if any(value is not None for value in for_events):
            raise SettingsError(
                "--window, --hop, --segment, --overlap, --timelines and --overwrite only work with events; pass "
                "--events too"
            )
        done = task(run, data, **asdict(options))
    if json_:
        failures, dropped = (
            [{"path": str(failure.path), "reason": failure.reason} for failure in part]
            for part in (done.failures, done.dropped)
        )
        told = done.to_dict() if isinstance(done, EventEvaluation) else done.metrics.to_dict()
        told |= {"sentence": done.sentence, "caveat": done.caveat, "warning": done.warning}
        show(json_line({**told, "failures": failures, "dropped": dropped}))
        return 2 if done.failures else 0
    if isinstance(done, EventEvaluation):
        show(*detection_lines(done))
    else:
        show(*metrics_lines(done.metrics, done.sentence, done.caveat, table=True))
    if done.warning:
        show(f"warning: {plain(done.warning)}", to=sys.stderr)
    if done.dropped:
        first = plain(done.dropped[0].reason)
        whole = " with their recordings" if isinstance(done, EventEvaluation) else ""
        show(f"{pluralise(len(done.dropped), 'clip')} left out{whole}; the first: {first}", to=sys.stderr)
    for failure in done.failures:
        show(f"left out: {plain(failure.path)}: {plain(failure.reason)}", to=sys.stderr)
    return 2 if done.failures else 0


def crossval(
    data: Path,
    /,
    *,
    folds: str,
    seeds: WholeNumber = 1,
    recipe_flags: RecipeFlags = RecipeFlags(),
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    resume: Switch = False,
    data_flags: TrainingDataFlags = TrainingDataFlags(),
    jobs: WholeNumber = 1,
    machine_flags: MachineFlags = MachineFlags(),
    settings: Settings = None,
) -> int:
    """Train one network per fold, so that each clip is scored by a network that never heard its speaker.

    Parameters
    ----------
    data
        As for earsight train.
    folds
        luna5, emobox6, loso (leave one group out), group:K, esc50, urbansound8k, fold (the data set's own folds) or
        column:NAME.
    seeds
        Number of seeds with which each fold is trained.
    out
        Folder for the cross-validation, with a run folder for each fold. Default: a new folder in runs/.
    resume
        Continue the cross-validation in --out: finished trainings are not repeated.
    jobs
        Number of folds to train at once, spread over the GPUs if there are any.
    """
    from earsight.tasks.crossval import crossval as task

    result = task(
        data,
        folds=folds,
        seeds=seeds,
        recipe=recipe_flags.chosen(settings),
        recipe_name=recipe_flags.recipe,
        out=out,
        resume=resume,
        jobs=jobs,
        machine=machine_flags.machine(),
        progress=True,
        **asdict(data_flags),
    )
    go_on = f"to continue, run the same command with --out {shlex.quote(str(result.out))} --resume"
    if result.interrupted:
        show(f"stopped; {go_on}", to=sys.stderr)
        return 130
    if result.scores is None:
        for fold, reason in result.failures.items():
            show(f"failed: {fold}: {plain(reason)}", to=sys.stderr)
        show(f"earsight: {pluralise(len(result.failures), 'training')} failed; {go_on}", to=sys.stderr)
        return 2
    show(*cross_lines(result.scores, result.sentence, result.caveat, result.group_name))
    show(f"report: {result.out / 'report.html'}")
    return 0


def compare(a: Path, b: Path, /, *, json_: Json = False) -> int:
    """Say which of two networks is better on the clips that both scored, and whether other speakers might change that.

    Parameters
    ----------
    a
        A run folder, a cross-validation folder, or a table of predictions (predictions.csv).
    b
        The same, for the other network.
    json_
        Print JSON instead of a table.
    """
    from earsight.tasks.compare import compare as task

    found = task(a, b)
    show(json_line(found.to_dict())) if json_ else show(*comparison_lines(found))
    return 0


def ensemble(
    runs: list[Path],
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    device: Annotated[str, Parameter(alias="-d")] = "cpu",
    threads: WholeNumber | None = None,
) -> int:
    """Combine several runs into one model that averages their answers, and score it on clips that none was trained on.

    Parameters
    ----------
    runs
        Run folders with the same labels, audio and mel settings: seeds of one split, or folds. A cross-validation
        folder stands for all its runs.
    out
        New run folder, for earsight predict and evaluate.
    device
        Device to score on: cpu, cuda or mps.
    threads
        Number of CPU threads. Default: as many as there are idle cores.
    """
    from earsight.tasks.ensemble import ensemble as task

    note_unfinished(*runs)
    made = task(runs, out, device=device, threads=threads)
    show(f"{made.members} networks combined in {plain(str(made.out))}")
    show(*(metrics_lines(made.metrics, made.sentence, made.caveat) if made.metrics else [plain(made.sentence)]))
    return 0


COMMANDS = (evaluate, crossval, compare, ensemble)
