"""Augmentation of images: masks, mixup and cutmix. Parameters are drawn, then applied."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]
Way = Literal["image", "wave", "cut"]


@dataclass(frozen=True)
class Masks:
    """starts, lengths: int64 [batch, masks], along one axis of the image."""

    starts: Ints
    lengths: Ints

    def take(self, rows: Ints) -> "Masks":
        """These items, in this order."""
        return Masks(self.starts[rows], self.lengths[rows])


def draw_masks(batch: int, count: int, length: int, share: float, rng: np.random.Generator) -> Masks:
    """Masks of 0 to ``share × length`` steps, each wholly inside [0, length)."""
    lengths = rng.integers(0, int(share * length) + 1, size=(batch, count))
    return Masks(rng.integers(0, length - lengths + 1), lengths)


def apply_masks(images: Tensor, freq: Masks, time: Masks) -> Tensor:
    """Set the rows under ``freq`` and the columns under ``time`` to the mean of each plane. images: [batch, channels,
    height, width]; same shape."""
    if not freq.starts.size + time.starts.size:
        return images
    rows = _covered(freq, images.shape[2], images.device)[:, None, :, None]
    columns = _covered(time, images.shape[3], images.device)[:, None, None, :]
    return torch.where(rows | columns, images.mean(dim=(2, 3), keepdim=True), images)


def _covered(masks: Masks, length: int, device: torch.device) -> Tensor:
    """bool [batch, length]: whether a position is under any mask."""
    steps = torch.arange(length, device=device)
    starts = torch.from_numpy(masks.starts).to(device)[..., None]
    ends = starts + torch.from_numpy(masks.lengths).to(device)[..., None]
    return ((steps >= starts) & (steps < ends)).any(dim=1)


@dataclass(frozen=True)
class Mix:
    """How items are mixed. way: images, waveforms, or cutmix along time. share: float32 [items], weight of the item
    itself in [0, 1]. partner: int64 [items], index of the item that is mixed in. own: int64 [items], index of the item;
    None: all items in order. cut: frames that come from the partner, for cutmix."""

    way: Way
    share: npt.NDArray[np.float32]
    partner: Ints
    own: Ints | None = None
    cut: Masks | None = None


def draw_mix(batch: int, alpha: float, rng: np.random.Generator) -> Mix:
    """Mixup (Zhang et al. 2018) with a share for each item, at least 0.5, so that an item stays mostly itself."""
    share = rng.beta(alpha, alpha, size=batch)
    return Mix("image", np.maximum(share, 1 - share).astype(np.float32), rng.permutation(batch))


def draw_cut(batch: int, alpha: float, frames: int, rng: np.random.Generator) -> Mix:
    """CutMix (Yun et al. 2019) along time: all mel bins of a stretch of at most half of the frames."""
    mix = draw_mix(batch, alpha, rng)
    lengths = np.rint((1 - mix.share) * frames).astype(np.int64)
    cut = Masks(rng.integers(0, frames - lengths + 1)[:, None], lengths[:, None])
    return Mix("cut", (1 - lengths / frames).astype(np.float32), mix.partner, None, cut)


def apply_mix(values: Tensor, mix: Mix) -> Tensor:
    """share · item + (1 − share) · partner along the first axis, of images, waveforms or targets."""
    share = torch.from_numpy(mix.share).to(values).view(-1, *[1] * (values.ndim - 1))
    own, partner = _pair(values, mix)
    return partner.lerp(own, share)


def apply_cut(images: Tensor, mix: Mix) -> Tensor:
    """Replace the frames of ``mix.cut`` by the partner's. Raises ValueError where ``mix`` has none."""
    if mix.cut is None:
        raise ValueError("no stretch of frames was drawn to be cut; draw it with draw_cut")
    own, partner = _pair(images, mix)
    return torch.where(_covered(mix.cut, images.shape[3], images.device)[:, None, None, :], partner, own)


def _pair(values: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    own = values if mix.own is None else values[torch.from_numpy(mix.own).to(values.device)]
    return own, values[torch.from_numpy(mix.partner).to(values.device)]
