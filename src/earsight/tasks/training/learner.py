"""A network in training: forward, backward, optimizer, and the moving average (EMA) of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import Tensor

from earsight.mel.pipeline import NO_PIPELINE, Pipeline
from earsight.mel.wave_augment import NO_BANKS, Banks
from earsight.network.classifier import Classifier
from earsight.network.depthwise import use_fast_depthwise
from earsight.network.optimizer import create_optimizer
from earsight.tasks.machine.devices import all_reduce_sum
from earsight.tasks.recipe import Recipe


@dataclass
class Learner:
    """A network in training. network: that of ``classifier`` as Fabric wrapped it. ema: None without averaging. steps:
    taken by the optimizer."""

    fabric: Fabric
    classifier: Classifier
    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    banks: Banks
    pipeline: Pipeline
    ema: ModelEmaV3 | None
    class_weights: Tensor | None
    steps: int = 0

    @classmethod
    def of(
        cls,
        fabric: Fabric,
        classifier: Classifier,
        recipe: Recipe,
        *,
        compiled: bool = False,
        banks: Banks = NO_BANKS,
        pipeline: Pipeline = NO_PIPELINE,
        class_weights: npt.NDArray[np.float32] | None = None,
    ) -> Self:
        """banks: sounds for augmentation. pipeline: transforms of crops. class_weights: of the loss, float32
        [classes]."""
        classifier.network.to(memory_format=torch.channels_last)
        if fabric.device.type == "cpu" and not compiled:
            use_fast_depthwise(classifier.network)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch has it only for GPUs
            classifier.network = convert_sync_batchnorm(classifier.network)  # type: ignore[no-untyped-call]
        # Fabric can't clip gradients that a fused optimizer unscales itself; MPS has no such kernel in older torch.
        fused = fabric.device.type in {"cpu", "cuda"} and _scaler(fabric) is None
        optimizer = create_optimizer(classifier.network, recipe.optimizer, fused=fused)
        mean = None
        if recipe.optimizer.ema_decay:
            # It starts from an untrained classifier layer, which the warm-up makes it forget within a few steps.
            mean = ModelEmaV3(classifier.network, recipe.optimizer.ema_decay, use_warmup=True).to(fabric.device)
        weights = None if class_weights is None else torch.from_numpy(class_weights).to(fabric.device)
        # Batches have two sizes; compiling for each is faster than dynamic shapes.
        network: Any = torch.compile(classifier.network, dynamic=False) if compiled else classifier.network
        network, optimizer = fabric.setup(network, optimizer)
        classifier.image.to(fabric.device)
        return cls(fabric, classifier, network, optimizer, recipe, banks.to(fabric.device), pipeline, mean, weights)

    def step(self, images: Tensor, targets: Tensor, *, share: float = 1.0, last: bool = True) -> tuple[Tensor, Tensor]:
        """Forward and backward; returns logits [batch, classes] and the mean loss of these clips.

        share: weight of this loss in the optimizer step. last: take that step now. Where the loss or a gradient is NaN
        or infinite in any process, no step is taken and the returned loss is not finite either.
        """
        alone, network = self.fabric.world_size == 1, cast(Any, self.network)
        with nullcontext() if alone else self.fabric.no_backward_sync(network, enabled=not last):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
            smoothing = self.recipe.loss.label_smoothing
            loss = self.classifier.head.loss(logits, targets, self.class_weights, smoothing)
            if not alone:
                loss = loss + 0 * all_reduce_sum(self.fabric, loss)  # propagates NaN from other processes
            if torch.isfinite(loss):
                self.fabric.backward(loss if share == 1 else loss * share)
                if last and not self._optimizer_step():
                    loss = torch.full_like(loss, math.nan)
        return logits.detach(), loss.detach()

    def _optimizer_step(self) -> bool:
        """Step the optimizer; False, without a step, where gradients are not finite: batch norm multiplies the
        gradients of images without contrast in every layer."""
        found = self._clip_gradients()
        # A gradient scaler skips such a step itself and lowers its scale.
        if found is not None and not torch.isfinite(found) and not _scaler(self.fabric):
            return False
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.classifier.network, step=self.steps)
        self.steps += 1
        return True

    def _clip_gradients(self) -> Tensor | None:
        """Clip the gradients; returns their norm before, where it is known."""
        norm = self.recipe.optimizer.clip_grad_norm
        if not norm and hasattr(torch.nn.utils, "get_total_norm"):  # torch 2.6 or newer; half the time of clipping
            return torch.nn.utils.get_total_norm(
                [one.grad for one in self.network.parameters() if one.grad is not None]
            )
        return self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=norm or math.inf, error_if_nonfinite=False
        )

    @contextmanager
    def with_ema(self) -> Iterator[Classifier]:
        """The classifier as it is scored and saved: inside, with the averaged weights where there are."""
        learning = self.classifier.network
        if self.ema is not None:
            self.classifier.network = self.ema.module
        try:
            yield self.classifier
        finally:
            self.classifier.network = learning


def _scaler(fabric: Fabric) -> Any:
    """The gradient scaler of 16-bit precision; None without one."""
    return getattr(fabric.strategy.precision, "scaler", None)
