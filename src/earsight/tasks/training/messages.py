"""Messages of a training at its start, before a refit, and when it is stopped."""

import shlex
from collections.abc import Mapping
from typing import Any

from earsight.plain import pluralise
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.history import TrainingProgress
from earsight.tasks.training.plan import Plan


def refit_message(done: TrainingProgress, whole: DecodedData, state: Mapping[str, Any] | None) -> str:
    on = f"{len(whole.parts['train'])} clips (training and validation together)"
    if state:
        return f"refit on {on}: continuing after epoch {len(state['history'])} of {done.best_epoch}"
    epochs = pluralise(done.best_epoch, "epoch")
    return f"epoch {done.best_epoch} is kept; refit: training again from the start, {epochs} on {on}"


def stop_message(plan: Plan, done: TrainingProgress, again: TrainingProgress | None) -> str:
    if not done.history:
        return "stopped before the end of the first epoch: nothing was saved; run the same command to start again"
    where = f"after epoch {len(done.history)}"
    if again:
        epochs = f"after epoch {len(again.history)}" if again.history else "before the first epoch"
        where = f"during the refit, {epochs}; the network of the first training is kept"
    run = shlex.quote(str(plan.run))
    use = f"the run can be used (earsight evaluate {run})"
    return f"stopped {where}; {use}; to continue, run the same command with --out {run} --resume"


def start_message(plan: Plan, score_test: bool) -> str:
    data, divided = plan.dataset, plan.split
    groups = f", {len(data.groups)} {data.group_name}s" if data.groups else ""
    sizes = f"{len(divided.train)} train / {len(divided.valid)} valid / {len(divided.test)} test"
    classes = f"{len(data.labels)} classes"
    if plan.multilabel:
        none = sum(not clip.label for clip in data.clips)
        classes = f"{len(data.labels)} labels, any number per clip (multilabel; {none} clips have none)"
    sentence = divided.sentence if score_test else f"No test clip is scored. Split: {divided.kind}."
    return (
        f"{len(data.clips)} clips from {data.files} files, {classes}{groups} ({sizes})\n"
        f"{sentence}\n{plan.recipe.network.model}, recipe {plan.recipe_name}, into {plan.run}"
        + (", trained twice (refit)" if plan.recipe.refit and score_test else "")
    )
