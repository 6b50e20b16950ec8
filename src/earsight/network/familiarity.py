"""How similar a sound is to the training clips: how much of its features lies in the space that theirs span.
docs/decisions/0007-unknown.md"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from earsight.network.ensemble import Ensemble
from earsight.network.head import as_logits

DIRECTIONS = 32
_SHARE = 8
"""At most one direction for this many features, and for this many clips: as many directions as features would span all
sounds, and as many as clips would fit these clips alone."""
_NOTHING = 1e-4
"""Directions whose singular value is below this share of the first one's are left out."""


def main_directions(features: Tensor) -> Tensor:
    """features: [clips, features] of training clips, rows of length 1 → float32 [directions, features], orthonormal
    rows: the first right singular vectors."""
    most = max(1, min(DIRECTIONS, min(features.shape) // _SHARE))
    _, along, vectors = torch.linalg.svd(features.double(), full_matrices=False)
    return vectors[:most][along[:most] > _NOTHING * along[0]].float()


def familiarity(features: Tensor, directions: Tensor) -> Tensor:
    """features: [batch, features], rows of length 1. directions: of ``main_directions``. Returns [batch] in [0, 1]: the
    length of the projection of each row onto the directions, the cosine of the angle to the space that they span."""
    return torch.linalg.vector_norm(features @ directions.t(), dim=1).clamp(max=1.0)


def features_and_logits(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """image: [batch, in_chans, height, width]. Returns the input of the last layer, float32 [batch, features] with rows
    of length 1, and the logits, float32 [batch, classes]. For an ensemble, the concatenated features of all members."""
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
