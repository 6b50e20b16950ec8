"""Augmentation of a batch of images: draw the parameters, then apply them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earsight.mel.settings import AugmentSettings

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Masks:
    """starts, lengths: [batch, masks], counted along one axis of the image."""

    starts: Ints
    lengths: Ints


def draw_masks(batch: int, count: int, length: int, share: float, rng: np.random.Generator) -> Masks:
    """Masks of 0 to ``share × length`` steps, each wholly inside [0, length)."""
    lengths = rng.integers(0, int(share * length) + 1, size=(batch, count))
    return Masks(rng.integers(0, length - lengths + 1), lengths)


def apply_masks(images: Tensor, masks: Masks, axis: int) -> Tensor:
    """Set what the masks cover along ``axis`` (2: mel bins, 3: frames) to each image's own mean. Same shape."""
    if masks.starts.size == 0:
        return images
    steps = torch.arange(images.shape[axis], device=images.device)
    starts = torch.from_numpy(masks.starts).to(images.device)[..., None]
    ends = starts + torch.from_numpy(masks.lengths).to(images.device)[..., None]
    covered = ((steps >= starts) & (steps < ends)).any(dim=1)  # [batch, steps]
    covered = covered[:, None, :, None] if axis == 2 else covered[:, None, None, :]
    return torch.where(covered, images.mean(dim=(1, 2, 3), keepdim=True), images)


@dataclass(frozen=True)
class Mix:
    """share: [batch] of each item's own part in [0.5, 1]; partner: [batch] index of the item mixed in."""

    share: npt.NDArray[np.float32]
    partner: Ints


def draw_mix(batch: int, alpha: float, rng: np.random.Generator) -> Mix:
    """Zhang et al. 2018, a share for each item; its larger part, so that an item stays mostly itself."""
    share = rng.beta(alpha, alpha, size=batch) if alpha > 0 else np.ones(batch)
    return Mix(np.maximum(share, 1 - share).astype(np.float32), rng.permutation(batch))


def apply_mix(values: Tensor, mix: Mix) -> Tensor:
    """share · item + (1 − share) · partner, over the first axis: for images and for one-hot targets alike."""
    share = torch.from_numpy(mix.share).to(values.device).view(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * values[torch.from_numpy(mix.partner).to(values.device)]


def augment(
    images: Tensor, targets: Tensor, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """images: [batch, channels, mels, frames]; targets: float [batch, classes], rows sum to 1. Same shapes back."""
    batch, _, mels, frames = images.shape
    freq = draw_masks(batch, settings.freq_masks, mels, settings.freq_mask_share, rng)
    time = draw_masks(batch, settings.time_masks, frames, settings.time_mask_share, rng)
    images = apply_masks(apply_masks(images, freq, axis=2), time, axis=3)
    if settings.mixup_alpha == 0:
        return images, targets
    mix = draw_mix(batch, settings.mixup_alpha, rng)
    return apply_mix(images, mix), apply_mix(targets, mix)
