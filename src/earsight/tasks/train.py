"""train: recordings → a run folder with a model, its honest score and a report."""

import copy
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight.dataset.leaks import Policy
from earsight.dataset.split import Split
from earsight.dataset.store import Store
from earsight.errors import SettingsError, TrainingError, first_line
from earsight.files import held_folder, parts_in
from earsight.mel.pipeline import Pipeline
from earsight.plain import counted
from earsight.tasks.machine.cores import free_cores, most_threads, read_load
from earsight.tasks.machine.devices import Machine, first_process
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe
from earsight.tasks.training.decoded import Decoded, decode_parts, fingerprint, write_clips
from earsight.tasks.training.plan import STATE_NAME, Plan, check_run, plan_training, steps_an_epoch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from earsight.mel.wave_augment import Banks
    from earsight.scores.kinds import AnyMetrics
    from earsight.tasks.training.history import Epoch, Progressed

_PACKAGES = ("torch", "timm", "lightning-fabric", "numpy", "soundfile", "soxr")


@dataclass(frozen=True)
class TrainResult:
    """run: the folder. test: the score that counts; None where training was stopped. best_epoch: the one that is kept
    (``history.kept_epoch``). split: as it was carried out. interrupted: by Ctrl-C."""

    run: Path
    test: "AnyMetrics | None"
    valid: "AnyMetrics | None"
    best_epoch: int
    split: Split
    interrupted: bool


