"""The commands that put runs together: crossval, compare, ensemble."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earsight.flags import Json, Switch, Whole
from earsight.plain import counted, plain
from earsight.recipe_flags import MachineFlags, RecipeFlags, Settings, TrainingDataFlags
from earsight.terminal import comparison_lines, cross_lines, json_line, metrics_lines, note_unfinished, show


def crossval(
    data: Path,
    /,
    *,
    folds: str,
    seeds: Whole = 1,
    recipe_flags: RecipeFlags = RecipeFlags(),
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    resume: Switch = False,
    data_flags: TrainingDataFlags = TrainingDataFlags(),
    jobs: Whole = 1,
    machine_flags: MachineFlags = MachineFlags(),
    settings: Settings = None,
) -> int:
    """Train every fold of a protocol, so that each clip is scored once by a network that never heard its speaker.

    Parameters
    ----------
    data
        As for train.
    folds
        luna5, emobox6, loso (one group out), group:K, esc50, urbansound8k, fold (the data's own), column:NAME.
    seeds
        Train each fold so many times, with other seeds.
    out
        A folder for all of it; otherwise runs/ with a name of its own. Each fold is a run folder in it.
    resume
        Go on with --out: what is finished is not trained again.
    jobs
        So many folds at once, each on a GPU of its own where there are GPUs.
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
    go_on = f"go on with the same command and --out {shlex.quote(str(result.out))} --resume"
    if result.interrupted:
        show(f"stopped; {go_on}", to=sys.stderr)
        return 130
    if result.scores is None:
        for fold, reason in result.failures.items():
            show(f"failed: {fold}: {plain(reason)}", to=sys.stderr)
        show(f"earsight: {counted(len(result.failures), 'training')} failed; {go_on}", to=sys.stderr)
        return 2
    show(*cross_lines(result.scores, result.sentence, result.caveat, result.group_name))
    show(f"report: {result.out / 'report.html'}")
    return 0


def compare(a: Path, b: Path, /, *, json_: Json = False) -> int:
    """Say whether B is better than A on the clips that both have scored, or whether other speakers might say otherwise.

    Parameters
    ----------
    a
        A run folder, a cross-validation, or a table of predictions.
    b
        Likewise.
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
    threads: Whole | None = None,
) -> int:
    """Save one model that averages the answers of several runs, and score it on the clips that no run heard.

    Parameters
    ----------
    runs
        Run folders that hear alike: seeds of one split, or folds. A cross-validation stands for all its runs.
    out
        A new run folder, for predict and evaluate.
    device
        Where to score it.
    threads
        Threads of the CPU; otherwise the cores that are free.
    """
    from earsight.tasks.ensemble import ensemble as task

    note_unfinished(*runs)
    made = task(runs, out, device=device, threads=threads)
    show(f"{made.members} networks in {plain(str(made.out))}")
    show(*(metrics_lines(made.metrics, made.sentence, made.caveat) if made.metrics else [made.sentence]))
    return 0


COMMANDS = (crossval, compare, ensemble)
