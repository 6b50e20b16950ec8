"""Augmentation of a batch of images: draw the parameters, then apply them."""

from collections.abc import Sequence
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
    """share: [items] of each item's own part in [0.5, 1]; partner: [items] index of what is mixed in. own: [items]
    index of the item itself; None: they are all items, in order."""

    share: npt.NDArray[np.float32]
    partner: Ints
    own: Ints | None = None


def draw_mix(batch: int, alpha: float, rng: np.random.Generator) -> Mix:
    """Zhang et al. 2018, a share for each item; its larger part, so that an item stays mostly itself."""
    share = rng.beta(alpha, alpha, size=batch)
    return Mix(np.maximum(share, 1 - share).astype(np.float32), rng.permutation(batch))


def apply_mix(values: Tensor, mix: Mix) -> Tensor:
    """share · item + (1 − share) · partner, over the first axis: for images and for one-hot targets alike."""
    share = torch.from_numpy(mix.share).to(values.device).view(-1, *[1] * (values.ndim - 1))
    own = values if mix.own is None else values[torch.from_numpy(mix.own).to(values.device)]
    return share * own + (1 - share) * values[torch.from_numpy(mix.partner).to(values.device)]


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for a batch. freq, time: masks of each item; mix: None where nothing is mixed."""

    freq: Masks
    time: Masks
    mix: Mix | None

    def of(self, own: Ints) -> tuple[Ints, "Augmentation"]:
        """For a process that trains on the items ``own`` of the batch: the items whose images it needs (its own and
        their partners), and what to do with these. The result is that of the whole batch, row by row."""
        needed = own if self.mix is None else np.union1d(own, self.mix.partner[own])
        freq, time = (Masks(masks.starts[needed], masks.lengths[needed]) for masks in (self.freq, self.time))
        if self.mix is None:
            return needed, Augmentation(freq, time, None)
        partner = np.searchsorted(needed, self.mix.partner[own])
        return needed, Augmentation(freq, time, Mix(self.mix.share[own], partner, np.searchsorted(needed, own)))


def draw(batch: int, size: Sequence[int], settings: AugmentSettings, rng: np.random.Generator) -> Augmentation:
    """size: of the images, (mel bins, frames)."""
    height, width = size
    freq = draw_masks(batch, settings.freq_masks, height, settings.freq_mask_share, rng)
    time = draw_masks(batch, settings.time_masks, width, settings.time_mask_share, rng)
    return Augmentation(freq, time, draw_mix(batch, settings.mixup_alpha, rng) if settings.mixup_alpha else None)


def augment(images: Tensor, targets: Tensor, drawn: Augmentation) -> tuple[Tensor, Tensor]:
    """images: [batch, channels, mels, frames]; targets: float [batch, classes], rows sum to 1. Same shapes back, or
    fewer items where ``Augmentation.of`` chose them."""
    images = apply_masks(apply_masks(images, drawn.freq, axis=2), drawn.time, axis=3)
    return (images, targets) if drawn.mix is None else (apply_mix(images, drawn.mix), apply_mix(targets, drawn.mix))
