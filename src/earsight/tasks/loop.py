"""The training loop: reads top to bottom, on lightning-fabric."""

import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from earsight.dataset.loader import ahead, label_rows, random_starts, training_order
from earsight.dataset.store import Store
from earsight.errors import TrainingError
from earsight.files import write_whole
from earsight.mel.augment import Augmentation, augmented_images, draw
from earsight.mel.pipeline import Pipeline
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.description import SETTINGS_NAME, WEIGHTS_NAME, read_description
from earsight.network.optimizer import learning_rate
from earsight.scores.kinds import AnyMetrics, measure, of_choice
from earsight.settings import differences
from earsight.tasks.averaging import best_epochs, keep_epoch, mean_of_epochs
from earsight.tasks.decoded import Decoded
from earsight.tasks.devices import any_of, summed
from earsight.tasks.interrupt import between_steps
from earsight.tasks.learner import Learner
from earsight.tasks.plan import HISTORY_NAME, STATE_NAME, Plan, steps_an_epoch
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import with_later_settings
from earsight.tasks.scoring import score


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv. Accuracies, UAR and mAP in [0, 1]; losses in nats. valid_uar is of one label a clip,
    valid_map of several; valid_error is the standard error of the one that there is. The other, and all where nothing
    is held out, are no numbers."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    valid_uar: float
    seconds: float
    clips_per_s: float
    valid_map: float = math.nan
    valid_error: float = 0.0

    @property
    def chosen_by(self) -> float:
        """What the epoch that is kept is chosen by; NaN where nothing is held out."""
        return self.valid_uar if math.isnan(self.valid_map) else self.valid_map


def kept_epoch(history: Sequence[Epoch]) -> int:
    """The latest epoch whose validation score is within one standard error of the best one; the last one where nothing
    is held out. docs/decisions/0010-the-kept-epoch.md

    A later epoch never brings back one that was passed over: either it is chosen itself, or the best and the choice
    stay as they are. So one network is kept at a time.
    """
    best = max(history, key=lambda row: (row.chosen_by, row.epoch))
    enough = best.chosen_by - best.valid_error
    return max((row.epoch for row in history if row.chosen_by >= enough), default=len(history))


@dataclass
class Progressed:
    """How far a run has come: everything but tensors that its state file holds. best_epoch: of ``kept_epoch``.
    mean_of_epochs: where the mean of their weights is kept in the place of that epoch."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    mean_of_epochs: list[int] = field(default_factory=list)
    interrupted: bool = False

    @property
    def kept(self) -> str:
        """In words."""
        several = ", ".join(map(str, self.mean_of_epochs))
        return f"the mean of epochs {several}" if several else str(self.best_epoch)


@dataclass(frozen=True)
class Step:
    """One batch of an epoch. indices: of all of it, into the store. seen: clips of this process's part. right: of
    these, those answered rightly. loss: their mean, in nats."""

    indices: npt.NDArray[np.int64]
    seen: int
    right: int
    loss: float


@dataclass(frozen=True)
class _Batch:
    """indices: of the whole batch, into the store. crops: float32 [needed, channels, samples]; targets: float32
    [needed, classes], 1 for each class of a clip; needed are the clips that this process trains on and those that are
    mixed into them. first, last: of the batches that make one step of the optimizer. share: weight of its loss in that
    step."""

    indices: npt.NDArray[np.int64]
    crops: Tensor
    targets: Tensor
    drawn: Augmentation
    first: bool
    last: bool
    share: float


def _batches(learner: Learner, store: Store, indices: Sequence[int], epoch: int) -> Iterator[_Batch]:
    """Every process draws for the whole batch and takes its part: the draws don't depend on how many they are."""
    fabric, recipe, image = learner.fabric, learner.recipe, learner.classifier.image
    rng = np.random.default_rng([recipe.seed, epoch])
    labels, audio = learner.classifier.labels, store.settings
    shift_samples = round(recipe.augment.shift_s * audio.rate_hz)
    order = list(training_order(store, indices, recipe.batch_size, rng, balanced=recipe.sampling == "balanced"))
    for number, chosen in enumerate(order):
        places = np.arange(len(chosen))
        drawn = draw(len(chosen), image, audio.crop_samples, recipe.augment, rng, learner.banks)
        seeds = rng.integers(1 << 32, size=len(chosen)) if learner.pipeline.transforms else None
        sizes = drawn.warp.samples if drawn.warp else np.full(len(chosen), audio.crop_samples)
        starts = random_starts(store, chosen, rng, sizes, shift_samples)
        own = places[fabric.global_rank :: fabric.world_size]
        needed = places
        if fabric.world_size > 1:
            needed, drawn = drawn.of(own)
        first = number - number % recipe.accumulate
        together = order[first : first + recipe.accumulate]  # the batches of this step of the optimizer
        chosen_here, sizes_here = chosen[needed], sizes[needed]
        shape = (len(needed), audio.channels, int(sizes_here.max()))
        crops = torch.empty(shape, pin_memory=fabric.device.type == "cuda")
        store.crops(chosen_here, starts[needed], sizes_here, out=crops.numpy())
        if seeds is not None:
            for crop, size, seed in zip(crops.numpy(), sizes_here.tolist(), seeds[needed].tolist(), strict=True):
                crop[:, :size] = learner.pipeline.apply(crop[:, :size], audio.rate_hz, seed)
        yield _Batch(
            indices=chosen,
            crops=crops,
            targets=torch.from_numpy(label_rows([store.clips[i] for i in chosen_here], labels)).float(),
            drawn=drawn,
            first=number == first,
            last=number + 1 == first + len(together),
            share=fabric.world_size * len(own) / sum(map(len, together)),
        )


