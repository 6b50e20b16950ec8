"""The training loop: reads top to bottom, on lightning-fabric."""

import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from torch import Tensor

from earsight.dataset.loader import ahead, training_order
from earsight.dataset.store import Store
from earsight.errors import TrainingError
from earsight.files import write_whole
from earsight.mel.augment import Augmentation, augment, draw
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.optimizer import create_optimizer, learning_rate
from earsight.scores.metrics import Metrics, measure
from earsight.settings import differences
from earsight.tasks.decoded import Decoded
from earsight.tasks.devices import any_of, summed
from earsight.tasks.interrupt import between_steps
from earsight.tasks.plan import STATE_NAME, Plan, steps_an_epoch
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe
from earsight.tasks.scoring import score


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv. Accuracies and UAR in [0, 1]; losses in nats."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    valid_uar: float
    seconds: float
    clips_per_s: float


@dataclass
class Progressed:
    """How far a run has come: everything but tensors that its state file holds."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    interrupted: bool = False


@dataclass
class Learner:
    """A network that is being trained, and what trains it."""

    fabric: Fabric
    classifier: Classifier
    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe

    @classmethod
    def of(cls, fabric: Fabric, classifier: Classifier, recipe: Recipe, *, compiled: bool = False) -> Self:
        classifier.network.to(memory_format=torch.channels_last)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch has it for GPUs only
            classifier.network = convert_sync_batchnorm(classifier.network)  # type: ignore[no-untyped-call]
        # Fabric can't clip gradients that a fused optimizer unscales itself; MPS has no such kernel in older torch.
        fused = fabric.device.type in {"cpu", "cuda"} and getattr(fabric.strategy.precision, "scaler", None) is None
        optimizer = create_optimizer(classifier.network, recipe.optimizer, fused=fused)
        # Batches of an epoch have two sizes; each is compiled by itself and is faster than one for all.
        network: Any = torch.compile(classifier.network, dynamic=False) if compiled else classifier.network
        network, optimizer = fabric.setup(network, optimizer)
        classifier.image.to(fabric.device)
        return cls(fabric, classifier, network, optimizer, recipe)

    def step(self, images: Tensor, targets: Tensor, *, share: float = 1.0, last: bool = True) -> tuple[Tensor, Tensor]:
        """Forward and backward; returns logits [batch, classes] and the loss, the mean of these clips.

        share: weight of this loss in the step of the optimizer. last: take that step now. Where a loss is no number
        (in any process), nothing is learned and the loss returned is no number either.
        """
        alone, network = self.fabric.world_size == 1, cast(Any, self.network)
        with nullcontext() if alone else self.fabric.no_backward_sync(network, enabled=not last):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
            loss = torch.nn.functional.cross_entropy(logits, targets)
            if not alone:
                loss = loss + 0 * summed(self.fabric, loss)  # hands on what is no number
            if torch.isfinite(loss):
                self.fabric.backward(loss if share == 1 else loss * share)
                if last:
                    self._learn()
        return logits.detach(), loss.detach()

    def _learn(self) -> None:
        if self.recipe.optimizer.clip_grad_norm:
            norm = self.recipe.optimizer.clip_grad_norm
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


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
    """indices: of the whole batch, into the store. crops: float32 [needed, channels, samples]; classes: int64 [needed];
    needed are the clips that this process trains on and those that are mixed into them. first, last: of the batches
    that make one step of the optimizer. share: weight of its loss in that step."""

    indices: npt.NDArray[np.int64]
    crops: Tensor
    classes: Tensor
    drawn: Augmentation
    first: bool
    last: bool
    share: float


def _batches(learner: Learner, store: Store, indices: Sequence[int], epoch: int) -> Iterator[_Batch]:
    """Every process draws for the whole batch and takes its part: the draws don't depend on how many they are."""
    fabric, recipe, labels = learner.fabric, learner.recipe, learner.classifier.labels
    rng = np.random.default_rng([recipe.seed, epoch])
    class_of = np.array([labels.index(clip.label) for clip in store.clips])
    size = learner.classifier.image.image_size(store.settings.crop_samples)
    order = list(training_order(store, indices, recipe.batch_size, rng))
    for number, (chosen, starts) in enumerate(order):
        drawn, places = draw(len(chosen), size, recipe.augment, rng), np.arange(len(chosen))
        own = places[fabric.global_rank :: fabric.world_size]
        needed = places
        if fabric.world_size > 1:
            needed, drawn = drawn.of(own)
        first = number - number % recipe.accumulate
        together = order[first : first + recipe.accumulate]  # the batches of this step of the optimizer
        crops = torch.from_numpy(store.crops(chosen[needed], starts[needed]))
        yield _Batch(
            indices=chosen,
            crops=crops.pin_memory() if fabric.device.type == "cuda" else crops,
            classes=torch.from_numpy(class_of[chosen[needed]]),
            drawn=drawn,
            first=number == first,
            last=number + 1 == first + len(together),
            share=fabric.world_size * len(own) / sum(len(batch) for batch, _ in together),
        )


