"""Several networks that answer as one."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from earsight.errors import ModelError
from earsight.network.prediction import UnknownLimits

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier

C = TypeVar("C", bound="Classifier")


class Ensemble(nn.Module):
    """image → float32 [batch, classes], the mean over the members, each divided by its temperature: of log
    probabilities, or with multilabel of logits."""

    def __init__(self, networks: Sequence[nn.Module], temperatures: Sequence[float], *, multilabel: bool) -> None:
        super().__init__()
        self.multilabel = multilabel
        self.members = nn.ModuleList(networks)
        self.temperatures = tuple(temperatures)

    def forward(self, image: Tensor) -> Tensor:
        return self.average_logits([member(image) for member in self.members])

    def average_logits(self, logits: Sequence[Tensor]) -> Tensor:
        """logits: of each member, [batch, classes]. Returns their mean, [batch, classes]."""
        scaled = torch.stack([one.float() / of for one, of in zip(logits, self.temperatures, strict=True)])
        return (scaled if self.multilabel else torch.log_softmax(scaled, dim=2)).mean(dim=0)


def join_classifiers(classifiers: Sequence[C]) -> C:
    """One classifier with an ``Ensemble`` of the networks of many, which must have the same audio and mel settings,
    image size, and labels in the same order. Raises ModelError."""
    if len(classifiers) < 2:
        raise ModelError(f"an ensemble has two members or more, got {len(classifiers)}")
    first = classifiers[0]
    for number, other in enumerate(classifiers[1:], 2):
        if isinstance(other.network, Ensemble) or isinstance(first.network, Ensemble):
            raise ModelError("one of the members is an ensemble already; combine the runs that it was made from")
        for name in ("labels", "audio", "mel", "multilabel"):
            mine, theirs = getattr(first, name), getattr(other, name)
            if mine != theirs:
                raise ModelError(
                    f"member {number} has other {name} than the first ({theirs}, {mine}); combine runs with the same"
                )
        of_first, of_other = ((one.image.size, one.image.image_channels) for one in (first, other))
        if of_first != of_other:
            raise ModelError(
                f"member {number} takes images of {of_other}, the first of {of_first}; combine runs that take the same"
            )
    whole = type(first)(
        first.labels, first.audio, first.mel, first.network_settings, multilabel=first.multilabel, network=first.network
    )
    whole.network = Ensemble(
        [classifier.network for classifier in classifiers],
        [classifier.temperature for classifier in classifiers],
        multilabel=first.multilabel,
    )
    directions = [one.directions for one in classifiers if one.directions is not None]
    if len(directions) == len(classifiers):
        # Features are concatenated, each member's at the same length: familiarity is the root mean square of the
        # members'.
        whole.directions = torch.block_diag(*directions)  # type: ignore[no-untyped-call]
        limits = [max(0.0, one.unknown.least_familiarity) for one in classifiers]
        whole.unknown = UnknownLimits(
            math.sqrt(sum(limit**2 for limit in limits) / len(limits)),
            sum(one.unknown.least_confidence for one in classifiers) / len(classifiers),
        )
    if first.multilabel:
        together = zip(*(classifier.thresholds for classifier in classifiers), strict=True)
        whole.thresholds = tuple(sum(of_label) / len(classifiers) for of_label in together)
    whole.members = tuple(classifier.network_settings for classifier in classifiers)
    return whole.train(first.training)