def train_epoch(
    learner: Learner, store: Store, indices: Sequence[int], rates: Iterator[float], epoch: int
) -> Iterator[Step]:
    """Every clip once. rates: learning rate of each step of the optimizer. Stops after a loss that is no number."""
    fabric, recipe, classifier = learner.fabric, learner.recipe, learner.classifier
    # By epoch, so that a resumed run draws what an unbroken one draws. Torch's own generator is for dropout and
    # stochastic depth; each process has its own.
    torch.manual_seed(recipe.seed * 100003 + epoch + 7919 * fabric.global_rank)
    classifier.train()
    batches = _batches(learner, store, indices, epoch)
    for batch in ahead(batches) if fabric.device.type != "cpu" else batches:
        if batch.first:
            rate = next(rates)
            for group in learner.optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
        with torch.no_grad():
            crops, targets = (part.to(fabric.device, non_blocking=True) for part in (batch.crops, batch.targets))
            images, targets = augmented_images(classifier.image, crops, targets, batch.drawn, learner.banks)
        logits, loss = learner.step(images, targets, share=batch.share, last=batch.last)
        right = int(classifier.head.right(logits, targets).sum())
        yield Step(batch.indices, len(targets), right, float(loss))


def fit(
    learner: Learner,
    decoded: Decoded,
    plan: Plan,
    state: dict[str, Any] | None,
    facts: dict[str, Any],
    progress: Progress,
    *,
    epochs: int | None = None,
    each_epoch: Callable[[Epoch], None] | None = None,
) -> Progressed:
    """Train, keeping the network of the chosen epoch (``kept_epoch``) in the run folder. state: of ``read_state``.
    epochs: end after so many of the recipe's. each_epoch: is told of each when it is over; what it raises ends the
    training. Raises TrainingError where the loss is no number. Ctrl-C ends it early with a usable run, where an epoch
    was finished."""
    recipe, run, store, parts, fabric = plan.recipe, plan.run, decoded.store, decoded.parts, learner.fabric
    done = _restore(state, learner, plan) if state else Progressed()
    if state and fabric.is_global_zero:
        _keep_networks(plan, learner, done, facts)  # where it was stopped between the state and these
    batches = steps_an_epoch(len(parts["train"]), recipe.batch_size)
    steps = math.ceil(batches / recipe.accumulate)
    rate_at = learning_rate(recipe.optimizer, steps, recipe.epochs)
    learner.steps = len(done.history) * steps

    try:
        with between_steps() as asked_to_stop:
            for epoch in range(len(done.history) + 1, (epochs or recipe.epochs) + 1):
                began, sums, heard = time.perf_counter(), np.zeros(3), 0  # sums: clips, rightly answered, loss
                rates = map(rate_at, range((epoch - 1) * steps, epoch * steps))
                for number, step in enumerate(train_epoch(learner, store, parts["train"], rates, epoch), 1):
                    if not math.isfinite(step.loss):
                        raise TrainingError(
                            _lost(plan, done, epoch, number, [store.clips[i].path for i in step.indices])
                        )
                    sums += (step.seen, step.right, step.loss * step.seen)
                    heard += len(step.indices)
                    clips_per_s = heard / (time.perf_counter() - began)
                    if any_of(fabric, asked_to_stop()):
                        raise KeyboardInterrupt
                    progress.step(epoch, number, batches, sums[2] / sums[0], sums[1] / sums[0], clips_per_s)

                if fabric.world_size > 1:
                    sums = summed(fabric, torch.from_numpy(sums)).cpu().numpy()
                with learner.scored() as scored:
                    if fabric.world_size > 1:
                        share_buffers(scored.network)
                    valid = _validate(fabric, scored, decoded, plan, done) if decoded.validation else None
                    chosen_by, error = of_choice(valid) if valid else (math.nan, math.nan)
                    done.history.append(
                        Epoch(
                            epoch=epoch,
                            lr=rate_at(epoch * steps - 1),
                            train_loss=float(sums[2] / sums[0]),
                            train_accuracy=float(sums[1] / sums[0]),
                            valid_loss=valid.cross_entropy if valid else float("nan"),
                            valid_accuracy=valid.accuracy if valid else float("nan"),
                            valid_uar=math.nan if plan.multilabel else chosen_by,
                            valid_map=chosen_by if plan.multilabel else math.nan,
                            valid_error=error,
                            seconds=time.perf_counter() - began,
                            clips_per_s=clips_per_s,
                        )
                    )
                    done.best_epoch = kept_epoch(done.history)
                if fabric.is_global_zero:
                    _keep_state(plan, learner, done, facts["machine"])  # first: it has what the others are made of
                    _keep_networks(plan, learner, done, facts)
                    write_history(run / HISTORY_NAME, done.history)
                progress.epoch(done.history[-1], kept=done.best_epoch == epoch)
                if each_epoch is not None:
                    if asked_to_stop():  # what it raises must not hide that
                        raise KeyboardInterrupt
                    each_epoch(done.history[-1])
        if recipe.average_best > 1 and decoded.validation:
            _average(learner, decoded, plan, done, facts, progress)
    except KeyboardInterrupt:
        done.interrupted = True
    return done