def train_epoch(
    learner: Learner, store: Store, indices: Sequence[int], rates: Iterator[float], epoch: int
) -> Iterator[Step]:
    """Every clip once. rates: learning rate of each step of the optimizer. Stops after a loss that is no number."""
    fabric, recipe, classifier = learner.fabric, learner.recipe, learner.classifier
    # By epoch, so that a resumed run draws what an unbroken one draws. Torch's own generator is for dropout and
    # stochastic depth; each process has its own.
    torch.manual_seed(recipe.seed * 100003 + epoch + 7919 * fabric.global_rank)
    identity = torch.eye(len(classifier.labels), device=fabric.device)
    classifier.train()
    batches = _batches(learner, store, indices, epoch)
    for batch in ahead(batches) if fabric.device.type != "cpu" else batches:
        if batch.first:
            rate = next(rates)
            for group in learner.optimizer.param_groups:
                group["lr"] = rate
        with torch.no_grad():
            images = classifier.image(batch.crops.to(fabric.device, non_blocking=True))
            targets = identity[batch.classes.to(fabric.device)]
            images, targets = augment(images, targets, batch.drawn)
        logits, loss = learner.step(images, targets, share=batch.share, last=batch.last)
        right = int((logits.argmax(1) == targets.argmax(1)).sum())
        yield Step(batch.indices, len(targets), right, float(loss))


def fit(
    fabric: Fabric,
    classifier: Classifier,
    decoded: Decoded,
    plan: Plan,
    state: dict[str, Any] | None,
    facts: dict[str, Any],
    progress: Progress,
    *,
    compiled: bool = False,
    each_epoch: Callable[[Epoch], None] | None = None,
) -> Progressed:
    """Train, keeping the network of the best validation epoch in the run folder (the last one where nothing is held
    out). state: of ``read_state``. each_epoch: is told of each when it is over; what it raises ends the training.
    Raises TrainingError where the loss is no number. Ctrl-C ends it early with a usable run, where an epoch was
    finished."""
    recipe, run, store, parts = plan.recipe, plan.run, decoded.store, decoded.parts
    learner = Learner.of(fabric, classifier, recipe, compiled=compiled)
    done = _restore(state, classifier, learner.optimizer, run) if state else Progressed()
    batches = steps_an_epoch(len(parts["train"]), recipe.batch_size)
    steps = math.ceil(batches / recipe.accumulate)
    rate_at = learning_rate(recipe.optimizer, steps, recipe.epochs)

    try:
        with between_steps() as asked_to_stop:
            for epoch in range(len(done.history) + 1, recipe.epochs + 1):
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
                    share_buffers(classifier.network)
                valid = None if decoded.split.training_score else _validate(fabric, classifier, decoded, plan, done)
                done.history.append(
                    Epoch(
                        epoch=epoch,
                        lr=rate_at(epoch * steps - 1),
                        train_loss=float(sums[2] / sums[0]),
                        train_accuracy=float(sums[1] / sums[0]),
                        valid_loss=valid.cross_entropy if valid else float("nan"),
                        valid_accuracy=valid.accuracy if valid else float("nan"),
                        valid_uar=valid.uar if valid else float("nan"),
                        seconds=time.perf_counter() - began,
                        clips_per_s=clips_per_s,
                    )
                )
                best = done.history[done.best_epoch - 1].valid_uar if done.best_epoch else -1.0
                better = valid is None or valid.uar >= best
                if better:
                    done.best_epoch = epoch
                if fabric.is_global_zero:
                    if better:
                        save_classifier(classifier, run, {**facts, "epoch": epoch})
                    _keep_state(run, plan, classifier, learner.optimizer, done)
                    write_history(run / "history.csv", done.history)
                progress.epoch(done.history[-1], better)
                if each_epoch is not None:
                    if asked_to_stop():  # what it raises must not hide that
                        raise KeyboardInterrupt
                    each_epoch(done.history[-1])
    except KeyboardInterrupt:
        done.interrupted = True
    return done


