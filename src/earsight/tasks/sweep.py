"""sweep: train many recipes of a space and keep the best by validation score. No test clip is scored."""

import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight import extras
from earsight.dataset.leaks import Policy
from earsight.dataset.split import check_kind, merge_caveats
from earsight.errors import DataError, DecodeError, EarsightError, SettingsError, TrainingError
from earsight.files import locked_folder, remove_folder
from earsight.mel.pipeline import Pipeline
from earsight.plain import pluralise
from earsight.settings import Settings
from earsight.tasks.machine.devices import Machine
from earsight.tasks.machine.interrupt import deferred_interrupt
from earsight.tasks.manifest import check_resumable, split_digest, write_manifest
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe, recipe_of
from earsight.tasks.sweeping.space import Space, check_corners, read_space, short_value, to_space, with_values
from earsight.tasks.sweeping.sweep_report import write_sweep_page, write_table
from earsight.tasks.sweeping.trials import TABLE_NAME, State, SweepResult, Trial
from earsight.tasks.training.banks import check_disjoint
from earsight.tasks.training.history import Epoch, kept_epoch
from earsight.tasks.training.plan import (
    HISTORY_NAME,
    Plan,
    check_recipe,
    default_run_folder,
    plan_run,
    read_training_data,
)

if TYPE_CHECKING:
    from earsight.tasks.sweeping.study import PendingTrial, Study

MANIFEST_NAME = "sweep.json"
TRIALS_NAME = "trials.db"
_ALIKE = 3
"""A sweep ends when its first trials, this many, all failed for the same reason."""


@dataclass(frozen=True)
class _Work:
    """A running sweep. plans: one for each split, with the recipe that the trials change."""

    place: Path
    space: Space
    plans: tuple[Plan, ...]
    machine: Machine
    progress: bool

    @property
    def recipe(self) -> Recipe:
        return self.plans[0].recipe

    @property
    def measure(self) -> str:
        return "mAP" if self.plans[0].multilabel else "UAR"


def sweep(
    data: str | Path,
    space: str | Path | Mapping[str, Any],
    *,
    trials: int = 20,
    split: str | Sequence[str] = "auto",
    recipe: str | Path | Recipe = "default",
    recipe_name: str | None = None,
    out: str | Path | None = None,
    prune: bool = True,
    source: str | None = None,
    group_pattern: str | None = None,
    leaks: Policy = "refuse",
    resume: bool = False,
    strict: bool = False,
    store: bool = True,
    machine: Machine | None = None,
    progress: bool = False,
) -> SweepResult:
    """Try ``trials`` recipes of a space and keep the one with the best validation score (UAR, or mAP where clips have
    several labels), the mean over the splits.

    space: a TOML file or its content: dotted names of settings → a list of choices, or low, high and perhaps step or
    log. split: one or several. recipe: all other settings; its seed is also that of the search. prune: stop a trial
    that is below the median of the others in the first split. resume: continue ``out``; ``trials`` includes earlier
    ones. machine: one device. Other arguments: see ``train``. A trial that fails is recorded and does not stop the
    sweep. Raises EarsightError.
    """
    extras.check("optuna")
    if trials < 1:
        raise SettingsError(f"--trials must be 1 or more, got {trials}")
    if resume and out is None:
        raise SettingsError("--resume needs the folder to continue; pass --out FOLDER")
    settings, name = recipe_of(recipe, recipe_name)
    read = to_space(space) if isinstance(space, Mapping) else read_space(Path(space))
    corners = check_corners(settings, read)
    named = list({_file_settings(corner): corner for corner in corners}.values())
    for one in named:
        check_recipe(one)
    kinds = _check_splits([split] if isinstance(split, str) else list(split))
    machine = machine or Machine()
    if machine.processes != 1:
        raise SettingsError(f"a sweep trains on one device, got {machine.processes}")
    dataset = read_training_data(
        data, settings.task, source=source, group_pattern=group_pattern, strict=strict, progress=progress
    )
    place = Path(out) if out is not None else default_run_folder("sweep", corners[0].network.model)
    plans = tuple(
        plan_run(dataset, settings, kind, place, name, leaks, strict=strict, resume=False, store=store)
        for kind in kinds
    )
    for one, plan in itertools.product(named, plans):
        check_disjoint(one.augment, plan.held_out)
    manifest = _manifest(read, plans, prune, machine)
    begun = check_resumable(place / MANIFEST_NAME, manifest, "sweep", resume=resume)
    machine.check()
    if begun and (place / TABLE_NAME).is_file() and not _is_filled(place / TRIALS_NAME):
        raise SettingsError(
            f"can't resume {place}: {TRIALS_NAME} is missing or empty; restore it, or pass another --out"
        )
    if not begun:
        write_manifest(place / MANIFEST_NAME, manifest)
    from earsight.tasks.sweeping.study import Study

    with locked_folder(place, f"another sweep is running in {place}; wait until it has ended, or pass another --out"):
        study = Study(
            place / TRIALS_NAME, read, settings.seed, pruned_from_epoch=settings.epochs // 4 if prune else None
        )
        work = _Work(place, read, plans, machine, progress)
        try:
            _run_trials(study, work, trials)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        result = replace(_result(study, work), importance=study.importance(), interrupted=interrupted)
        write_table(result, read)
        write_sweep_page(result, read, plans)
    return result


