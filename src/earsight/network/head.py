"""What logits mean: one class a clip (softmax), or any number of classes (sigmoid)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from earsight.errors import ModelError


def as_logits(answer: object, classes: int | None = None) -> Tensor:
    """The output of a network as float32 [batch, classes]. classes: None for any number. Raises ModelError where it has
    another shape or is no tensor."""
    shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if not isinstance(answer, Tensor) or answer.ndim != 2 or answer.shape[1] != (classes or answer.shape[1]):
        raise ModelError(
            f"the network gives {shape}, where logits [batch, {classes or 'classes'}] are expected; give it one output "
            "for each label"
        )
    return answer.float()


class Head(ABC):
    """logits: float32 [batch, classes]. targets: float32 of the same shape in [0, 1]; mixed where clips were mixed."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """The mean over the clips, in nats. weights: [classes], of a clip's class, or of each of its classes.
        smoothing: share of the targets that is spread evenly, over the classes, or over yes and no."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """In [0, 1], of the same shape as logits."""

    @abstractmethod
    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """bool [batch]: whether each answer is correct; the truth of a mixed clip is its larger part."""


class SoftmaxHead(Head):
    """One class a clip: softmax and cross entropy."""

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        return functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing)

    def probabilities(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=1)

    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        return logits.argmax(1) == targets.argmax(1)


class SigmoidHead(Head):
    """Any number of classes a clip: a sigmoid each, and the mean binary cross entropy. A clip is answered correctly
    where all classes are, at a threshold of 0.5."""

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        smoothed = targets * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=weights)

    def probabilities(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)

    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        return ((logits >= 0) == (targets >= 0.5)).all(1)
