"""The plan of a training, checked as far as possible without torch, so that a typo is an error within a second."""

import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xxhash

from earsight import extras
from earsight.dataset.clip import PARTS, Clip, DataSet, Failure
from earsight.dataset.leaks import Policy, find_leaks, resolve_leaks
from earsight.dataset.sources import read_dataset
from earsight.dataset.split import Split, check_kind, split
from earsight.errors import DataError, ModelError, SettingsError, SplitError
from earsight.files import leftover_files, read_json
from earsight.mel.pipeline import Pipeline
from earsight.network.description import SETTINGS_NAME
from earsight.network.names import check_model_name
from earsight.scores.multilabel import check_labels
from earsight.tasks.clips_table import CLIPS_NAME
from earsight.tasks.contamination import exclude_heard_by_weights
from earsight.tasks.data import ensure_downloaded
from earsight.tasks.recipe import Recipe, Task
from earsight.tasks.training.banks import check_banks, check_disjoint

STATE_NAME = "resume.pt"
HISTORY_NAME = "history.csv"
UNTRAINED_NAMES = {CLIPS_NAME, "figures"}
"""Files in a run folder before the end of the first epoch."""


@dataclass(frozen=True)
class Plan:
    """A checked training run. run: its folder, created when training starts. leaks: policy. left_out: clips dropped as
    leaks by name, group or span. resume: continue the run; without a complete epoch it starts again. store: keep
    decoded clips on disk. first: for a refit, the folder of the first training."""

    run: Path
    dataset: DataSet
    split: Split
    recipe: Recipe
    recipe_name: str
    leaks: Policy = "refuse"
    left_out: tuple[Failure, ...] = ()
    strict: bool = False
    resume: bool = False
    store: bool = True
    first: Path | None = None

    @cached_property
    def division(self) -> str:
        """A digest of the clips, their labels and groups, and their parts."""
        parts = [getattr(self.split, part) for part in PARTS]
        return xxhash.xxh3_64(f"{self.dataset.digest} {parts}".encode()).hexdigest()

    @property
    def held_out(self) -> list[Clip]:
        """The validation and test clips; none where the network is scored on its training clips."""
        parts = () if self.split.training_score else (self.split.valid, self.split.test)
        return [self.dataset.clips[i] for part in parts for i in part]

    @property
    def multilabel(self) -> bool:
        """Whether a clip can have several labels: asked for, or found in the data."""
        return self.recipe.task == "multilabel" or self.dataset.multilabel


def plan_training(
    data: str | Path | DataSet,
    recipe: Recipe,
    *,
    recipe_name: str = "default",
    split_kind: str = "auto",
    out: str | Path | None = None,
    source: str | None = None,
    group_pattern: str | None = None,
    leaks: Policy = "refuse",
    strict: bool = False,
    resume: bool = False,
    store: bool = True,
    progress: bool = False,
) -> Plan:
    """Check everything that needs no torch: packages, model name, weights file, data, labels, split, leaks, run folder.

    A known data set is downloaded where it is missing. Arguments: see ``train``.
    """
    check_recipe(recipe)
    check_kind(split_kind)
    if resume and out is None:
        raise SettingsError("--resume needs the run to continue; pass --out RUN")
    if out is not None and not str(out).strip():
        raise SettingsError("--out is empty; name a folder")
    dataset = read_training_data(
        data, recipe.task, source=source, group_pattern=group_pattern, strict=strict, progress=progress
    )
    run = Path(out) if out is not None else default_run_folder(recipe_name, recipe.network.model)
    plan = plan_run(dataset, recipe, split_kind, run, recipe_name, leaks, strict=strict, resume=resume, store=store)
    check_run(run, resume)
    return plan


def check_recipe(recipe: Recipe) -> None:
    """Check packages, model name, weights file, folders of sounds and transforms. Raises EarsightError."""
    extras.check("torch", "timm", "lightning_fabric", "safetensors", "matplotlib", "jinja2")
    check_model_name(recipe.network.model)
    if recipe.network.weights is not None and not Path(recipe.network.weights).is_file():
        raise ModelError(
            f"no weights file: {recipe.network.weights}; give a safetensors or pth file under timm's names, "
            "or pass --no-pretrained"
        )
    if recipe.network.weights is not None and not recipe.network.pretrained:
        raise SettingsError(f"--weights {recipe.network.weights} contradicts --no-pretrained; pass only one of them")
    check_banks(recipe.augment)
    Pipeline.read(recipe.augment.pipeline).check(recipe.audio)


