"""How familiar a sound is: how much of its features lies along those of the training clips.
docs/decisions/0007-unknown.md"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from earsight.network.ensemble import Ensemble
from earsight.network.head import as_logits

DIRECTIONS = 32
_SHARE = 8
"""One direction to so many features, and to so many clips, at most: all features would span every sound, and as many
directions as clips would be these clips' own."""
_NOTHING = 1e-4
"""What training clips hardly go along, beside the first direction, is no direction of theirs."""


def main_directions(features: Tensor) -> Tensor:
    """features: [clips, features] of length 1, of training clips → float32 [directions, features], rows of length 1 at
    right angles, along which most of their squares lie: the first right singular vectors."""
    most = max(1, min(DIRECTIONS, min(features.shape) // _SHARE))
    _, along, vectors = torch.linalg.svd(features.double(), full_matrices=False)
    return vectors[:most][along[:most] > _NOTHING * along[0]].float()


def familiarity(features: Tensor, directions: Tensor) -> Tensor:
    """features: [batch, features] of length 1; directions: of ``main_directions`` → [batch], in [0, 1]: the length of
    the part of each clip's features that lies along them, the cosine of the angle to the space that they span."""
    return torch.linalg.vector_norm(features @ directions.t(), dim=1).clamp(max=1.0)


def features_and_logits(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """image: [batch, in_chans, height, width] → what the last layer of the network takes, float32 [batch, features] of
    length 1; and its logits, float32 [batch, classes]. Of an ensemble, the features of all members side by side."""
    if isinstance(network, Ensemble):
        found = [features_and_logits(member, image) for member in network.members]
        together = torch.cat([features for features, _ in found], dim=1)
        return normalize(together, dim=1), network.average_logits([logits for _, logits in found])
    if not hasattr(network, "forward_head"):  # a few networks of timm, and those that are not timm's
        logits = as_logits(network(image))
        return normalize(logits, dim=1), logits
    of_timm: Any = network
    maps = of_timm.forward_features(image)
    features: Tensor = of_timm.forward_head(maps, pre_logits=True)
    logits = as_logits(of_timm.forward_head(maps))
    return normalize(features.flatten(1).float(), dim=1), logits
