"""The command that searches: sweep."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earsight.errors import SettingsError
from earsight.flags import Switch, WholeNumber
from earsight.recipe_flags import MachineFlags, RecipeFlags, Settings, TrainingDataFlags
from earsight.settings import flatten
from earsight.tasks.sweeping.space import read_space
from earsight.terminal import show, sweep_lines


def sweep(
    data: Path,
    /,
    *,
    space: Path,
    trials: WholeNumber = 20,
    recipe_flags: RecipeFlags = RecipeFlags(),
    split: Annotated[list[str] | None, Parameter(negative="")] = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    prune: bool = True,
    resume: Switch = False,
    data_flags: TrainingDataFlags = TrainingDataFlags(),
    machine_flags: MachineFlags = MachineFlags(),
    settings: Settings = None,
) -> int:
    """Search a space of settings for the recipe with the best validation score. No test clip is scored.

    Parameters
    ----------
    data
        As for earsight train.
    space
        TOML file with the settings to search: "optimizer.lr" = {low = 1e-4, high = 3e-3, log = true},
        "augment.mixup_alpha" = [0.0, 0.2, 0.4], "mel.n_mels" = {low = 64, high = 160, step = 16}.
    trials
        Total number of recipes to try, including those tried before --resume.
    split
        As for earsight train. With several (--split luna5:0 --split luna5:1), the mean of their validation scores
        counts.
    out
        Folder for the sweep. Default: a new folder in runs/.
    prune
        Stop a trial early if it falls below the median of earlier ones; --no-prune runs every trial to its end.
    resume
        Continue the sweep in --out: finished trials are not repeated, an interrupted one is.
    """
    given = flatten(recipe_flags.given(settings))
    if twice := [name for name in read_space(space) if name in given]:
        raise SettingsError(f"{', '.join(twice)}: both searched in {space} and given as a flag; drop one of the two")
    from earsight.tasks.sweep import sweep as task

    result = task(
        data,
        space,
        trials=trials,
        split=split or "auto",
        recipe=recipe_flags.chosen(settings),
        recipe_name=recipe_flags.recipe,
        out=out,
        prune=prune,
        resume=resume,
        machine=machine_flags.machine(),
        progress=True,
        **asdict(data_flags),
    )
    if result.trials:
        show(*sweep_lines(result))
    if result.interrupted:
        go_on = f"run the same command with --out {shlex.quote(str(result.out))} --resume"
        show(f"stopped; to continue, {go_on}", to=sys.stderr)
        return 130
    if result.best is None:
        show(f"earsight: no trial was completed; the reasons are in {result.out / 'sweep.csv'}", to=sys.stderr)
        return 2
    best = result.out / "best.toml"
    show(f"best recipe: {best}", f"report: {result.out / 'report.html'}")
    flags = {
        "recipe": best,
        "split": split[0] if split else None,
        "source": data_flags.source,
        "group-pattern": data_flags.group_pattern,
        "leaks": None if data_flags.leaks == "refuse" else data_flags.leaks,
    }
    told = [text for name, value in flags.items() if value is not None for text in (f"--{name}", str(value))]
    show(f"try:    {shlex.join(['earsight', 'train', str(data), *told])}")
    return 0