def read_training_data(
    data: str | Path | DataSet,
    task: Task,
    *,
    source: str | None,
    group_pattern: str | None,
    strict: bool,
    progress: bool,
) -> DataSet:
    """Read a data set, after a download where needed, and check its labels against ``task``. Raises EarsightError."""
    dataset = read_dataset(
        ensure_downloaded(data, progress=progress), source=source, group_pattern=group_pattern, strict=strict
    )
    if task == "single" and dataset.multilabel:
        other = [clip.name for clip in dataset.clips if len(clip.labels) != 1]
        raise DataError(
            f"--task single takes one label a clip; {len(other)} of {len(dataset.clips)} have several or none, such as "
            f"{other[0]}; pass --task multilabel, or fix the table"
        )
    return dataset


def plan_run(
    dataset: DataSet,
    recipe: Recipe,
    split_kind: str,
    run: Path,
    recipe_name: str,
    leaks: Policy,
    *,
    strict: bool,
    resume: bool,
    store: bool,
) -> Plan:
    """Split the clips and apply the leak policy. Raises EarsightError."""
    drawn = split(dataset.clips, split_kind, seed=recipe.seed, group_name=dataset.group_name, official=dataset.split)
    clean, left_out = resolve_leaks(
        dataset.clips, drawn, lambda way: find_leaks(dataset.clips, way, dataset.group_name), leaks
    )
    clean, heard_before = exclude_heard_by_weights(dataset, clean, recipe.network.weights, leaks)
    plan = Plan(run, dataset, clean, recipe, recipe_name, leaks, (*left_out, *heard_before), strict, resume, store)
    check_disjoint(recipe.augment, plan.held_out)
    if recipe.refit and clean.training_score:
        raise SettingsError(
            f"refit trains once more with the validation clips, and split {clean.kind} holds none out; pass --no-refit"
        )
    if plan.multilabel:
        check_labels(dataset.labels)
        for part in PARTS:
            if not any(dataset.clips[i].label for i in getattr(clean, part)):
                raise SplitError(f"no clip of {part} has a label: nothing to learn or score; choose another --split")
    return plan


def default_run_folder(recipe_name: str, model: str) -> Path:
    """A folder below runs/ named by recipe, model and time."""
    stem = Path(recipe_name).stem
    return Path("runs") / f"{stem}-{model.replace('/', '-').replace(':', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"


def check_run(run: Path, resume: bool) -> None:
    """Raise SettingsError where ``run`` can't be used as a run folder. What a run without a complete epoch left may be
    overwritten."""
    try:
        if run.exists() and not run.is_dir():
            raise SettingsError(f"--out {run} is a file; name a folder")
        found = {path.name for path in run.iterdir()} if run.is_dir() else set()
        found -= {path.name for path in leftover_files(run)}
        if STATE_NAME in found:
            if not resume:
                raise SettingsError(f"{run} is not empty; pass --resume to continue it, or another --out")
        elif found - UNTRAINED_NAMES:
            state = f"has no {STATE_NAME}, so it is either finished or not a run" if resume else "is not empty"
            raise SettingsError(f"{run} {state}; pass another --out")
        new = not run.exists()
        run.mkdir(parents=True, exist_ok=True)
        if new:
            run.rmdir()  # it is created again when there is something to write
    except OSError as error:
        raise SettingsError(f"can't write to --out {run} ({error.strerror}); name another folder") from error


def unfinished_note(run: str | Path) -> str:
    """A note for a run whose training was not completed; "" for others."""
    place = Path(run)
    if not (place / STATE_NAME).is_file():
        return ""
    try:
        done = max(0, len((place / HISTORY_NAME).read_text(encoding="utf-8").splitlines()) - 1)
        epochs = read_json(place / SETTINGS_NAME)["recipe"]["epochs"]
        how_far = (
            f" (epoch {done} of {epochs} is done)" if done < epochs else " (its epochs are done, what follows is not)"
        )
    except (OSError, ValueError, KeyError, TypeError):
        how_far = ""
    return f"the training of {run} is not finished{how_far}; to continue it, run train with --resume"


def batches_per_epoch(clips: int, batch_size: int) -> int:
    return max(1, math.ceil(clips / batch_size))
