"""What --resume needs: the state after the last epoch, and the saved networks.

The state is written first; networks that are missing because the process ended in between are made from it.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from earsight.errors import TrainingError
from earsight.files import write_atomic
from earsight.mel.pipeline import Pipeline
from earsight.network.checkpoint import save_classifier
from earsight.network.description import SETTINGS_NAME, WEIGHTS_NAME, read_description
from earsight.settings import differences
from earsight.tasks.recipe import fill_missing_settings
from earsight.tasks.training.averaging import update_kept_epochs
from earsight.tasks.training.history import Epoch, TrainingProgress
from earsight.tasks.training.learner import Learner
from earsight.tasks.training.plan import STATE_NAME, Plan


def save_state(plan: Plan, learner: Learner, done: TrainingProgress, machine: Mapping[str, Any]) -> None:
    """Write the state file. machine: ``Machine`` as a dict, with the number of threads in use."""
    state = {
        "machine": _weight_settings(machine),
        "recipe": plan.recipe.model_dump(),
        "pipeline": learner.pipeline.spec,
        "split": plan.split.kind,
        "clips": len(plan.dataset.clips),
        "division": plan.division,
        "network": learner.classifier.network.state_dict(),
        "mean": learner.ema.module.state_dict() if learner.ema else {},
        "optimizer": learner.optimizer.state_dict(),
        "precision": learner.fabric.strategy.precision.state_dict(),
        "history": [asdict(row) for row in done.history],
        "best_epoch": done.best_epoch,
        "threads": machine["threads"],
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(plan.run / STATE_NAME, buffer.getvalue())


def _weight_settings(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``Machine`` that change weights beyond rounding."""
    return {name: machine[name] for name in ("precision", "devices", "nodes")}


def read_state(plan: Plan, machine: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any] | None:
    """The state to resume from; None where there is none, or ``--resume`` was not given. machine: ``Machine`` as a
    dict. Raises TrainingError where the state is damaged, or of other data or settings."""
    path = plan.run / STATE_NAME
    if not plan.resume or not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        history = [Epoch(**row) for row in state["history"]]
        recipe, split, clips = dict(state["recipe"]), state["split"], state["clips"]
        division, before, piped = state["division"], dict(state["machine"]), state["pipeline"]
        whole = bool(history) and isinstance(state["best_epoch"], int) and {"network", "optimizer"} <= state.keys()
    except Exception as error:  # a file of any content: whatever its reader raises
        raise _damaged(plan) from error
    if not whole:
        raise _damaged(plan)
    changed = differences(plan.recipe.model_dump(), fill_missing_settings(recipe))
    changed += differences(_weight_settings(machine), before)
    changed += [f"split was {split}, is {plan.split.kind}"] if split != plan.split.kind else []
    changed += [f"there were {clips} clips, now {len(plan.dataset.clips)}"] if clips != len(plan.dataset.clips) else []
    if not changed and piped != pipeline.spec:
        changed = [f"the transforms in {pipeline.place} have changed"]
    if not changed and division != plan.division:
        changed = ["names, labels, groups or parts of clips have changed"]
    if changed:
        raise TrainingError(f"can't resume {plan.run} with other settings: {'; '.join(changed)}; use the same ones")
    return {**state, "history": history}


def _damaged(plan: Plan) -> TrainingError:
    advice = "start again with another --out"
    if plan.first:
        advice = f"remove the folder {plan.run} to repeat the refit; the first training is complete"
    return TrainingError(f"can't resume: {plan.run / STATE_NAME} is damaged; {advice}")


def restore(state: dict[str, Any], learner: Learner, plan: Plan) -> TrainingProgress:
    """Load the state of ``read_state`` into the learner. Raises TrainingError where it does not fit."""
    try:
        learner.classifier.network.load_state_dict(state["network"])
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.fabric.strategy.precision.load_state_dict(state["precision"])
        if learner.ema is not None:
            learner.ema.module.load_state_dict(state["mean"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(plan) from error
    return TrainingProgress(state["history"], state["best_epoch"])


def save_networks(plan: Plan, learner: Learner, done: TrainingProgress, facts: dict[str, Any]) -> None:
    """Save the network after the last epoch, where that is the kept epoch or among the best, and is not saved yet."""
    epoch = len(done.history)
    with learner.with_ema() as scored:
        if done.best_epoch == epoch and _epoch_in(plan.run) != epoch:
            save_classifier(scored, plan.run, {**facts, "epoch": epoch})
        if plan.recipe.average_best > 1 and not math.isnan(done.history[-1].chosen_by):
            update_kept_epochs(plan.run, scored.network, done.scores, plan.recipe.average_best)


def _epoch_in(run: Path) -> int | None:
    """The epoch whose network the run has; None without a complete one."""
    if not (run / SETTINGS_NAME).is_file() or not (run / WEIGHTS_NAME).is_file():
        return None
    described = read_description(run)
    return None if described.get("mean_of_epochs") else described.get("epoch")