def train(
    data: str | Path,
    *,
    recipe: str | Path | Recipe = "default",
    split: str = "auto",
    out: str | Path | None = None,
    source: str | None = None,
    group_pattern: str | None = None,
    leaks: Policy = "refuse",
    resume: bool = False,
    strict: bool = False,
    store: bool = True,
    accelerator: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: str = "32-true",
    threads: int | None = None,
    compiled: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Train a network, score it on clips held out, write the run folder.

    data, source, group_pattern, strict: see ``read_dataset``; a known data set that is not there yet is downloaded.
    recipe: a Recipe, the name of one that comes with earsight, or a TOML file. split: see ``dataset.split.split``.
    leaks: what to do where the sides of the split share a speaker, a recording or a copied file: "refuse", "drop" (the
    training side) or "allow" (and say so). store: keep what is decoded in the cache, where the next training finds it;
    otherwise in memory. out: the run folder, new or empty unless ``resume``. accelerator, devices,
    nodes, precision, threads, compiled: see ``Machine``. Raises EarsightError.
    """
    name = "custom" if isinstance(recipe, Recipe) else str(recipe)
    settings = recipe if isinstance(recipe, Recipe) else Recipe.named(recipe)
    plan = plan_training(
        data,
        settings,
        recipe_name=name,
        split_kind=split,
        out=out,
        source=source,
        group_pattern=group_pattern,
        leaks=leaks,
        strict=strict,
        resume=resume,
        store=store,
        progress=progress,
    )
    machine = Machine(accelerator, devices, nodes, precision, threads, compiled)
    return run_plan(plan, machine, progress=progress)


def run_plan(
    plan: Plan,
    machine: Machine,
    *,
    progress: bool = False,
    tested: bool = True,
    each_epoch: "Callable[[Epoch], None] | None" = None,
) -> TrainResult:
    """Carry out a checked plan: see ``train``. tested: False scores no test clip, and so makes no report.
    each_epoch: see ``fit``."""
    before = read_load()
    machine.check()
    import torch

    from earsight.network.classifier import Classifier
    from earsight.network.fitting import fit_images
    from earsight.tasks.training.learner import Learner
    from earsight.tasks.training.loop import fit
    from earsight.tasks.training.refit import facts_of_refit, forget_refit, keep_chosen, plan_refit
    from earsight.tasks.training.state import read_state

    free = machine.threads or free_cores(before)
    torch.set_num_threads(max(1, free if machine.threads else free // machine.devices))
    with ExitStack() as stack, Progress(shown=progress and first_process()) as shown:
        recipe = plan.recipe
        fewest = check_batches(plan, machine)
        torch.manual_seed(recipe.seed)
        # Before the recordings are decoded: wrong weights, a network that refuses the images and a foreign state are
        # known in seconds, decoding may take minutes.
        classifier = Classifier(
            plan.dataset.labels, recipe.audio, recipe.mel, recipe.network, multilabel=plan.multilabel
        )
        pipeline = Pipeline.read(recipe.augment.pipeline)
        state = read_state(plan, asdict(machine), pipeline)
        other_threads = _threads_of(state, machine) if state else ""
        changed = fit_images(classifier, min(fewest, 2))
        second = plan_refit(plan) if recipe.refit and tested else None
        second_state = read_state(second, asdict(machine), pipeline) if second and state else None
        untrained = copy.deepcopy(classifier) if second else classifier
        shown.say(_opening(plan, tested))
        if plan.dataset.unfilled:
            named = ", ".join(folder.name for folder in plan.dataset.unfilled[:10])
            shown.say(
                f"note: {counted(len(plan.dataset.unfilled), 'folder')} without a recording, so no class: {named}"
            )
        if plan.resume and state is None:
            shown.say(f"nothing to go on with in {plan.run} yet: it begins")
        for warning in filter(None, (changed, machine.caution(), other_threads)):
            shown.say(f"warning: {warning}")
        if empty := classifier.image.spectrogram.empty_bins():
            shown.say(
                f"warning: {empty} of {recipe.mel.n_mels} mel bins are empty; raise mel.n_fft or lower mel.n_mels"
            )
        decoded = decode_parts(plan, free, shown)
        store, parts, labels = decoded.store, decoded.parts, classifier.labels
        whole = decoded.refitted() if second else decoded
        facts = {**model_facts(plan, decoded), "machine": {**asdict(machine), "threads": torch.get_num_threads()}}
        facts |= {"pipeline": pipeline.told} if pipeline.told else {}
        # The other processes begin here, with the same command: what this one has decoded they find in the store.
        fabric = machine.fabric()
        fabric.launch()
        if fabric.is_global_zero:
            plan.run.mkdir(parents=True, exist_ok=True)
            busy = f"another process is training into {plan.run}; wait until it has ended, or pass another --out"
            stack.enter_context(held_folder(plan.run, busy))
            for half in parts_in(plan.run, below=True):
                half.unlink(missing_ok=True)
            if state is None:
                check_run(plan.run, plan.resume)  # again: another training may have ended there meanwhile
                write_clips(plan.run, decoded)
                if tested:
                    _draw_first_batch(plan.run / "figures" / "images.png", classifier, store, parts["train"])
        keep_freed_memory()  # now: the threads that decode are faster without it
        learner_of = partial(
            Learner.of, fabric, recipe=recipe, compiled=machine.compiled, banks=_banks(recipe, shown), pipeline=pipeline
        )
        again: Progressed | None = None
        try:
            shown.start_training(recipe.epochs, steps_an_epoch(len(parts["train"]), recipe.batch_size), 0)
            learner = learner_of(classifier, class_weights=_class_weights(decoded, labels, recipe))
            done = fit(learner, decoded, plan, state, facts, shown, each_epoch=each_epoch)
            if second and not done.interrupted:
                del learner, classifier  # two networks and their optimizers need not fit in a GPU's memory
                if fabric.is_global_zero:
                    keep_chosen(plan.run)
                shown.say(_opening_again(done, whole, second_state))
                batches = steps_an_epoch(len(whole.parts["train"]), recipe.batch_size)
                shown.start_training(done.best_epoch, batches, 0)
                facts = facts_of_refit(facts, whole, done.best_epoch)
                learner = learner_of(untrained, class_weights=_class_weights(whole, labels, recipe))
                again = fit(learner, whole, second, second_state, facts, shown, epochs=done.best_epoch)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                f"a batch of {recipe.batch_size} does not fit in the GPU's memory ({first_line(error)[:160]}); halve "
                "--batch-size and double --accumulate, or take a smaller --model"
            ) from error
        interrupted = done.interrupted or (again is not None and again.interrupted)
        if interrupted and tested:
            shown.say(_stopped(plan, done, again))
        if interrupted or not tested or not fabric.is_global_zero:
            return TrainResult(plan.run, None, None, done.best_epoch, decoded.split, interrupted)
        from earsight.tasks.training.averaging import forget_epochs
        from earsight.tasks.training.finish import finish

        test, valid = finish(plan, decoded, done, again, facts, fabric.device, shown)
        (plan.run / STATE_NAME).unlink(missing_ok=True)
        forget_epochs(plan.run)
        forget_refit(plan.run)
        return TrainResult(plan.run, test, valid, done.best_epoch, whole.split, False)


def _threads_of(state: Mapping[str, Any], machine: Machine) -> str:
    """Go on with as many threads as before the stop, where no number was asked for and there are so many: another
    number adds in another order. A warning where it is another one."""
    import torch

    if machine.accelerator != "cpu" and torch.cuda.is_available():
        return ""
    before = int(state.get("threads") or torch.get_num_threads())
    if machine.threads is None and before <= most_threads():
        torch.set_num_threads(before)
    if torch.get_num_threads() == before:
        return ""
    return f"before the stop it had {counted(before, 'thread')}: the last digits of the weights will differ"


def _banks(recipe: Recipe, shown: Progress) -> "Banks":
    """What augmentation mixes in; says what could not be read."""
    import torch

    from earsight.mel.wave_augment import Banks
    from earsight.tasks.training.banks import read_bank

    banks = []
    for folder in (recipe.augment.reverb, recipe.augment.background):
        sounds, reasons = read_bank(folder, recipe.audio)
        if reasons:
            shown.say(f"warning: {len(reasons)} recordings in {folder} are left out, the first: {reasons[0]}")
        banks.append(tuple(map(torch.from_numpy, sounds)))
    return Banks(*banks)


def _class_weights(decoded: Decoded, labels: Sequence[str], recipe: Recipe) -> "npt.NDArray[np.float32] | None":
    """[classes]: all classes count the same in the loss, and a clip counts 1 on average. A class without a training
    clip counts nothing. None where the recipe has none."""
    if recipe.loss.class_weights == "none":
        return None
    import numpy as np

    from earsight.dataset.loader import label_rows

    clips = [decoded.store.clips[i] for i in decoded.parts["train"]]
    counts = label_rows(clips, labels).sum(axis=0, dtype=np.float32)
    return np.divide(counts.sum() / (counts > 0).sum(), counts, out=np.zeros_like(counts), where=counts > 0)


def check_batches(plan: Plan, machine: Machine) -> int:
    """The fewest clips that a process has in one batch. Raises SettingsError where one would be left without."""
    learned = [len(plan.split.train)]
    learned += [learned[0] + len(plan.split.valid)] if plan.recipe.refit else []
    smallest = min(clips // steps_an_epoch(clips, plan.recipe.batch_size) for clips in learned)
    if smallest < machine.processes:
        raise SettingsError(
            f"{machine.processes} processes share a batch of {smallest} clips; raise --batch-size to "
            f"{2 * machine.processes} or more, or lower --devices"
        )
    return smallest // machine.processes


def _opening_again(done: "Progressed", whole: Decoded, state: Mapping[str, Any] | None) -> str:
    on = f"{len(whole.parts['train'])} clips, training and validation together"
    if state:
        return f"the second training, on {on}, goes on after epoch {len(state['history'])} of {done.best_epoch}"
    return f"epoch {done.best_epoch} is kept; once more from the start: {counted(done.best_epoch, 'epoch')} on {on}"


def _stopped(plan: Plan, done: "Progressed", again: "Progressed | None") -> str:
    if not done.history:
        return "stopped before the first epoch was over: nothing is kept, the same command begins again"
    where = f"after epoch {len(done.history)}"
    if again:
        epochs = f"after epoch {len(again.history)}" if again.history else "before the first epoch"
        where = f"in the second training, {epochs}; the first one's network is kept"
    return f"stopped {where}; the run is usable: earsight evaluate {plan.run}; go on with the same command and --resume"


def _opening(plan: Plan, tested: bool) -> str:
    data, divided = plan.dataset, plan.split
    groups = f", {len(data.groups)} {data.group_name}s" if data.groups else ""
    sizes = f"{len(divided.train)} train / {len(divided.valid)} valid / {len(divided.test)} test"
    classes = f"{len(data.labels)} classes"
    if plan.multilabel:
        none = sum(not clip.label for clip in data.clips)
        classes = f"{len(data.labels)} labels, any number of them a clip (multilabel; {none} clips have none)"
    sentence = divided.sentence if tested else f"No test clip is scored. Split: {divided.kind}."
    return (
        f"{len(data.clips)} clips from {data.files} files, {classes}{groups} ({sizes})\n"
        f"{sentence}\n{plan.recipe.network.model}, recipe {plan.recipe_name}, into {plan.run}"
        + (", trained twice (refit)" if plan.recipe.refit and tested else "")
    )


def model_facts(plan: Plan, decoded: Decoded) -> dict[str, Any]:
    """What model.json tells beside what loading needs."""
    import earsight

    clips, split = decoded.store.clips, decoded.split
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
            "clips": len(clips),
            "fingerprint": fingerprint(decoded.store),
            "group_name": plan.dataset.group_name,
            "trained_groups": decoded.groups_of("train"),
            "validated_groups": decoded.groups_of("valid"),
            "failures": [[str(failure.path), failure.reason] for failure in decoded.failures],
        },
        "split": {
            "kind": split.kind,
            "sentence": split.sentence,
            "caveat": split.caveat,
            "training_score": split.training_score,
            "speaker_independent": split.speaker_independent,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _draw_first_batch(path: Path, classifier: Any, store: Store, train: Sequence[int]) -> None:
    import numpy as np
    import torch

    from earsight.dataset.loader import training_batches
    from earsight.mel.spectrogram import decibels, mel_edges_hz
    from earsight.scores.figures import draw_image_grid

    path.parent.mkdir(parents=True, exist_ok=True)
    indices, crops = next(training_batches(store, train, 8, np.random.default_rng(classifier.audio.rate_hz)))
    with torch.inference_mode():
        decibel = decibels(classifier.image.spectrogram(torch.from_numpy(crops[:8]))[:, 0], classifier.mel.power)
    draw_image_grid(
        path,
        decibel.numpy(),
        [", ".join(store.clips[i].labels) or "none" for i in indices[:8]],
        hop_s=classifier.mel.hop_length / classifier.audio.rate_hz,
        mel_hz=mel_edges_hz(classifier.mel, classifier.audio.rate_hz)[1:-1],
    )
