"""The command that searches: sweep."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earsight.errors import SettingsError
from earsight.flags import Whole
from earsight.recipe_flags import Accelerator, Leaks, Precision, RecipeFlags, chosen_recipe, given_values
from earsight.settings import flat
from earsight.tasks.sweeping.space import read_space
from earsight.terminal import show, sweep_lines


def sweep(
    data: Path,
    /,
    *,
    space: Path,
    trials: Whole = 20,
    recipe: Annotated[str, Parameter(alias="-r")] = "default",
    split: Annotated[list[str] | None, Parameter(negative="")] = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    prune: bool = True,
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
    accelerator: Accelerator = "auto",
    precision: Precision = "32-true",
    compile_: Annotated[bool, Parameter(name="--compile", negative="")] = False,
    threads: Whole | None = None,
    settings: RecipeFlags = None,
) -> int:
    """Search a space of settings for the recipe with the best validation score. No test clip is scored.

    Parameters
    ----------
    data
        As for train.
    space
        A TOML file with what is searched: "optimizer.lr" = {low = 1e-4, high = 3e-3, log = true},
        "augment.mixup_alpha" = [0.0, 0.2, 0.4], "mel.n_mels" = {low = 64, high = 160, step = 16}.
    trials
        How many recipes are tried, those before --resume among them.
    recipe
        Where the settings come from that are not searched: default, article, demo, or a TOML file.
    split
        As for train; several (--split luna5:0 --split luna5:1) count with the mean of their validation scores.
    out
        The folder of the sweep; otherwise runs/ with a name of its own.
    prune
        End a trial early that is below the median of those before; --no-prune carries out each.
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
        Go on with --out: what has ended is not tried again, what was cut off is.
    strict
        Stop at the first bad file.
    store
        Keep decoded recordings in the cache; --no-store decodes them again for every trial.
    accelerator
        Where to train.
    precision
        Of the network's arithmetic.
    compile_
        Let torch.compile make the network faster first; that takes minutes a trial.
    threads
        Threads of the CPU; otherwise the cores that are free.
    """
    given = flat(given_values(settings, model=model, weights=weights, pretrained=pretrained, in_chans=in_chans))
    if twice := [name for name in read_space(space) if name in given]:
        raise SettingsError(f"{', '.join(twice)}: searched by {space} and given as a flag; drop one of them")
    from earsight.tasks.machine.devices import Machine
    from earsight.tasks.sweep import sweep as task

    result = task(
        data,
        space,
        trials=trials,
        split=split or "auto",
        recipe=chosen_recipe(recipe, settings, model=model, weights=weights, pretrained=pretrained, in_chans=in_chans),
        recipe_name=recipe,
        out=out,
        prune=prune,
        source=source,
        group_pattern=group_pattern,
        leaks=leaks,
        resume=resume,
        strict=strict,
        store=store,
        machine=Machine(accelerator, 1, 1, precision, threads, compile_),
        progress=True,
    )
    if result.trials:
        show(*sweep_lines(result))
    if result.interrupted:
        show(f"stopped; go on with the same command and --out {shlex.quote(str(result.out))} --resume", to=sys.stderr)
        return 130
    if result.best is None:
        show(f"earsight: no trial is complete; {result.out / 'sweep.csv'} has the reasons", to=sys.stderr)
        return 2
    best = result.out / "best.toml"
    show(f"best recipe: {best}", f"report: {result.out / 'report.html'}")
    which = "" if split is None else f" --split {shlex.quote(split[0])}"
    show(f"try:    earsight train {shlex.quote(str(data))} --recipe {shlex.quote(str(best))}{which}")
    return 0
