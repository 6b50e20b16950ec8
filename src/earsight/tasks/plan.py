"""What a training run will do, checked as far as it can be without torch: a typo is answered within a second."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from earsight import extras
from earsight.dataset.clip import DataSet
from earsight.dataset.sources import read_dataset
from earsight.dataset.split import Split, check_kind, split
from earsight.errors import ModelError, SettingsError
from earsight.network.names import check_model_name
from earsight.tasks.recipe import Recipe

STATE_NAME = "resume.pt"


@dataclass(frozen=True)
class Plan:
    """A checked training run. run: its folder, made when training starts."""

    run: Path
    dataset: DataSet
    split_kind: str
    split: Split
    recipe: Recipe
    recipe_name: str
    strict: bool = False
    resume: bool = False


def plan_training(
    data: str | Path,
    recipe: Recipe,
    *,
    recipe_name: str = "default",
    split_kind: str = "auto",
    out: str | Path | None = None,
    strict: bool = False,
    resume: bool = False,
) -> Plan:
    """Check everything that needs no torch: packages, model name, weights file, data, labels, split, run folder."""
    extras.check("torch", "timm", "lightning_fabric", "safetensors", "matplotlib", "jinja2")
    check_model_name(recipe.network.model)
    if recipe.network.weights is not None and not Path(recipe.network.weights).is_file():
        raise ModelError(
            f"no weights file: {recipe.network.weights}; give a safetensors or pth file under timm's names, "
            "or pass --no-pretrained"
        )
    if resume and out is None:
        raise SettingsError("--resume needs to know which run goes on; pass --out RUN")
    check_kind(split_kind)
    dataset = read_dataset(data, strict=strict)
    group_name = "speaker" if dataset.source == "ravdess" else "group"
    divided = split(dataset.clips, split_kind, seed=recipe.seed, group_name=group_name)
    run = Path(out) if out is not None else _new_run(recipe_name, recipe.network.model)
    _check_run(run, resume)
    return Plan(run, dataset, split_kind, divided, recipe, recipe_name, strict, resume)


def _new_run(recipe_name: str, model: str) -> Path:
    stem = Path(recipe_name).stem
    return Path("runs") / f"{stem}-{model.replace('/', '-').replace(':', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"


def _check_run(run: Path, resume: bool) -> None:
    if run.exists() and not run.is_dir():
        raise SettingsError(f"--out {run} is a file; name a folder")
    if resume:
        if not (run / STATE_NAME).is_file():
            raise SettingsError(f"nothing to resume in {run}: it has no {STATE_NAME} (finished, or never begun)")
    elif run.is_dir() and any(run.iterdir()):
        raise SettingsError(f"{run} is not empty; pass --resume to go on with it, or another --out")


def steps_an_epoch(clips: int, batch_size: int) -> int:
    return max(1, math.ceil(clips / batch_size))
