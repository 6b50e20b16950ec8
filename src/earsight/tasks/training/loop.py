"""The training loop, on lightning-fabric."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from earsight.dataset.loader import label_matrix, prefetch, random_starts, training_order
from earsight.dataset.store import Store
from earsight.errors import TrainingError
from earsight.mel.augment import Augmentation, augmented_images, draw
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.optimizer import learning_rate
from earsight.scores.dispatch import AnyMetrics, measure, selection_score
from earsight.tasks.machine.devices import all_reduce_sum, any_process
from earsight.tasks.machine.interrupt import deferred_interrupt
from earsight.tasks.progress import Progress
from earsight.tasks.training.averaging import best_epochs, mean_of_epochs
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.history import Epoch, TrainingProgress, kept_epoch, write_history
from earsight.tasks.training.learner import Learner
from earsight.tasks.training.plan import HISTORY_NAME, Plan, batches_per_epoch
from earsight.tasks.training.scoring import score
from earsight.tasks.training.state import restore, save_networks, save_state


@dataclass(frozen=True)
class Step:
    """One batch of an epoch. indices: of the whole batch, into the store. seen: clips of this process. right: of these,
    the correct answers. loss: their mean, in nats."""

    indices: npt.NDArray[np.int64]
    seen: int
    right: int
    loss: float


@dataclass(frozen=True)
class _Batch:
    """indices: of the whole batch, into the store. crops: float32 [needed, channels, samples]. targets: float32
    [needed, classes], 1 for each class of a clip. (needed: clips that this process trains on, and those mixed into
    them.) first, last: of the batches of one optimizer step. share: weight of its loss in that step."""

    indices: npt.NDArray[np.int64]
    crops: Tensor
    targets: Tensor
    drawn: Augmentation
    first: bool
    last: bool
    share: float


def _batches(learner: Learner, store: Store, indices: Sequence[int], epoch: int) -> Iterator[_Batch]:
    """Batches of an epoch. Each process draws for whole batches and takes its part, so that the draws don't depend on
    the number of processes."""
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
            needed, drawn = drawn.for_items(own)
        first = number - number % recipe.accumulate
        together = order[first : first + recipe.accumulate]  # the batches of this optimizer step
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
            targets=torch.from_numpy(label_matrix([store.clips[i] for i in chosen_here], labels)).float(),
            drawn=drawn,
            first=number == first,
            last=number + 1 == first + len(together),
            share=fabric.world_size * len(own) / sum(map(len, together)),
        )


def train_epoch(
    learner: Learner, store: Store, indices: Sequence[int], rates: Iterator[float], epoch: int
) -> Iterator[Step]:
    """Train on every clip once. rates: learning rate of each optimizer step."""
    fabric, recipe, classifier = learner.fabric, learner.recipe, learner.classifier
    # By epoch, so that a resumed run draws the same. torch's generator is used for dropout and stochastic depth; it
    # differs between processes.
    torch.manual_seed(recipe.seed * 100003 + epoch + 7919 * fabric.global_rank)
    classifier.train()
    batches = _batches(learner, store, indices, epoch)
    for batch in prefetch(batches) if fabric.device.type != "cpu" else batches:
        if batch.first:
            rate = next(rates)
            for group in learner.optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
        with torch.no_grad():
            crops, targets = (part.to(fabric.device, non_blocking=True) for part in (batch.crops, batch.targets))
            images, targets = augmented_images(classifier.image, crops, targets, batch.drawn, learner.banks)
        logits, loss = learner.step(images, targets, share=batch.share, last=batch.last)
        right = int(classifier.head.is_correct(logits, targets).sum())
        yield Step(batch.indices, len(targets), right, float(loss))


def fit(
    learner: Learner,
    decoded: DecodedData,
    plan: Plan,
    state: dict[str, Any] | None,
    facts: dict[str, Any],
    progress: Progress,
    *,
    epochs: int | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingProgress:
    """Train, and save the network of the kept epoch (``kept_epoch``) in the run folder. state: of ``read_state``.
    epochs: stop after so many, without changing the schedule. on_epoch: called after each epoch; what it raises ends
    the training. Raises TrainingError where the loss is not finite. Ctrl-C ends the training early; the run is usable
    if an epoch was complete."""
    recipe, run, store, parts, fabric = plan.recipe, plan.run, decoded.store, decoded.parts, learner.fabric
    done = restore(state, learner, plan) if state else TrainingProgress()
    if state and fabric.is_global_zero:
        save_networks(plan, learner, done, facts)  # if it was stopped after the state was written and before these
        write_history(run / HISTORY_NAME, done.history)
    batches = batches_per_epoch(len(parts["train"]), recipe.batch_size)
    steps = math.ceil(batches / recipe.accumulate)
    rate_at = learning_rate(recipe.optimizer, steps, recipe.epochs)
    learner.steps = len(done.history) * steps

    try:
        with deferred_interrupt() as asked_to_stop:
            for epoch in range(len(done.history) + 1, (epochs or recipe.epochs) + 1):
                began, sums, heard = time.perf_counter(), np.zeros(3), 0  # sums: clips, correct answers, loss
                rates = map(rate_at, range((epoch - 1) * steps, epoch * steps))
                for number, step in enumerate(train_epoch(learner, store, parts["train"], rates, epoch), 1):
                    if not math.isfinite(step.loss):
                        raise TrainingError(
                            _lost(plan, done, epoch, number, [store.clips[i].path for i in step.indices])
                        )
                    sums += (step.seen, step.right, step.loss * step.seen)
                    heard += len(step.indices)
                    clips_per_s = heard / (time.perf_counter() - began)
                    if any_process(fabric, asked_to_stop()):
                        raise KeyboardInterrupt
                    progress.step(epoch, number, batches, sums[2] / sums[0], sums[1] / sums[0], clips_per_s)

                if fabric.world_size > 1:
                    sums = all_reduce_sum(fabric, torch.from_numpy(sums)).cpu().numpy()
                with learner.with_ema() as scored:
                    if fabric.world_size > 1:
                        broadcast_buffers(scored.network)
                    valid = _validate(fabric, scored, decoded, plan, done) if decoded.validation else None
                    chosen_by, error = selection_score(valid) if valid else (math.nan, math.nan)
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
                    save_state(plan, learner, done, facts["machine"])  # first: the others can be made from it
                    save_networks(plan, learner, done, facts)
                    write_history(run / HISTORY_NAME, done.history)
                progress.epoch(done.history[-1], kept=done.best_epoch == epoch)
                if on_epoch is not None:
                    if asked_to_stop():  # before on_epoch, whose exception would hide it
                        raise KeyboardInterrupt
                    on_epoch(done.history[-1])
        if recipe.average_best > 1 and decoded.validation:
            _average(learner, decoded, plan, done, facts, progress)
    except KeyboardInterrupt:
        done.interrupted = True
    return done


def _average(
    learner: Learner,
    decoded: DecodedData,
    plan: Plan,
    done: TrainingProgress,
    facts: dict[str, Any],
    progress: Progress,
) -> None:
    """Save the mean weights of the best epochs, where these are no worse on the validation clips than the best epoch;
    otherwise keep the epoch of ``kept_epoch``."""
    epochs = best_epochs(done.scores, plan.recipe.average_best)
    run = Path(learner.fabric.broadcast(str(plan.run)))  # of the main process, which has written the epochs
    with learner.with_ema() as scored:
        scored.network.load_state_dict(mean_of_epochs(run, epochs))
        valid, best = _validate(learner.fabric, scored, decoded, plan, done), max(done.scores)
        reached, _ = selection_score(valid)
        better = reached >= best
        progress.say(
            f"mean of epochs {', '.join(map(str, epochs))}: {reached:.3f}, the best epoch alone {best:.3f}; "
            f"{'the mean' if better else f'epoch {done.best_epoch}'} is kept"
        )
        done.mean_of_epochs = epochs if better else []
        if better and learner.fabric.is_global_zero:
            save_classifier(scored, plan.run, {**facts, "epoch": epochs[-1], "mean_of_epochs": epochs})


def broadcast_buffers(network: torch.nn.Module) -> None:
    """Give all processes the running statistics of the main one, since one network is scored and saved."""
    for buffer in network.buffers():
        torch.distributed.broadcast(buffer, src=0)


def _validate(
    fabric: Fabric, classifier: Classifier, decoded: DecodedData, plan: Plan, done: TrainingProgress
) -> AnyMetrics:
    predictions = score(classifier, decoded.store, decoded.validation, fabric=fabric)
    if not np.isfinite(predictions.probabilities).all():
        raise TrainingError(
            f"the network's outputs are NaN or infinite after epoch {len(done.history) + 1}; {_kept(plan, done)}. "
            f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g})"
        )
    return measure(predictions, ranked=False)  # no epoch is chosen by it


def _kept(plan: Plan, done: TrainingProgress) -> str:
    if plan.first is not None:
        return f"this happened in the refit; the network of the first training is in {plan.first}"
    return f"the network of epoch {done.best_epoch} is kept in {plan.run}" if done.best_epoch else "no epoch was kept"


def _lost(plan: Plan, done: TrainingProgress, epoch: int, step: int, clips: list[Path]) -> str:
    return (
        f"the loss or its gradient is NaN or infinite in epoch {epoch}, step {step}; {_kept(plan, done)}. "
        f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g}) or check the clips of this batch: "
        + ", ".join(str(path) for path in clips)
    )
