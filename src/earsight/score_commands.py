"""The commands that put runs together: crossval, compare, ensemble."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earsight.flags import Whole
from earsight.plain import counted, plain
from earsight.recipe_flags import Accelerator, Leaks, Precision, RecipeFlags, chosen_recipe
from earsight.terminal import comparison_lines, cross_lines, json_line, metrics_lines, note_unfinished, show


def crossval(
    data: Path,
    /,
    *,
    folds: str,
    seeds: Whole = 1,
    recipe: Annotated[str, Parameter(alias="-r")] = "default",
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    model: Annotated[str | None, Parameter(alias="-m")] = None,
    weights: Path | None = None,
    pretrained: bool | None = None,
    in_chans: Whole | None = None,
    source: str | None = None,
    group_pattern: str | None = None,
    leaks: Leaks = "refuse",
    resume: Annotated[bool, Parameter(negative="")] = False,
    strict: Annotated[bool, Parameter(negative="")] = False,
    store: bool = True,
    jobs: Whole = 1,
    accelerator: Accelerator = "auto",
    precision: Precision = "32-true",
    compile_: Annotated[bool, Parameter(name="--compile", negative="")] = False,
    threads: Whole | None = None,
    settings: RecipeFlags = None,
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
    recipe
        default, article, demo, or a TOML file.
    out
        A folder for all of it; otherwise runs/ with a name of its own. Each fold is a run folder in it.
    model
        Any timm network: short for --network.model.
    weights
        A safetensors or pth file under timm's names: short for --network.weights.
    pretrained
        Whether to start from ImageNet weights: short for --network.pretrained.
    in_chans
        Channels of the image: short for --network.in-chans.
    source
        The name of a known data set, folder, or table; otherwise recognised by the file names.
    group_pattern
        A regular expression that finds a clip's group in its path.
    leaks
        Where both sides of a split share a speaker, a recording or a copied file: refuse, drop those clips, or allow
        them and say so.
    resume
        Go on with --out: what is finished is not trained again.
    strict
        Stop a fold at the first bad file.
    store
        Keep decoded recordings in the cache; --no-store decodes them again for every fold.
    jobs
        So many folds at once, each on a GPU of its own where there are GPUs.
    accelerator
        Where to train.
    precision
        Of the network's arithmetic.
    compile_
        Let torch.compile make the network faster first; that takes minutes a fold.
    threads
        Threads of the CPU for each fold; otherwise the cores that are free.
    """
    from earsight.tasks.crossval import crossval as task
    from earsight.tasks.machine.devices import Machine

    result = task(
        data,
        folds=folds,
        seeds=seeds,
        recipe=chosen_recipe(recipe, settings, model=model, weights=weights, pretrained=pretrained, in_chans=in_chans),
        recipe_name=recipe,
        out=out,
        source=source,
        group_pattern=group_pattern,
        leaks=leaks,
        resume=resume,
        strict=strict,
        store=store,
        jobs=jobs,
        machine=Machine(accelerator, 1, 1, precision, threads, compile_),
        progress=True,
    )
    go_on = f"go on with the same command and --out {result.out} --resume"
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


def compare(a: Path, b: Path, /, *, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
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
