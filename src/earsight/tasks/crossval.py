"""crossval: train every fold and seed, so that each clip is scored by a network that never heard its speaker."""

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from earsight.dataset.folds import expand_folds
from earsight.dataset.leaks import Policy
from earsight.dataset.split import merge_caveats
from earsight.errors import EarsightError, SettingsError
from earsight.files import read_json
from earsight.mel.pipeline import Pipeline
from earsight.network.description import METRICS_NAME
from earsight.scores.metrics import Metrics
from earsight.scores.multilabel import MultiMetrics
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.devices import Machine
from earsight.tasks.manifest import check_resumable, split_digest, write_manifest
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import LARGEST_SEED, Recipe, recipe_of
from earsight.tasks.training.decoded import REFIT_SENTENCE
from earsight.tasks.training.plan import (
    STATE_NAME,
    Plan,
    check_recipe,
    check_run,
    default_run_folder,
    plan_run,
    read_training_data,
)

if TYPE_CHECKING:
    from earsight.dataset.split import Split
    from earsight.scores.crossval import CrossScores
    from earsight.tasks.crossval_report import Finished

MANIFEST_NAME = "crossval.json"
_MOST = 1000


@dataclass(frozen=True)
class CrossResult:
    """out: the folder. scores: None where it was interrupted or a fold failed. sentence, caveat, group_name: how it was
    split, for a reader. failures: fold → why its training failed."""

    out: Path
    scores: "CrossScores | None"
    sentence: str
    caveat: str
    group_name: str
    failures: dict[str, str]
    interrupted: bool


@dataclass(frozen=True)
class _Fold:
    plan: Plan
    machine: Machine
    name: str
    seed: int

    @property
    def done(self) -> bool:
        run = self.plan.run
        return (run / METRICS_NAME).is_file() and not (run / STATE_NAME).is_file()

    @property
    def place(self) -> tuple[int, str, Path]:
        return self.seed, self.name, self.plan.run

    def with_threads(self, threads: int) -> Self:
        """A copy with so many threads, unless a number was asked for."""
        return replace(self, machine=replace(self.machine, threads=self.machine.threads or threads))


def crossval(
    data: str | Path,
    *,
    folds: str,
    seeds: int = 1,
    recipe: str | Path | Recipe = "default",
    recipe_name: str | None = None,
    out: str | Path | None = None,
    source: str | None = None,
    group_pattern: str | None = None,
    leaks: Policy = "refuse",
    resume: bool = False,
    strict: bool = False,
    store: bool = True,
    jobs: int = 1,
    machine: Machine | None = None,
    progress: bool = False,
) -> CrossResult:
    """Train every fold with every seed, each in a run folder of its own below ``out``, and score all clips together.

    folds: see ``expand_folds``. seeds: their number, from the recipe's seed on. resume: continue ``out``; finished
    folds are not trained again. jobs: folds trained at once, each on a GPU of its own where there are GPUs. Other
    arguments: see ``train``. A fold that fails does not stop the others. Raises EarsightError.
    """
    for flag, number in (("--seeds", seeds), ("--jobs", jobs)):
        if not 1 <= number <= _MOST:
            raise SettingsError(f"{flag} must be from 1 to {_MOST}, got {number}")
    if resume and out is None:
        raise SettingsError("--resume needs the folder to continue; pass --out FOLDER")
    settings, name = recipe_of(recipe, recipe_name)
    machine = machine or Machine()
    check_recipe(settings)
    if settings.seed + seeds - 1 > LARGEST_SEED:
        raise SettingsError(f"{seeds} seeds from {settings.seed} on exceed {LARGEST_SEED}; lower --seed")
    dataset = read_training_data(
        data, settings.task, source=source, group_pattern=group_pattern, strict=strict, progress=progress
    )
    kinds = expand_folds(folds, dataset.clips)
    place = (
        Path(out)
        if out is not None
        else default_run_folder(f"crossval-{folds.replace(':', '-')}", settings.network.model)
    )
    work = []
    for seed in range(settings.seed, settings.seed + seeds):
        for number, kind in enumerate(kinds):
            run = place / f"seed{seed}-fold{number}"
            seeded = settings.model_copy(update={"seed": seed})
            again = (run / STATE_NAME).is_file()
            plan = plan_run(dataset, seeded, kind, run, name, leaks, strict=strict, resume=again, store=store)
            work.append(_Fold(plan, machine, kind, seed))
    manifest = _manifest(settings, work[: len(kinds)], leaks, machine)
    begun = check_resumable(place / MANIFEST_NAME, manifest, "cross-validation", resume=resume)
    if begun:
        _check_seeds(place, work)
        from earsight.tasks.crossval_report import read_runs

        read_runs([fold.place for fold in work if fold.done])  # damage is reported now, not after hours of training
    for fold in work:
        if not fold.done:
            check_run(fold.plan.run, fold.plan.resume)
    machine.check()
    if not begun:
        write_manifest(place / MANIFEST_NAME, manifest)
    failures: dict[str, str] = {}
    try:
        for fold, reason in _train(work, jobs, progress):
            failures[f"{fold.name}, seed {fold.seed}"] = reason
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    sentence, caveat = _sentence_and_caveat(work, folds, [fold.plan.split for fold in work])
    if interrupted or failures:
        return CrossResult(place, None, sentence, caveat, dataset.group_name, failures, interrupted)
    from earsight.tasks.crossval_report import read_runs, write_results

    found = read_runs([fold.place for fold in work])
    sentence, caveat = _sentence_and_caveat(work, folds, list(found.values()))
    scores = write_results(place, found, work[0].plan, sentence, caveat)
    return CrossResult(place, scores, sentence, caveat, dataset.group_name, {}, False)