def share_buffers(network: torch.nn.Module) -> None:
    """The first process's running statistics for all: each has seen its own clips, one network is scored and kept."""
    for buffer in network.buffers():
        torch.distributed.broadcast(buffer, src=0)


def _validate(fabric: Fabric, classifier: Classifier, decoded: Decoded, plan: Plan, done: Progressed) -> Metrics:
    predictions = score(classifier, decoded.store, decoded.parts["valid"], fabric=fabric)
    if not np.isfinite(predictions.probabilities).all():
        raise TrainingError(
            f"the network's answers are no longer numbers after epoch {len(done.history) + 1}; {_kept(plan, done)}. "
            f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g})"
        )
    return measure(predictions)


def _kept(plan: Plan, done: Progressed) -> str:
    return f"the network of epoch {done.best_epoch} is kept in {plan.run}" if done.best_epoch else "no epoch was kept"


def _lost(plan: Plan, done: Progressed, epoch: int, step: int, clips: list[Path]) -> str:
    return (
        f"the loss is no longer a number in epoch {epoch}, step {step}; {_kept(plan, done)}. "
        f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g}) or look at the clips of this batch: "
        + ", ".join(str(path) for path in clips)
    )


def _keep_state(
    run: Path, plan: Plan, classifier: Classifier, optimizer: torch.optim.Optimizer, done: Progressed
) -> None:
    state = {
        "recipe": plan.recipe.model_dump(),
        "split": plan.split.kind,
        "clips": len(plan.dataset.clips),
        "network": classifier.network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(row) for row in done.history],
        "best_epoch": done.best_epoch,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(run / STATE_NAME, buffer.getvalue())


def read_state(plan: Plan) -> dict[str, Any] | None:
    """What ``--resume`` goes on from; None where there is nothing yet, or nothing was asked for. Raises TrainingError
    where the state is damaged or of another run."""
    path = plan.run / STATE_NAME
    if not plan.resume or not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        history = [Epoch(**row) for row in state["history"]]
        recipe, split, clips = dict(state["recipe"]), state["split"], state["clips"]
        whole = bool(history) and isinstance(state["best_epoch"], int) and {"network", "optimizer"} <= state.keys()
    except Exception as error:  # a file of any content: whatever its reader raises
        raise TrainingError(f"can't resume: {path} is damaged; begin again with another --out") from error
    if not whole:
        raise TrainingError(f"can't resume: {path} is damaged; begin again with another --out")
    changed = differences(plan.recipe.model_dump(), recipe)
    changed += [f"split was {split}, is {plan.split.kind}"] if split != plan.split.kind else []
    changed += [f"there were {clips} clips, are {len(plan.dataset.clips)}"] if clips != len(plan.dataset.clips) else []
    if changed:
        raise TrainingError(f"can't resume {plan.run} with other settings: {'; '.join(changed)}; give the same ones")
    return {**state, "history": history}


def _restore(state: dict[str, Any], classifier: Classifier, optimizer: torch.optim.Optimizer, run: Path) -> Progressed:
    try:
        classifier.network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TrainingError(f"can't resume: {run / STATE_NAME} is damaged; begin again with another --out") from error
    return Progressed(state["history"], state["best_epoch"])


def _cell(value: float) -> str:
    """Empty where there is no number: nothing was held out."""
    return str(value) if isinstance(value, int) else f"{value:.6g}" if math.isfinite(value) else ""


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """One row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Epoch.__dataclass_fields__], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in asdict(row).items()} for row in history)
    write_whole(path, text.getvalue())