def _is_filled(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _file_settings(recipe: Recipe) -> tuple[str | None, ...]:
    """Settings whose values ``check_recipe`` looks up: recipes that share them need one check."""
    network, augment = recipe.network, recipe.augment
    return network.model, network.weights, augment.background, augment.reverb, augment.pipeline


def _check_splits(kinds: list[str]) -> list[str]:
    for kind in kinds:
        check_kind(kind)
        if kind == "none":
            raise SettingsError("--split none has no validation clips, which a sweep needs; pass another --split")
        if kinds.count(kind) > 1:
            raise SettingsError(f"--split {kind} is given twice; give each split once")
    if not kinds:
        raise SettingsError("a sweep needs a split; pass --split")
    return kinds


def _manifest(space: Space, plans: Sequence[Plan], prune: bool, machine: Machine) -> dict[str, Any]:
    """What identifies a sweep, nested, for JSON."""
    plan = plans[0]
    return {
        "format": 1,
        "recipe": json.loads(plan.recipe.model_dump_json()),
        "space": {
            name: one.model_dump(exclude_none=True) if isinstance(one, Settings) else list(one.values)
            for name, one in space.items()
        },
        "splits": ", ".join(one.split.kind for one in plans),
        "leaks": plan.leaks,
        "prune": prune,
        "clips": len(plan.dataset.clips),
        "names, labels and groups": plan.dataset.digest,
        "precision": machine.precision,
        "parts": split_digest(one.split for one in plans),
        "pipeline": Pipeline.read(plan.recipe.augment.pipeline).spec,
    }


def _run_trials(study: "Study", work: _Work, trials: int) -> None:
    """Run trials until there are ``trials``. Raises KeyboardInterrupt on Ctrl-C."""
    shown = Progress(shown=work.progress)
    before = len(study.trials())
    most = max(trials, before)
    shown.say(f"{pluralise(most, 'trial')}{f', {before} already done' if before else ''}; results in {work.place}")
    with deferred_interrupt() as stopped:  # an interrupt inside Optuna or SQLite might be lost
        while (done := len(study.trials())) < trials:
            if stopped():
                raise KeyboardInterrupt
            pending = study.ask()
            told = ", ".join(f"{name} {short_value(value)}" for name, value in pending.values.items())
            shown.say(f"\ntrial {pending.number} of {trials}: {told}")
            try:
                _run_trial(study, pending, work, in_full=done == before)
            except BaseException:
                study.discard(pending)
                remove_folder(_folder(work.place, pending))
                raise
            result = _result(study, work)
            write_table(result, work.space)
            shown.say(_outcome(result))
            reasons = {trial.reason for trial in result.trials}
            if len(result.trials) >= _ALIKE and len(reasons) == 1 and result.trials[-1].state == "failed":
                raise TrainingError(
                    f"all {len(result.trials)} trials failed for the same reason: {reasons.pop()} (fix this, and "
                    f"continue with --out {work.place} --resume)"
                )


def _folder(place: Path, pending: "PendingTrial") -> Path:
    return place / "trials" / f"{pending.number:04}"


def _outcome(result: SweepResult) -> str:
    """A line on the last trial and the best."""
    trial, best = result.trials[-1], result.best
    told = f"trial {trial.number} {trial.state}, {trial.seconds:.0f} s: "
    told += trial.reason if trial.value is None else f"validation {result.measure} {trial.value:.3f}"
    return told if best is None else f"{told}; best {best.value:.3f} (trial {best.number})"


def _run_trial(study: "Study", pending: "PendingTrial", work: _Work, *, in_full: bool) -> None:
    """Train with the settings of a trial on each split, and tell the study the outcome. in_full: show all output of the
    training, else only a bar."""
    from earsight.tasks.sweeping.study import Pruned

    began = time.perf_counter()
    histories: list[list[Epoch]] = [[] for _ in work.plans]

    def reached(number: int) -> float:
        rows = histories[number]
        return rows[kept_epoch(rows) - 1].chosen_by if rows else 0.0

    state: State = "complete"
    reason = ""
    same = next((one for one in study.trials() if one.values == pending.values and one.state != "failed"), None)
    if same is not None:
        study.tell(pending, same.state, same.value, 0.0)
        return
    folder = _folder(work.place, pending)
    remove_folder(folder)  # left by a trial that was interrupted
    try:
        recipe = with_values(work.recipe, pending.values)
        with Progress(shown=work.progress and not in_full) as bar:
            total = len(work.plans) * recipe.epochs
            bar.start(f"trial {pending.number}", total)
            for number, plan in enumerate(work.plans):

                def on_epoch(row: Epoch, number: int = number) -> None:
                    histories[number].append(row)
                    bar.advance(number * recipe.epochs + row.epoch, total, f"{work.measure} {reached(number):.3f}")
                    if number == 0 and (
                        row.epoch < recipe.epochs or len(histories) > 1
                    ):  # there is something left to skip
                        study.report(pending, row.epoch, reached(0))

                run = folder / f"split{number}"
                plan = replace(plan, run=run, recipe=recipe)
                study.warn(_train_split(plan, work, on_epoch, in_full=in_full and number == 0))
        value: float | None = statistics.fmean(map(reached, range(len(histories))))
    except Pruned:
        state, value = "pruned", reached(0)
    except (DataError, DecodeError):  # about the data, not the recipe: other trials would fail too
        raise
    except (EarsightError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError when out of memory
        state, value, reason = "failed", None, _reason(error)
    if state == "failed":
        _free_memory()  # here, after the exception and its references are gone
    study.tell(pending, state, value, time.perf_counter() - began, reason)


def _train_split(plan: Plan, work: _Work, on_epoch: Callable[[Epoch], None], *, in_full: bool) -> str:
    """Train on one split; returns the caveat of the split as carried out."""
    from earsight.tasks.train import run_plan

    try:
        result = run_plan(plan, work.machine, progress=work.progress and in_full, score_test=False, on_epoch=on_epoch)
    finally:
        for path in plan.run.iterdir() if plan.run.is_dir() else ():
            if path.is_dir():
                remove_folder(path)
            elif path.name != HISTORY_NAME:  # the networks of all trials would fill the disk
                path.unlink()
    if result.interrupted:
        raise KeyboardInterrupt
    return result.split.caveat


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "out of memory"
    return text if len(text) <= 300 else text[:299] + "…"


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _result(study: "Study", work: _Work) -> SweepResult:
    found = study.trials()
    complete = [trial for trial in found if trial.state == "complete"]
    best = max(complete, key=lambda trial: (trial.value, -trial.number), default=None)
    return SweepResult(
        out=work.place,
        trials=tuple(found),
        best=best,
        recipe=None if best is None else with_values(work.recipe, best.values),
        importance={},
        measure=work.measure,
        sentence=_sentence(found, work),
        caveat=_caveat(work.plans, study.caveat),
        interrupted=False,
    )


def _sentence(trials: Sequence[Trial], work: _Work) -> str:
    states = [trial.state for trial in trials]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))]
    told = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}" + (f": {', '.join(counts)}" if counts else "")
    kinds = ", ".join(plan.split.kind for plan in work.plans)
    which = f"the mean over the splits {kinds}" if len(work.plans) > 1 else f"split {kinds}"
    return f"{told}. Validation {work.measure} of the kept epoch, {which}; no test clip was scored."


def _caveat(plans: Sequence[Plan], found: str) -> str:
    """The caveat of the numbers: of the splits, of what was found in training, and of clips that splits share."""
    caveats = list(filter(None, [merge_caveats((*(plan.split.caveat for plan in plans), found))]))
    tested = {i for plan in plans for i in plan.split.test}
    chosen_on = {i for plan in plans for i in plan.split.valid}
    if tested & chosen_on:
        caveats.append(
            f"{len(tested & chosen_on)} test clips of one split are validation clips of another: the best recipe was "
            "chosen on them, so score it on others"
        )
    return "; ".join(caveats)
