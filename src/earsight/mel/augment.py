"""Augmentation of a batch: all parameters are drawn first, then waveforms, mel spectrograms and images are changed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earsight.mel.image import MelImage
from earsight.mel.image_augment import Masks, Mix, apply_cut, apply_masks, apply_mix, draw_cut, draw_masks, draw_mix
from earsight.mel.settings import STEPS_PER_OCTAVE, AugmentSettings, MelSettings, octave_steps
from earsight.mel.spectrogram import Warp
from earsight.mel.wave_augment import NO_BANKS, Banks, WaveParameters, apply_waves, draw_waves

Ints = npt.NDArray[np.int64]
_FILTER_POINTS = 6


@dataclass(frozen=True)
class Augmentation:
    """The parameters drawn for a batch. band_gain: float32 [batch, n_mels], factors of the mel bins. freq, time: masks
    of the image. None for what is not changed."""

    waves: WaveParameters | None
    warp: Warp | None
    band_gain: npt.NDArray[np.float32] | None
    freq: Masks
    time: Masks
    mix: Mix | None

    def for_items(self, own: Ints) -> tuple[Ints, "Augmentation"]:
        """The part of a process that trains on the items ``own`` of the batch: indices of the items that it needs (its
        own and the partners they are mixed with), and their parameters. Row by row the result is that of the whole
        batch."""
        needed = own if self.mix is None else np.union1d(own, self.mix.partner[own])
        mix = None
        if self.mix is not None:
            mix = Mix(
                self.mix.way,
                self.mix.share[own],
                np.searchsorted(needed, self.mix.partner[own]),
                np.searchsorted(needed, own),
                self.mix.cut.take(own) if self.mix.cut else None,
            )
        seen = own if mix and mix.way == "wave" else needed  # items whose images are computed
        return needed, Augmentation(
            self.waves.take(needed) if self.waves else None,
            self.warp.take(seen) if self.warp else None,
            None if self.band_gain is None else self.band_gain[seen],
            self.freq.take(seen),
            self.time.take(seen),
            mix,
        )


def draw(
    batch: int,
    image: MelImage,
    crop_samples: int,
    settings: AugmentSettings,
    rng: np.random.Generator,
    banks: Banks = NO_BANKS,
) -> Augmentation:
    """Draw for clips of ``crop_samples`` samples whose images ``image`` computes."""
    mel, frames = image.settings, image.frames(crop_samples)
    height, width = image.image_size(crop_samples)
    freq = draw_masks(batch, settings.freq_masks, height, settings.freq_mask_share, rng)
    time = draw_masks(batch, settings.time_masks, width, settings.time_mask_share, rng)
    mix = _draw_mix(batch, width, settings, rng)
    warp = draw_warp(batch, frames, settings, mel, rng) if settings.warps else None
    return Augmentation(
        freq=freq,
        time=time,
        mix=mix,
        warp=warp,
        waves=draw_waves(warp.samples if warp else np.full(batch, crop_samples), settings, rng, banks),
        band_gain=draw_filter(batch, settings.filter_db, mel, rng) if settings.filter_db else None,
    )


def draw_warp(batch: int, frames: int, settings: AugmentSettings, mel: MelSettings, rng: np.random.Generator) -> Warp:
    """Factors are a quarter of a semitone apart, so that items with equal factors can be computed together."""

    def factor(octaves: float) -> npt.NDArray[np.float64]:
        steps = octave_steps(octaves)
        return np.exp2(rng.integers(-steps, steps + 1, batch) / STEPS_PER_OCTAVE)

    speed, stretch = factor(math.log2(1 + settings.speed)), factor(math.log2(1 + settings.stretch))
    pitch = factor(settings.pitch_semitones / 12)
    hop_length = np.maximum(1, np.rint(mel.hop_length * speed * stretch).astype(np.int64))
    return Warp(hop_length, speed * pitch, frames)


def draw_filter(batch: int, largest_db: float, mel: MelSettings, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Factors of the mel bins, float32 [batch, n_mels], of amplitude or power by ``mel.power``: linear in dB between a
    few random points (Nam et al. 2022, FilterAugment)."""
    points_db = rng.uniform(-largest_db, largest_db, (batch, _FILTER_POINTS))
    at = np.linspace(0, _FILTER_POINTS - 1, mel.n_mels)
    line_db = np.stack([np.interp(at, np.arange(_FILTER_POINTS), points) for points in points_db])
    return (10 ** (line_db * mel.power / 20)).astype(np.float32)


def _draw_mix(batch: int, frames: int, settings: AugmentSettings, rng: np.random.Generator) -> Mix | None:
    ways: list[Callable[[], Mix]] = []
    if settings.mixup_alpha:
        ways.append(lambda: draw_mix(batch, settings.mixup_alpha, rng))
    if settings.wave_mixup_alpha:
        ways.append(lambda: replace(draw_mix(batch, settings.wave_mixup_alpha, rng), way="wave"))
    if settings.cutmix_alpha:
        ways.append(lambda: draw_cut(batch, settings.cutmix_alpha, frames, rng))
    if not ways:
        return None
    return ways[0 if len(ways) == 1 else int(rng.integers(len(ways)))]()


def augmented_images(
    image: MelImage, crops: Tensor, targets: Tensor, drawn: Augmentation, banks: Banks = NO_BANKS
) -> tuple[Tensor, Tensor]:
    """crops: float32 [batch, channels, samples]; targets: float [batch, classes]. Returns the images to train on,
    [batch, image_channels, height, width], and their targets; fewer items for a part (``Augmentation.for_items``)."""
    mix = drawn.mix
    if drawn.waves is not None:
        crops = apply_waves(crops, drawn.waves, banks)
    if mix is not None and mix.way == "wave":
        crops = apply_mix(crops, mix)
    band_gain = None if drawn.band_gain is None else torch.from_numpy(drawn.band_gain).to(crops.device)
    images = image(crops, drawn.warp, band_gain)
    images = apply_masks(images, drawn.freq, drawn.time)
    if mix is None:
        return images, targets
    if mix.way != "wave":
        images = apply_mix(images, mix) if mix.way == "image" else apply_cut(images, mix)
    return images, apply_mix(targets, mix)
