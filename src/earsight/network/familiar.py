"""How familiar a sound is: how near its features lie to the training clips' (docs/decisions/0007-unknown.md)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from earsight.network.ensemble import Ensemble


def features_and_logits(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """image: [batch, in_chans, height, width] → what the last layer of the network takes, float32 [batch, features] of
    length 1; and its logits, float32 [batch, classes]. Of an ensemble, the features of all members side by side."""
    if isinstance(network, Ensemble):
        found = [features_and_logits(member, image) for member in network.members]
        together = torch.cat([features for features, _ in found], dim=1)
        return normalize(together, dim=1), network.together([logits for _, logits in found])
    if not hasattr(network, "forward_head"):  # a few networks of timm
        logits: Tensor = network(image)
        return normalize(logits.float(), dim=1), logits.float()
    of_timm: Any = network
    maps = of_timm.forward_features(image)
    features: Tensor = of_timm.forward_head(maps, pre_logits=True)
    logits = of_timm.forward_head(maps)
    return normalize(features.flatten(1).float(), dim=1), logits.float()