def _manifest(recipe: Recipe, folds: Sequence[_Fold], leaks: Policy, machine: Machine) -> dict[str, Any]:
    """What identifies a cross-validation, for JSON. folds: those of the first seed."""
    dataset = folds[0].plan.dataset
    return {
        "format": 1,
        "folds": ", ".join(fold.name for fold in folds),
        "clips": len(dataset.clips),
        "names, labels and groups": dataset.digest,
        "leaks": leaks,
        "recipe": json.loads(recipe.model_dump_json()),
        "precision": machine.precision,
        "parts": split_digest(fold.plan.split for fold in folds),
        "pipeline": Pipeline.read(recipe.augment.pipeline).spec,
    }


def _check_seeds(place: Path, work: Sequence[_Fold]) -> None:
    """Raise SettingsError where the folder has more seeds than are asked for: they would be missing from the report."""
    asked = {fold.seed for fold in work}
    found = {int(seed) for run in place.glob("seed*-fold*") if (seed := run.name[4:].partition("-")[0]).isdecimal()}
    if more := sorted(found - asked):
        raise SettingsError(
            f"{place} was begun with seed {', '.join(map(str, more))} too; pass --seeds "
            f"{more[-1] - min(asked) + 1} to go on with it, or remove these folders"
        )


def _train(work: list[_Fold], jobs: int, progress: bool) -> Iterator[tuple[_Fold, str]]:
    """Train unfinished folds; yields those that failed, with the reason. Raises KeyboardInterrupt on Ctrl-C."""
    left = [fold for fold in work if not fold.done]
    with Progress(shown=progress) as shown:
        shown.say(
            f"{len(work)} trainings, {len(work) - len(left)} already finished; results in {work[0].plan.run.parent}"
        )
        if jobs == 1:
            for number, fold in enumerate(left, 1):
                shown.say(f"\n{fold.name}, seed {fold.seed} ({number} of {len(left)})")
                if reason := _train_one(fold, progress):
                    yield fold, reason
            return
        threads = max(1, allowed_cores() // jobs)
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        numbers = context.Queue()
        for number in range(jobs):
            numbers.put(number)
        with ProcessPoolExecutor(jobs, context, initializer=_take_gpu, initargs=(numbers,)) as pool:
            ended = _run_in_parallel(pool, [fold.with_threads(threads) for fold in left], jobs)
            for number, (fold, reason) in enumerate(ended, 1):
                shown.say(f"{number} of {len(left)}: {fold.name}, seed {fold.seed}: {reason or _score_text(fold)}")
                if reason:
                    yield fold, reason


def _run_in_parallel(pool: Executor, left: list[_Fold], jobs: int) -> Iterator[tuple[_Fold, str]]:
    """Each fold when it ends, with the reason where it failed. Only running folds are submitted, since the pool would
    train waiting ones even after Ctrl-C."""
    waiting, running = iter(left), dict[Future[str], _Fold]()
    while True:
        for fold in islice(waiting, jobs - len(running)):
            running[_submit(pool, fold)] = fold
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            try:
                reason = future.result()
            except BrokenExecutor:
                reason = "a process was killed, perhaps for lack of memory; lower --jobs, and pass --resume"
            yield running.pop(future), reason


def _submit(pool: Executor, fold: _Fold) -> Future[str]:
    try:
        return pool.submit(_train_one, fold)
    except BrokenExecutor as error:
        broken: Future[str] = Future()
        broken.set_exception(error)
        return broken


def _score_text(fold: _Fold) -> str:
    test = read_json(fold.plan.run / METRICS_NAME)["test"]
    names = MultiMetrics.NAMES if "map" in test else Metrics.NAMES
    return " ".join(f"{name} {test[key]:.3f}" for key, name in names.items())


def _take_gpu(numbers: Any) -> None:
    """Give the worker process a GPU of its own."""
    number = numbers.get()
    import torch

    if count := torch.cuda.device_count():
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = given.split(",") if given else [str(one) for one in range(count)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number % count].strip()


def _train_one(fold: _Fold, progress: bool = False) -> str:
    """Why the training failed; "" where it did not."""
    from earsight.tasks.train import run_plan

    try:
        result = run_plan(fold.plan, fold.machine, progress=progress)
    except (EarsightError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError when out of memory
        return " ".join(str(error).split())[:300] or "out of memory"
    if result.interrupted:
        raise KeyboardInterrupt
    return ""


def _sentence_and_caveat(work: list[_Fold], folds: str, divided: "Sequence[Split | Finished]") -> tuple[str, str]:
    """Sentence and caveat of the report. divided: splits of all trainings, as planned or as carried out."""
    first = work[0].plan
    seeds = len({fold.seed for fold in work})
    name, groups = first.dataset.group_name, len(first.dataset.groups)
    count = len({fold.name for fold in work})
    if all(one.speaker_independent for one in divided):
        who = f"each of {groups} {name}s scored once by a network that never heard them, its epoch chosen on others"
    else:
        who = "each clip scored once by a network that was not trained on it"
    refit = f" {REFIT_SENTENCE}" if first.recipe.refit else ""
    anew = ", divided anew for each seed" if len({fold.plan.split.test for fold in work}) > count else ""
    sentence = f"{count} folds, {seeds} seed{'s' if seeds > 1 else ''}: {who}. Folds: {folds}{anew}.{refit}"
    return sentence, merge_caveats(one.caveat for one in divided)
