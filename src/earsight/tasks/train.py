"""train: recordings → a run folder with a model, its score and a report."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight.dataset.checks import dataset_warnings
from earsight.dataset.clip import DataSet, Failure
from earsight.dataset.leaks import Policy
from earsight.dataset.split import Split
from earsight.errors import SettingsError, TrainingError, first_line
from earsight.files import leftover_files, locked_folder, remove_folder
from earsight.mel.pipeline import Pipeline
from earsight.plain import pluralise
from earsight.tasks.machine.cores import free_cores, max_threads, read_load, torch_threads
from earsight.tasks.machine.devices import Machine, is_main_process
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe
from earsight.tasks.training.decoded import DecodedData, decode_parts, failure_line, write_clips
from earsight.tasks.training.messages import refit_message, start_message, stop_message
from earsight.tasks.training.plan import STATE_NAME, Plan, batches_per_epoch, check_run, plan_training

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from lightning_fabric import Fabric

    from earsight.mel.wave_augment import Banks
    from earsight.network.classifier import Classifier
    from earsight.scores.dispatch import AnyMetrics
    from earsight.tasks.training.history import Epoch, TrainingProgress


@dataclass(frozen=True)
class TrainResult:
    """run: the folder. test: metrics of the test clips; None where training was interrupted. best_epoch: the kept epoch
    (``history.kept_epoch``). split: as carried out. interrupted: by Ctrl-C. failures: files that could not be used.
    dropped: clips that were left out as leaks. warnings: what else a reader should know."""

    run: Path
    test: "AnyMetrics | None"
    valid: "AnyMetrics | None"
    best_epoch: int
    split: Split
    interrupted: bool
    failures: tuple[Failure, ...] = ()
    dropped: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = {} if self.test is None else self.test.NAMES
        scores = [f"{word} {getattr(self.test, name):.3f}" for name, word in names.items()] or ["not scored"]
        more = [f"{len(self.failures)} left out"] if self.failures else []
        more += [f"{len(self.dropped)} dropped"] if self.dropped else []
        more += [pluralise(len(self.warnings), "warning")] if self.warnings else []
        more += ["interrupted"] if self.interrupted else []
        return f"<TrainResult {self.run}: {', '.join([*scores, f'epoch {self.best_epoch}', *more])}>"


def train(
    data: str | Path | DataSet,
    *,
    recipe: str | Path | Recipe | Mapping[str, Any] = "default",
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
    """Train a network, score it on held-out clips, write the run folder. Ctrl-C ends the training, keeps the run as of
    its last complete epoch, and returns with ``interrupted`` set, which a loop of trainings should check.

    data, source, group_pattern, strict: see ``read_dataset``; a known data set that is not there yet is downloaded.
    recipe: a Recipe, the name of one that comes with earsight, a TOML file, or a dict of changes to the default one.
    split: see ``dataset.split.split``. leaks: what to do where parts of the split share a speaker, a recording or a
    copied file: "refuse", "drop" (the training clips) or "allow" (and say so). store: keep decoded recordings in the
    cache for later trainings; otherwise in memory. out: the run folder, new or empty unless ``resume``. accelerator,
    devices, nodes, precision, threads, compiled: see ``Machine``. progress: show it on standard error; otherwise a
    Python warning says that files were left out or something is doubtful; the result has the details. torch's threads
    and its CPU random state are restored. Raises EarsightError.
    """
    _check_kinds(data, recipe, split)
    if isinstance(recipe, Recipe):
        name, settings = "custom", recipe.changed()  # validated: a copy by model_copy may not be
    elif isinstance(recipe, Mapping):
        name, settings = "custom", Recipe.named("default", recipe)
    else:
        name, settings = str(recipe), Recipe.named(recipe)
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
    import torch

    with torch_threads(), torch.random.fork_rng(devices=[]):
        result = run_plan(plan, machine, progress=progress)
    if not progress and is_main_process() and (told := _warning_text(result)):
        warnings.warn(told, stacklevel=2)
    return result


def _check_kinds(data: object, recipe: object, split: object) -> None:
    """Raises SettingsError for arguments of wrong types."""
    for what, given, kinds, words in (
        ("data", data, str | Path | DataSet, "a place, the name of a known data set, or a DataSet"),
        ("recipe", recipe, str | Path | Recipe | Mapping, "a Recipe, a dict, a name or a TOML file"),
        ("split", split, str, "a text such as 'random:0.2' or 'group:5:0'"),
    ):
        if not isinstance(given, kinds):
            raise SettingsError(f"{what} must be {words}, got {' '.join(repr(given).split())[:100]}")


def _warning_text(result: TrainResult) -> str:
    """The text of the Python warning of ``train``; "" for none."""
    parts = [
        f"{len(left)} {what}, the first: {failure_line(left[0])} (result.{name})"
        for name, what, left in (
            ("failures", "left out", result.failures),
            ("dropped", "dropped for leaks", result.dropped),
        )
        if left
    ]
    if result.warnings:
        doubtful = pluralise(len(result.warnings), "warning")
        parts.append(f"{doubtful}, the first: {result.warnings[0]} (result.warnings)")
    return "; ".join(parts)


@dataclass(frozen=True)
class _Prepared:
    """What is made before the recordings are decoded, which may take minutes: so wrong weights, a network that refuses
    the images and the state of another run are errors within seconds. classifier: untrained. state: of a run to resume,
    else None. second, second_state: of a refit."""

    classifier: "Classifier"
    pipeline: Pipeline
    state: dict[str, Any] | None
    second: Plan | None
    second_state: dict[str, Any] | None
    warnings: tuple[str, ...]


def run_plan(
    plan: Plan,
    machine: Machine,
    *,
    progress: bool = False,
    score_test: bool = True,
    on_epoch: "Callable[[Epoch], None] | None" = None,
) -> TrainResult:
    """Carry out a checked plan; see ``train``. score_test: False: score no test clip and write no report. on_epoch: see
    ``fit``."""
    before = read_load()
    machine.check()
    import torch

    from earsight.tasks.training.facts import model_facts
    from earsight.tasks.training.run_figures import draw_first_batch

    free = machine.threads or free_cores(before)
    torch.set_num_threads(max(1, free if machine.threads else free // machine.devices))
    with ExitStack() as stack, Progress(shown=progress and is_main_process()) as shown:
        ready = _prepare(plan, machine, refit=plan.recipe.refit and score_test)
        shown.say(start_message(plan, score_test))
        if plan.resume and ready.state is None:
            shown.say(f"nothing to resume in {plan.run} yet; the training starts from the beginning")
        for warning in ready.warnings:
            shown.warn(warning)
        decoded = decode_parts(plan, free, shown)
        facts = model_facts(plan, decoded, machine, ready.pipeline)
        # Other processes start here, with the same command, and find the decoded clips in the store.
        fabric = machine.fabric()
        fabric.launch()
        if fabric.is_global_zero:
            _lock_run(plan, stack)
            if ready.state is None:
                check_run(plan.run, plan.resume)  # again: another training may have ended there since
                write_clips(plan.run, decoded)
                if score_test:
                    draw_first_batch(plan.run / "figures", ready.classifier, decoded)
        keep_freed_memory()  # only now: decoding threads are faster without it
        try:
            done, again, facts = _train_and_refit(plan, machine, ready, decoded, facts, fabric, shown, on_epoch)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                f"a batch of {plan.recipe.batch_size} does not fit in the GPU's memory ({first_line(error)[:160]}); "
                "halve --batch-size and double --accumulate, or take a smaller --model"
            ) from error
        failures = tuple(failure for failure in decoded.failures if failure not in decoded.dropped)
        interrupted = done.interrupted or (again is not None and again.interrupted)
        if interrupted and score_test:
            shown.say(stop_message(plan, done, again))
        if interrupted or not score_test or not fabric.is_global_zero:
            told = failures, decoded.dropped, tuple(shown.warnings)
            return TrainResult(plan.run, None, None, done.best_epoch, decoded.split, interrupted, *told)
        from earsight.tasks.training.finish import finish
        from earsight.tasks.training.run_report import write_run_report

        scored = finish(plan, decoded, done, facts, fabric.device, shown, refitted=again is not None)
        write_run_report(plan, decoded, done, again, scored, facts)
        _remove_resume_files(plan.run)
        split = decoded.refitted().split if again else decoded.split
        told = failures, decoded.dropped, tuple(shown.warnings)
        return TrainResult(plan.run, scored.test, scored.valid, done.best_epoch, split, False, *told)


def _prepare(plan: Plan, machine: Machine, *, refit: bool) -> _Prepared:
    """Raises EarsightError."""
    import torch

    from earsight.network.classifier import Classifier
    from earsight.network.compatibility import ensure_trainable
    from earsight.tasks.training.refit import plan_refit
    from earsight.tasks.training.state import read_state

    recipe = plan.recipe
    fewest = check_batches(plan, machine)
    torch.manual_seed(recipe.seed)
    classifier = Classifier(plan.dataset.labels, recipe.audio, recipe.mel, recipe.network, multilabel=plan.multilabel)
    pipeline = Pipeline.read(recipe.augment.pipeline)
    state = read_state(plan, asdict(machine), pipeline)
    threads = _restore_threads(state, machine) if state else ""
    changed = ensure_trainable(classifier, min(fewest, 2))
    second = plan_refit(plan) if refit else None
    second_state = read_state(second, asdict(machine), pipeline) if second and state else None
    empty = classifier.image.spectrogram.empty_bins()
    bins = f"{empty} of {recipe.mel.n_mels} mel bins are empty; raise mel.n_fft or lower mel.n_mels" if empty else ""
    told = (*dataset_warnings(plan.dataset), recipe.caution(), changed, machine.caution(), threads, bins)
    return _Prepared(classifier, pipeline, state, second, second_state, tuple(filter(None, told)))


def _lock_run(plan: Plan, stack: ExitStack) -> None:
    """Create and lock the run folder until the stack is closed, and remove partial files. Raises SettingsError."""
    plan.run.mkdir(parents=True, exist_ok=True)
    busy = f"another process is training in {plan.run}; wait until it has ended, or pass another --out"
    stack.enter_context(locked_folder(plan.run, busy))
    for half in leftover_files(plan.run, below=True):
        half.unlink(missing_ok=True)


def _train_and_refit(
    plan: Plan,
    machine: Machine,
    ready: _Prepared,
    decoded: DecodedData,
    facts: dict[str, Any],
    fabric: "Fabric",
    shown: Progress,
    on_epoch: "Callable[[Epoch], None] | None",
) -> "tuple[TrainingProgress, TrainingProgress | None, dict[str, Any]]":
    """Train, and with a refit once more from the start. Returns the history of both, and the facts for model.json."""
    from earsight.tasks.training.learner import Learner
    from earsight.tasks.training.loop import fit
    from earsight.tasks.training.refit import keep_first_network, refit_facts

    recipe, labels, second = plan.recipe, ready.classifier.labels, ready.second
    banks = _load_banks(recipe, shown)
    learner_of = partial(
        Learner.of, fabric, recipe=recipe, compiled=machine.compiled, banks=banks, pipeline=ready.pipeline
    )
    batches = batches_per_epoch(len(decoded.parts["train"]), recipe.batch_size)
    shown.start_training(recipe.epochs, batches, 0)
    first = copy.deepcopy(ready.classifier) if second else ready.classifier
    learner = learner_of(first, class_weights=_class_weights(decoded, labels, recipe, plan.multilabel))
    done = fit(learner, decoded, plan, ready.state, facts, shown, on_epoch=on_epoch)
    if second is None or done.interrupted:
        return done, None, facts
    del learner, first  # frees memory: two networks and optimizers need not fit on a GPU
    if fabric.is_global_zero:
        keep_first_network(plan.run)
    whole = decoded.refitted()
    facts = refit_facts(facts, whole, done.best_epoch)
    shown.say(refit_message(done, whole, ready.second_state))
    batches = batches_per_epoch(len(whole.parts["train"]), recipe.batch_size)
    shown.start_training(done.best_epoch, batches, 0)
    learner = learner_of(ready.classifier, class_weights=_class_weights(whole, labels, recipe, plan.multilabel))
    again = fit(learner, whole, second, ready.second_state, facts, shown, epochs=done.best_epoch)
    return done, again, facts


def _remove_resume_files(run: Path) -> None:
    """Remove what a finished run needed for --resume."""
    from earsight.tasks.training import averaging, refit

    (run / STATE_NAME).unlink(missing_ok=True)
    for name in (averaging.FOLDER_NAME, refit.FOLDER_NAME):
        remove_folder(run / name)


def _restore_threads(state: Mapping[str, Any], machine: Machine) -> str:
    """Set the number of threads that the run had before, unless one is asked for or it is too large here: another
    number changes the order of sums. Returns a warning where the number differs, else ""."""
    import torch

    if machine.accelerator != "cpu" and torch.cuda.is_available():
        return ""
    before = int(state.get("threads") or torch.get_num_threads())
    if machine.threads is None and before <= max_threads():
        torch.set_num_threads(before)
    if torch.get_num_threads() == before:
        return ""
    return f"the run began with {pluralise(before, 'thread')}, so the last digits of the weights will differ"


def _load_banks(recipe: Recipe, shown: Progress) -> "Banks":
    """The sounds for augmentation, with a warning for files that can't be read."""
    import torch

    from earsight.mel.wave_augment import Banks
    from earsight.tasks.training.banks import read_bank

    banks = []
    for folder in (recipe.augment.reverb, recipe.augment.background):
        sounds, reasons = read_bank(folder, recipe.audio)
        if reasons:
            shown.warn(f"{len(reasons)} recordings in {folder} are left out, the first: {reasons[0]}")
        banks.append(tuple(map(torch.from_numpy, sounds)))
    return Banks(*banks)


