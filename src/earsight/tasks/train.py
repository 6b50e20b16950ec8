"""train: recordings → a run folder with a model, its honest score and a report."""

import csv
import io
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight.dataset.clip import Failure
from earsight.dataset.store import Store, build_store
from earsight.errors import DataError
from earsight.tasks.cores import free_cores, read_load
from earsight.tasks.plan import STATE_NAME, Plan, plan_training
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe

if TYPE_CHECKING:
    from earsight.scores.metrics import Metrics

CLIPS_NAME = "clips.csv"
_PACKAGES = ("torch", "timm", "lightning-fabric", "numpy", "soundfile", "soxr")


@dataclass(frozen=True)
class TrainResult:
    """run: the folder. test: the score that counts; None where training was stopped. interrupted: by Ctrl-C."""

    run: Path
    test: "Metrics | None"
    valid: "Metrics | None"
    best_epoch: int
    interrupted: bool


def train(
    data: str | Path,
    *,
    recipe: str | Path | Recipe = "default",
    split: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    strict: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = False,
) -> TrainResult:
    """Train a network, score it on clips held out, write the run folder.

    data: a RAVDESS folder or zip, or a folder with one folder a class. recipe: a Recipe, the name of one that comes
    with earsight, or a TOML file. split: see ``dataset.split.split``. out: the run folder, new or empty unless
    ``resume``. accelerator, devices, precision: of lightning-fabric. threads: of torch on the CPU; None takes the
    cores that are free. Raises EarsightError.
    """
    name = "custom" if isinstance(recipe, Recipe) else str(recipe)
    settings = recipe if isinstance(recipe, Recipe) else Recipe.named(recipe)
    plan = plan_training(data, settings, recipe_name=name, split_kind=split, out=out, strict=strict, resume=resume)
    return run_plan(
        plan,
        accelerator=accelerator,
        devices=devices,
        precision=precision,
        threads=threads,
        progress=progress,
    )


