"""A classifier for export: the same numbers from operations that every runtime has (products and sums).

The short-time Fourier transform becomes two grouped convolutions (Cooley and Tukey 1965, n_fft = N₁ · N₂, N₂ a divisor
of the hop length): with n = N₂ n₁ + n₂ and k = k₁ + N₁ k₂

    X[k] = Σ over n₂ of (Σ over n₁ of w[n] x[n] · exp(−2πi n₁ k₁ / N₁)) · exp(−2πi n₂ k / N)

The inner sum is a convolution of the waveform, written in rows of N₂ samples, and never copies a frame; x is real, so
that k₁ ≤ N₁ / 2 is enough, and n₁ needs to reach no further than the window. For n_fft 1024, a window of 512 and a hop
of 160 that is an eighth of the products of the plain transform of such a window.
"""

import copy
import math
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from earsight.audio.decode import Samples, Sound
from earsight.audio.load import fixed_crops, prepare
from earsight.mel.image import MelImage
from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import Ints, MelSpectrogram, Warp, filter_bands
from earsight.network.classifier import Classifier
from earsight.network.familiarity import familiarity, features_and_logits
from earsight.network.portable_sound import PortableSound

Floats = npt.NDArray[np.float64]


class PortableSpectrogram(MelSpectrogram):
    """``MelSpectrogram`` without the runtime's own Fourier transform, and without warping."""

    inner: Tensor
    outer: Tensor

    def __init__(self, settings: MelSettings, rate_hz: int) -> None:
        super().__init__(settings, rate_hz)
        self.columns = columns_of(settings)
        self.heard = window_rows(settings, self.columns)
        inner, outer, place = transform(settings, self.columns)
        self.register_buffer("inner", torch.from_numpy(inner).float(), persistent=False)
        self.register_buffer("outer", torch.from_numpy(outer).float(), persistent=False)
        # For each group of mel bins its filters and the Fourier bins that they use: a fifth of the full product.
        self.bands = [(filters, torch.from_numpy(place[bins])) for filters, bins in filter_bands(self.filters)]

    def forward(self, waveform: Tensor, warp: Warp | None = None) -> Tensor:
        if warp is not None:
            raise ValueError("a portable spectrogram is not warped; train with MelSpectrogram")
        s, samples = self.settings, waveform.shape[-1]
        n2, count = self.columns, waveform.shape[0] * waveform.shape[1]
        # Frames are centred at n_fft // 2; rows before and after the window have no weight and are skipped.
        before = s.n_fft // 2 - self.heard.start * n2
        length = samples + len(self.heard) * n2
        sounds = nn.functional.pad(waveform.flatten(0, 1), (before, length - samples - before + (-length) % n2))
        rows = sounds.reshape(count, -1, n2).transpose(1, 2)  # [sounds, N₂, rows]
        first = nn.functional.conv1d(rows, self.inner, stride=s.hop_length // n2, groups=n2)
        k1 = self.outer.shape[0] // (2 * n2)
        swapped = (
            first.reshape(count, n2, 2, k1, -1).permute(0, 3, 2, 1, 4).flatten(1, 3)
        )  # k₁, then (re, im) of each n₂
        both = nn.functional.conv1d(swapped, self.outer, groups=k1).reshape(count, k1, 2, n2, -1)
        power = (both * both).sum(dim=2).flatten(1, 2)  # [sounds, k₁ · N₂, frames]
        if s.power == 1:
            power = power.sqrt()
        mel = torch.cat([filters @ power.index_select(1, places) for filters, places in self.bands], dim=1)
        return mel[..., : s.frames(samples)].reshape(*waveform.shape[:2], s.n_mels, -1)


def columns_of(settings: MelSettings) -> int:
    """N₂: the common divisor of hop length and n_fft that needs the fewest products."""

    def products(n2: int) -> int:
        return (settings.n_fft // n2 // 2 + 1) * (2 * len(window_rows(settings, n2)) * n2 + (2 * n2) ** 2 * (n2 > 1))

    common = math.gcd(settings.n_fft, settings.hop_length)
    return min((n2 for n2 in range(1, common + 1) if common % n2 == 0), key=products)


def window_rows(settings: MelSettings, n2: int) -> range:
    """The n₁, rows of N₂ samples in a frame, that the window covers."""
    left = (settings.n_fft - settings.win_length) // 2
    return range(left // n2, -(-(left + settings.win_length) // n2))


def transform(settings: MelSettings, n2: int) -> tuple[Floats, Floats, Ints]:
    """The inner sum [N₂ · 2K, 1, rows of the window], the outer sum [K · 2N₂, 2N₂, 1], K = N₁ // 2 + 1, and where among
    its K · N₂ numbers each Fourier bin lies [n_fft // 2 + 1]."""
    n_fft, n1 = settings.n_fft, settings.n_fft // n2
    window, left = np.zeros(n_fft), (n_fft - settings.win_length) // 2
    window[left : left + settings.win_length] = np.hanning(settings.win_length + 1)[:-1]
    k1, column = np.arange(n1 // 2 + 1), np.arange(n2)
    turn = np.exp(-2j * np.pi * np.outer(k1, np.arange(n1)) / n1)
    windowed = (turn[None] * window.reshape(n1, n2).T[:, None])[..., window_rows(settings, n2)]  # [N₂, K, rows]
    inner = np.concatenate([windowed.real, windowed.imag], axis=1).reshape(n2 * 2 * len(k1), 1, -1)
    bins = k1[:, None] + n1 * column  # k of [K, k₂]
    turn = np.exp(-2j * np.pi * bins[:, :, None] * column / n_fft)  # [K, k₂, n₂]
    outer = np.block([[turn.real, -turn.imag], [turn.imag, turn.real]]).reshape(-1, 2 * n2, 1)
    # X[n_fft − k] is the conjugate of X[k]; each bin up to n_fft / 2 is taken once
    _, place = np.unique(np.where(bins > n_fft // 2, n_fft - bins, bins), return_index=True)
    return inner, outer, place


class PortableImage(MelImage):
    """``MelImage`` whose normalisation does not depend on the order of summation: a runtime may add the 40,000 numbers
    of an image one after the other in float32, and the mean of silence (−23) would be off by 0.02. Means by row of the
    differences from the maximum are exact where all values are equal."""

    def _standardised(self, plane: Tensor) -> Tensor:
        highest = plane.amax(dim=(1, 2, 3), keepdim=True)
        below = plane - highest
        mean = below.mean(dim=3, keepdim=True).mean(dim=(1, 2), keepdim=True)
        centred = below - mean
        deviation = centred.square().mean(dim=3, keepdim=True).mean(dim=(1, 2), keepdim=True).sqrt()
        silent = self.is_silent(mean + highest, deviation)
        return torch.where(silent, 0.0, centred / torch.where(silent, 1.0, deviation))


class FixedResize(nn.Module):
    """``interpolate(…, antialias=True)`` of images of one fixed size, as two matrix products."""

    rows: Tensor
    columns: Tensor

    def __init__(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        super().__init__()
        for name, old, new in (("rows", before[0], after[0]), ("columns", before[1], after[1])):
            square = torch.eye(old)[None, None]
            weights = nn.functional.interpolate(square, (new, old), mode="bilinear", antialias=True)[0, 0]
            self.register_buffer(name, weights, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.rows @ image @ self.columns.t()


class Portable(nn.Module):
    """float32 waveform [batch, samples] (several channels: [batch, channels, samples]) of any length, at the rate of
    the settings → probabilities [batch, classes], logits [batch, classes], familiarity [batch].

    It trims, scales and crops the waveform as ``Classifier.predict`` does (``PortableSound``).
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.audio, self.temperature, self.head = classifier.audio, classifier.temperature, classifier.head
        self.directions: Tensor | None
        directions = classifier.directions
        self.register_buffer("directions", None if directions is None else directions.cpu())
        self.plain = [classifier]  # in a list, so that it is no submodule and not exported
        self.network = copy.deepcopy(classifier.network).cpu().float().eval()
        for module in self.network.modules():
            if hasattr(module, "fused_attn"):  # of timm's attention layers: with a mask it can't be exported
                module.fused_attn = False  # type: ignore[assignment]
        self.sound = PortableSound(self.audio)
        self.image = portable_image(classifier.image, self.audio.crop_samples)

    @classmethod
    def of(cls, classifier: Classifier) -> Self:
        """In eval mode, on the CPU."""
        return cls(classifier).eval()

    @property
    def length_axis(self) -> int:
        """The axis of samples in the input."""
        return 1 if self.audio.channels == 1 else 2

    def example(self) -> Tensor:
        """An example input: two clips that are longer than a crop."""
        channels = (self.audio.channels,) if self.audio.channels > 1 else ()
        return torch.randn(2, *channels, self.audio.crop_samples + 1234, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def reference(self, sound: Samples) -> npt.NDArray[np.float32]:
        """Logits [classes] of a waveform [channels, samples] by the original classifier."""
        heard = prepare(Sound(sound, self.audio.rate_hz), self.audio).floats()
        crops = torch.from_numpy(fixed_crops(heard, self.audio))
        answer: npt.NDArray[np.float32] = self.plain[0](crops).mean(dim=0).numpy()
        return answer

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        crops = self.sound(waveform if waveform.ndim == 3 else waveform[:, None])
        features, logits = features_and_logits(self.network, self.image(crops.flatten(0, 1)))
        features, logits = (
            part.reshape(-1, self.audio.score_crops, part.shape[1]).mean(dim=1) for part in (features, logits)
        )
        familiar = torch.ones_like(logits[:, 0])
        if self.directions is not None:
            familiar = familiarity(normalize(features, dim=1), self.directions)
        return self.head.probabilities(logits / self.temperature), logits, familiar


def portable_image(image: MelImage, samples: int) -> MelImage:
    """A ``PortableImage`` that makes the same images, of waveforms of ``samples`` samples."""
    plain = PortableImage(image.settings, image.spectrogram.rate_hz, image.repeat_channels, None)
    plain.spectrogram = PortableSpectrogram(image.settings, image.spectrogram.rate_hz)
    plain.other_resolutions = nn.ModuleList(
        PortableSpectrogram(one.settings, one.rate_hz)
        for one in image.other_resolutions
        if isinstance(one, MelSpectrogram)
    )
    if image.size is not None:
        plain.resize = FixedResize((image.settings.n_mels, image.frames(samples)), image.size)
    return plain.eval()