def _keep_networks(plan: Plan, learner: Learner, done: Progressed, facts: dict[str, Any]) -> None:
    """Keep the network as it is after the last epoch, where that is the kept one or among the best, and is not kept
    yet. Earlier ones were kept before this epoch began."""
    epoch = len(done.history)
    with learner.scored() as scored:
        if done.best_epoch == epoch and _epoch_in(plan.run) != epoch:
            save_classifier(scored, plan.run, {**facts, "epoch": epoch})
        if plan.recipe.average_best > 1 and not math.isnan(done.history[-1].chosen_by):
            keep_epoch(plan.run, scored.network, _scores(done), plan.recipe.average_best)


def _epoch_in(run: Path) -> int | None:
    """Whose network the run has, whole; None without one."""
    if not (run / SETTINGS_NAME).is_file() or not (run / WEIGHTS_NAME).is_file():
        return None
    described = read_description(run)
    return None if described.get("mean_of_epochs") else described.get("epoch")


def _scores(done: Progressed) -> list[float]:
    return [row.chosen_by for row in done.history]


def _average(
    learner: Learner, decoded: Decoded, plan: Plan, done: Progressed, facts: dict[str, Any], progress: Progress
) -> None:
    """Keep the mean of the best epochs, where it is no worse on the validation clips than the best of them; otherwise
    the epoch of ``kept_epoch`` stays."""
    epochs = best_epochs(_scores(done), plan.recipe.average_best)
    run = Path(learner.fabric.broadcast(str(plan.run)))  # of the first process, which has written them
    with learner.scored() as scored:
        scored.network.load_state_dict(mean_of_epochs(run, epochs))
        valid, best = _validate(learner.fabric, scored, decoded, plan, done), max(_scores(done))
        reached, _ = of_choice(valid)
        better = reached >= best
        progress.say(
            f"mean of epochs {', '.join(map(str, epochs))}: {reached:.3f}, the best of them alone {best:.3f}; "
            f"{'the mean' if better else f'epoch {done.best_epoch}'} is kept"
        )
        done.mean_of_epochs = epochs if better else []
        if better and learner.fabric.is_global_zero:
            save_classifier(scored, plan.run, {**facts, "epoch": epochs[-1], "mean_of_epochs": epochs})


