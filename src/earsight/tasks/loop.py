"""The training loop: reads top to bottom, on lightning-fabric."""

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from earsight.dataset.loader import training_batches
from earsight.dataset.store import Store
from earsight.errors import TrainingError
from earsight.mel.augment import augment
from earsight.network.checkpoint import save_classifier, write_whole
from earsight.network.classifier import Classifier
from earsight.network.optimizer import create_optimizer, learning_rate
from earsight.scores.metrics import measure
from earsight.tasks.plan import STATE_NAME, Plan, steps_an_epoch
from earsight.tasks.progress import Progress
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


def fit(
    fabric: Fabric,
    classifier: Classifier,
    store: Store,
    parts: dict[str, Sequence[int]],
    plan: Plan,
    facts: dict[str, Any],
    progress: Progress,
) -> Progressed:
    """Train, keeping the network of the best validation epoch in the run folder (the last one where nothing is held
    out). Raises TrainingError where the loss is no number. Ctrl-C ends it early with a usable run."""
    recipe, run = plan.recipe, plan.run
    classifier.network.to(memory_format=torch.channels_last)
    optimizer = create_optimizer(classifier.network, recipe.optimizer)
    network, optimizer = fabric.setup(classifier.network, optimizer)
    classifier.image.to(fabric.device)
    done = _restore(plan, classifier, optimizer) if plan.resume else Progressed()
    targets_of = np.array([classifier.labels.index(clip.label) for clip in store.clips])
    steps = steps_an_epoch(len(parts["train"]), recipe.batch_size)
    rate_at = learning_rate(recipe.optimizer, steps, recipe.epochs)
    identity = torch.eye(len(classifier.labels), device=fabric.device)

    try:
        for epoch in range(len(done.history) + 1, recipe.epochs + 1):
            rng, draws = _seed(recipe.seed, epoch, fabric.global_rank)
            began, seen, loss_sum, right = time.perf_counter(), 0, 0.0, 0
            classifier.train()
            for step, (indices, crops) in enumerate(training_batches(store, parts["train"], recipe.batch_size, rng)):
                mine = slice(fabric.global_rank, None, fabric.world_size)
                targets = identity[torch.from_numpy(targets_of[indices[mine]]).to(fabric.device)]
                for group in optimizer.param_groups:
                    group["lr"] = rate_at((epoch - 1) * steps + step)
                with torch.no_grad():
                    images = classifier.image(torch.from_numpy(crops[mine]).to(fabric.device))
                    images, mixed = augment(images, targets, recipe.augment, draws)
                logits = network(images.contiguous(memory_format=torch.channels_last)).float()
                loss = torch.nn.functional.cross_entropy(logits, mixed)
                if not torch.isfinite(loss):
                    raise TrainingError(_lost(plan, done, epoch, step, [store.clips[i].path for i in indices]))
                fabric.backward(loss)
                if recipe.optimizer.clip_grad_norm:
                    fabric.clip_gradients(network, optimizer, max_norm=recipe.optimizer.clip_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                seen += len(targets)
                loss_sum += float(loss.detach()) * len(targets)
                right += int((logits.argmax(1) == targets.argmax(1)).sum())
                clips_per_s = seen / (time.perf_counter() - began)
                progress.step(epoch, step + 1, steps, loss_sum / seen, right / seen, clips_per_s)

            valid = measure(score(classifier, store, parts["valid"])) if not plan.split.training_score else None
            done.history.append(
                Epoch(
                    epoch=epoch,
                    lr=rate_at(epoch * steps - 1),
                    train_loss=loss_sum / seen,
                    train_accuracy=right / seen,
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
                _keep_state(run, plan, classifier, optimizer, done)
                write_history(run / "history.csv", done.history)
            progress.epoch(done.history[-1], better)
    except KeyboardInterrupt:
        done.interrupted = True
        if not done.history and fabric.is_global_zero:
            save_classifier(classifier, run, {**facts, "epoch": 0})
    return done


def _seed(seed: int, epoch: int, rank: int) -> tuple[np.random.Generator, np.random.Generator]:
    """By epoch, so that a resumed run draws what an unbroken one draws. The first generator, of order and crops, is
    the same in every process; the second, of augmentation, is each one's own. Also seeds torch's own generator, which
    dropout and stochastic depth use."""
    torch.manual_seed(seed * 100003 + epoch + 7919 * rank)
    rng = np.random.default_rng([seed, epoch])
    return rng, np.random.default_rng([seed, epoch, rank]) if rank else rng


def _lost(plan: Plan, done: Progressed, epoch: int, step: int, clips: list[Path]) -> str:
    kept = f"the network of epoch {done.best_epoch} is kept in {plan.run}" if done.best_epoch else "no epoch was kept"
    return (
        f"the loss is no longer a number in epoch {epoch}, step {step + 1}; {kept}. "
        f"Lower --optimizer.lr (now {plan.recipe.optimizer.lr:g}) or look at the clips of this batch: "
        + ", ".join(str(path) for path in clips)
    )


def _keep_state(
    run: Path, plan: Plan, classifier: Classifier, optimizer: torch.optim.Optimizer, done: Progressed
) -> None:
    state = {
        "recipe": plan.recipe.model_dump(),
        "split": plan.split_kind,
        "clips": len(plan.dataset.clips),
        "network": classifier.network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(row) for row in done.history],
        "best_epoch": done.best_epoch,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(run / STATE_NAME, buffer.getvalue())


def _restore(plan: Plan, classifier: Classifier, optimizer: torch.optim.Optimizer) -> Progressed:
    path = plan.run / STATE_NAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"can't resume: {path} is damaged ({str(error).splitlines()[0][:120]})") from error
    now = {"recipe": plan.recipe.model_dump(), "split": plan.split_kind, "clips": len(plan.dataset.clips)}
    for key, value in now.items():
        if state[key] != value:
            raise TrainingError(f"can't resume {plan.run}: its {key} differs from this one; give the same settings")
    classifier.network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return Progressed([Epoch(**row) for row in state["history"]], state["best_epoch"])


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
