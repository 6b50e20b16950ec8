"""Optimizer and learning-rate schedule: timm's parameter groups, torch's optimizers."""

import math
from collections.abc import Callable

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from earsight.network.settings import OptimizerSettings


def create_optimizer(network: nn.Module, settings: OptimizerSettings, *, fused: bool = True) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only. fused: all of AdamW in one kernel, a third of its time on a CPU
    (docs/performance.md); not where gradients are scaled and clipped."""
    if settings.layer_decay < 1:  # each group has an lr_scale, which the training loop applies
        groups = param_groups_layer_decay(network, settings.weight_decay, layer_decay=settings.layer_decay)
    else:
        groups = param_groups_weight_decay(network, settings.weight_decay)
    if settings.name == "sgd":  # its step is short anyway
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr, fused=fused)


def learning_rate(settings: OptimizerSettings, steps_an_epoch: int, epochs: int) -> Callable[[int], float]:
    """step (from 0) → learning rate: a linear rise over the warm-up, then constant or half a cosine to zero."""
    warmup = round(settings.warmup_epochs * steps_an_epoch)
    rest = max(1, epochs * steps_an_epoch - warmup)

    def at(step: int) -> float:
        if step < warmup:
            return settings.lr * (step + 1) / (warmup + 1)
        if settings.schedule == "constant":
            return settings.lr
        return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / rest)))

    return at