def share_buffers(network: torch.nn.Module) -> None:
    """The first process's running statistics for all: each has seen its own clips, one network is scored and kept."""
    for buffer in network.buffers():
        torch.distributed.broadcast(buffer, src=0)


def _validate(fabric: Fabric, classifier: Classifier, decoded: Decoded, plan: Plan, done: Progressed) -> AnyMetrics:
    predictions = score(classifier, decoded.store, decoded.validation, fabric=fabric)
    if not np.isfinite(predictions.probabilities).all():
        raise TrainingError(
            f"the network's answers are no longer numbers after epoch {len(done.history) + 1}; {_kept(plan, done)}. "
            f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g})"
        )
    return measure(predictions)


def _kept(plan: Plan, done: Progressed) -> str:
    if plan.first is not None:
        return f"that is the second training, {plan.first} has the network of the first"
    return f"the network of epoch {done.best_epoch} is kept in {plan.run}" if done.best_epoch else "no epoch was kept"


def _lost(plan: Plan, done: Progressed, epoch: int, step: int, clips: list[Path]) -> str:
    return (
        f"the loss or its gradient is no longer a number in epoch {epoch}, step {step}; {_kept(plan, done)}. "
        f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g}) or look at the clips of this batch: "
        + ", ".join(str(path) for path in clips)
    )


def _keep_state(plan: Plan, learner: Learner, done: Progressed, machine: Mapping[str, Any]) -> None:
    state = {
        "machine": _shapes(machine),
        "recipe": plan.recipe.model_dump(),
        "pipeline": learner.pipeline.told,
        "split": plan.split.kind,
        "clips": len(plan.dataset.clips),
        "division": plan.division,
        "network": learner.classifier.network.state_dict(),
        "mean": learner.mean.module.state_dict() if learner.mean else {},
        "optimizer": learner.optimizer.state_dict(),
        "precision": learner.fabric.strategy.precision.state_dict(),
        "history": [asdict(row) for row in done.history],
        "best_epoch": done.best_epoch,
        "threads": machine["threads"],
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(plan.run / STATE_NAME, buffer.getvalue())


def _shapes(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``Machine`` changes the weights beyond their last digits."""
    return {name: machine[name] for name in ("precision", "devices", "nodes")}


def read_state(plan: Plan, machine: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any] | None:
    """What ``--resume`` goes on from; None where there is nothing yet, or nothing was asked for. machine: ``Machine``
    as a table. Raises TrainingError where the state is damaged or of another run."""
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
    changed = differences(plan.recipe.model_dump(), with_later_settings(recipe))
    changed += differences(_shapes(machine), before)
    changed += [f"split was {split}, is {plan.split.kind}"] if split != plan.split.kind else []
    changed += [f"there were {clips} clips, are {len(plan.dataset.clips)}"] if clips != len(plan.dataset.clips) else []
    if not changed and piped != pipeline.told:
        changed = [f"{pipeline.place} has other transforms"]
    if not changed and division != plan.division:
        changed = ["other names, labels, groups or parts of the clips"]
    if changed:
        raise TrainingError(f"can't resume {plan.run} with other settings: {'; '.join(changed)}; give the same ones")
    return {**state, "history": history}


def _damaged(plan: Plan) -> TrainingError:
    advice = "begin again with another --out"
    if plan.first:
        advice = f"remove the folder {plan.run}: the second training begins again, the first is whole"
    return TrainingError(f"can't resume: {plan.run / STATE_NAME} is damaged; {advice}")


def _restore(state: dict[str, Any], learner: Learner, plan: Plan) -> Progressed:
    try:
        learner.classifier.network.load_state_dict(state["network"])
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.fabric.strategy.precision.load_state_dict(state["precision"])
        if learner.mean is not None:
            learner.mean.module.load_state_dict(state["mean"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(plan) from error
    return Progressed(state["history"], state["best_epoch"])


def _cell(value: float) -> str:
    """Empty where there is no number: nothing was held out."""
    return str(value) if isinstance(value, int) else f"{value:.6g}" if math.isfinite(value) else ""


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """One row an epoch."""
    text = io.StringIO()
    # Of mAP and UAR the one that the task has; UAR where nothing is held out.
    other = "valid_map" if all(math.isnan(row.valid_map) for row in history) else "valid_uar"
    columns = [name for name in Epoch.__dataclass_fields__ if name != other]
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in asdict(row).items()} for row in history)
    write_whole(path, text.getvalue())