def run_plan(
    plan: Plan,
    *,
    accelerator: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = False,
) -> TrainResult:
    """Carry out a checked plan: see ``train``."""
    before = read_load()
    import torch
    from lightning_fabric import Fabric

    from earsight.network.classifier import Classifier
    from earsight.tasks.loop import fit

    cores = threads or max(1, free_cores(before) // devices)
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    with Progress(shown=progress and fabric.is_global_zero) as shown:
        shown.say(_opening(plan))
        recipe = plan.recipe
        torch.set_num_threads(cores)
        torch.manual_seed(recipe.seed)
        # Before the recordings are decoded: wrong weights are known in seconds, decoding may take minutes.
        classifier = Classifier(plan.dataset.labels, recipe.audio, recipe.mel, recipe.network)
        store, parts = decode_parts(plan, cores, shown)
        facts = model_facts(plan, store, parts)
        if fabric.is_global_zero and not plan.resume:
            plan.run.mkdir(parents=True, exist_ok=True)
            _write_clips(plan.run / CLIPS_NAME, store, parts)
            _draw_first_batch(plan.run / "figures" / "images.png", classifier, store, parts["train"])
        shown.start_training(recipe.epochs, -(-len(parts["train"]) // recipe.batch_size), 0)
        done = fit(fabric, classifier, store, parts, plan, facts, shown)
        if done.interrupted:
            resumable = (plan.run / STATE_NAME).is_file()
            shown.say(
                f"stopped after epoch {len(done.history)}; the run is usable: earsight evaluate {plan.run}"
                + ("; go on with the same command and --resume" if resumable else "")
            )
            return TrainResult(plan.run, None, None, done.best_epoch, True)
        if not fabric.is_global_zero:
            return TrainResult(plan.run, None, None, done.best_epoch, False)
        from earsight.tasks.finish import finish

        test, valid = finish(plan, store, parts, done, fabric.device)
        (plan.run / STATE_NAME).unlink(missing_ok=True)
        return TrainResult(plan.run, test, valid, done.best_epoch, False)


def decode_parts(plan: Plan, cores: int, shown: Progress) -> tuple[Store, dict[str, Sequence[int]]]:
    """Decode every clip and carry the split over to those that could be read. Raises DataError."""
    dataset = plan.dataset
    shown.start("decoding", len(dataset.clips))
    store = build_store(dataset.clips, plan.recipe.audio, threads=cores, strict=plan.strict, progress=shown.advance)
    if not store.clips:
        raise DataError(f"none of {len(dataset.clips)} clips could be read; the first: {store.failures[0].reason}")
    kept = {clip.path: index for index, clip in enumerate(store.clips)}
    parts: dict[str, Sequence[int]] = {}
    for part in ("train", "valid", "test"):
        wanted = [dataset.clips[i].path for i in getattr(plan.split, part)]
        parts[part] = [kept[path] for path in wanted if path in kept]
        if not parts[part]:
            raise DataError(f"no readable clip is left for {part}; the first failure: {store.failures[0].reason}")
    lost = set(dataset.labels) - {store.clips[i].label for i in parts["train"]}
    if lost:
        raise DataError(f"no readable training clip is left of: {', '.join(sorted(lost))}")
    left_out = len(dataset.failures) + len(store.failures)
    shown.say(
        f"decoded {len(store.clips)} clips, {store.duration_s / 60:.1f} min"
        + (f"; {left_out} files left out (reasons in the report)" if left_out else "")
        + (f"; {store.silent} silent" if store.silent else "")
    )
    return store, parts


def _opening(plan: Plan) -> str:
    data, divided = plan.dataset, plan.split
    groups = f", {len(data.groups)} speakers" if data.source == "ravdess" else ""
    sizes = f"{len(divided.train)} train / {len(divided.valid)} valid / {len(divided.test)} test"
    return (
        f"{len(data.clips)} clips from {data.files} files, {len(data.labels)} classes{groups} ({sizes})\n"
        f"{divided.sentence}\n{plan.recipe.network.model}, recipe {plan.recipe_name}, into {plan.run}"
    )


def model_facts(plan: Plan, store: Store, parts: dict[str, Sequence[int]]) -> dict[str, Any]:
    """What model.json tells beside what loading needs."""
    import earsight

    return {
        "earsight": earsight.__version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "recipe_name": plan.recipe_name,
        "recipe": plan.recipe.model_dump(),
        "data": {
            "place": str(plan.dataset.place),
            "source": plan.dataset.source,
            "synthetic": plan.dataset.synthetic,
            "files": plan.dataset.files,
            "clips": len(store.clips),
            "trained_groups": sorted({store.clips[i].group for i in parts["train"]} - {""}),
            "failures": [[str(f.path), f.reason] for f in all_failures(plan, store)],
        },
        "split": {
            "kind": plan.split_kind,
            "sentence": plan.split.sentence,
            "training_score": plan.split.training_score,
            "speaker_independent": plan.split.speaker_independent,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def all_failures(plan: Plan, store: Store) -> tuple[Failure, ...]:
    return plan.dataset.failures + store.failures


def _write_clips(path: Path, store: Store, parts: dict[str, Sequence[int]]) -> None:
    from earsight.network.checkpoint import write_whole

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["part", "path", "label", "group", "tags"])
    same = parts["train"] == parts["test"]
    for part in ("train",) if same else ("train", "valid", "test"):
        for i in parts[part]:
            clip = store.clips[i]
            tags = json.dumps(dict(clip.tags), ensure_ascii=False)
            writer.writerow(["all" if same else part, clip.path.resolve(), clip.label, clip.group, tags])
    write_whole(path, text.getvalue())


def _draw_first_batch(path: Path, classifier: Any, store: Store, train: Sequence[int]) -> None:
    import numpy as np
    import torch

    from earsight.dataset.loader import training_batches
    from earsight.mel.spectrogram import mel_edges_hz
    from earsight.scores.figures import draw_image_grid

    path.parent.mkdir(parents=True, exist_ok=True)
    indices, crops = next(training_batches(store, train, 8, np.random.default_rng(classifier.audio.rate_hz)))
    with torch.inference_mode():
        images = classifier.image.spectrogram(torch.from_numpy(crops[:8]))[:, 0].clamp_min(1e-10)
        decibel = 20 / classifier.mel.power * images.log10()
        decibel = torch.maximum(decibel, decibel.amax(dim=(1, 2), keepdim=True) - 80)
    draw_image_grid(
        path,
        decibel.numpy(),
        [store.clips[i].label for i in indices[:8]],
        hop_s=classifier.mel.hop_length / classifier.audio.rate_hz,
        mel_hz=mel_edges_hz(classifier.mel, classifier.audio.rate_hz)[1:-1],
    )