def _class_weights(
    decoded: DecodedData, labels: Sequence[str], recipe: Recipe, several: bool
) -> "npt.NDArray[np.float32] | None":
    """Class weights of the loss, float32 [classes]; None where the recipe has none. One label a clip: all classes have
    the same total weight, and the mean over clips is 1. Several labels: clips with a label have the same total weight
    as clips without it, where there are both. 0 for a class without training clips."""
    if recipe.loss.class_weights == "none":
        return None
    import numpy as np

    from earsight.dataset.loader import label_matrix

    clips = [decoded.store.clips[i] for i in decoded.parts["train"]]
    counts = label_matrix(clips, labels).sum(axis=0, dtype=np.float32)
    without = np.where(counts < len(clips), len(clips) - counts, counts)
    whole = without if several else counts.sum() / (counts > 0).sum()
    return np.divide(whole, counts, out=np.zeros_like(counts), where=counts > 0)


def check_batches(plan: Plan, machine: Machine) -> int:
    """The smallest number of clips that a process has in a batch. Raises SettingsError where that is 0."""
    learned = [len(plan.split.train)]
    learned += [learned[0] + len(plan.split.valid)] if plan.recipe.refit else []
    smallest = min(clips // batches_per_epoch(clips, plan.recipe.batch_size) for clips in learned)
    if smallest < machine.processes:
        raise SettingsError(
            f"{machine.processes} processes share a batch of {smallest} clips; raise --batch-size to "
            f"{2 * machine.processes} or more, or lower --devices"
        )
    return smallest // machine.processes
