"""mel spectrogram → the image that a timm network takes: values, normalisation, planes, channels, size."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import MelSpectrogram, Warp

_SMALLEST = 1e-10  # floor of the logarithm
_DELTA_FRAMES = 9
# PCEN parameters of Wang et al. 2017 and librosa.pcen, whose full scale is 2³¹.
_PCEN_GAIN, _PCEN_BIAS, _PCEN_POWER, _PCEN_TIME_S, _PCEN_EPS = 0.98, 2.0, 0.5, 0.4, 1e-6
_PCEN_FULL_SCALE = 2.0**31


class MelImage(nn.Module):
    """float32 waveform [batch, channels, samples] → image [batch, channels × image_channels, height, width].

    Items don't depend on each other. Row 0 is the lowest frequency. image_channels: per audio channel, its planes times
    repeat_channels. size: (height, width) that images are resized to; None keeps [n_mels, frames].
    """

    def __init__(
        self,
        settings: MelSettings,
        rate_hz: int,
        repeat_channels: int = 1,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.spectrogram = MelSpectrogram(settings, rate_hz)
        self.other_resolutions = nn.ModuleList(
            MelSpectrogram(settings.with_window(factor), rate_hz)
            for factor in ((0.5, 2.0) if settings.planes == "resolutions" else ())
        )
        self.repeat_channels = repeat_channels
        self.image_channels = repeat_channels * settings.plane_count
        self.size = size
        self.resize: nn.Module = Resize(size) if size else nn.Identity()
        self.frame_rate_hz = rate_hz / settings.hop_length

    def image_size(self, samples: int) -> tuple[int, int]:
        """(height, width) of the image of a waveform of ``samples`` samples."""
        return self.size or (self.settings.n_mels, self.frames(samples))

    def frames(self, samples: int) -> int:
        """Frames of the mel spectrogram of ``samples`` samples."""
        return self.settings.frames(samples)

    def forward(self, waveform: Tensor, warp: Warp | None = None, band_gain: Tensor | None = None) -> Tensor:
        """warp, band_gain: of augmentation. warp: see ``MelSpectrogram``. band_gain: float [batch, n_mels], factors of
        the mel bins."""
        planes = [
            self._normalised(self._values(front_end(waveform, warp), band_gain))
            for front_end in (self.spectrogram, *self.other_resolutions)
        ]
        if self.settings.planes == "deltas":
            slopes = [delta(planes[0], order) for order in (1, 2)]
            planes += [self._standardised(slope) if self.settings.normalise == "image" else slope for slope in slopes]
        image = torch.cat(planes, dim=1) if len(planes) > 1 else planes[0]
        image = self.resize(image)
        return image.repeat(1, self.repeat_channels, 1, 1) if self.repeat_channels > 1 else image

    def _values(self, mel: Tensor, band_gain: Tensor | None) -> Tensor:
        if band_gain is not None:
            mel = mel * band_gain[:, None, :, None]
        if self.settings.values == "pcen":
            return pcen(mel.sqrt() if self.settings.power == 2 else mel, self.frame_rate_hz)
        if self.settings.values == "linear":
            return mel
        lowest = 10 ** (-self.settings.top_db / 10 * self.settings.power / 2)
        return torch.maximum(mel, mel.amax(dim=(1, 2, 3), keepdim=True) * lowest).clamp_min(_SMALLEST).log()

    def _normalised(self, plane: Tensor) -> Tensor:
        if self.settings.normalise == "none":
            return plane
        if self.settings.normalise == "fixed":
            return (plane - self.settings.fixed_mean) / self.settings.fixed_deviation
        return self._standardised(plane)

    def _standardised(self, plane: Tensor) -> Tensor:
        mean = plane.mean(dim=(1, 2, 3), keepdim=True)
        centred = plane - mean
        deviation = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()  # std() is five times as slow
        return centred / deviation.masked_fill(self.is_silent(mean, deviation), math.inf)

    def is_silent(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """bool, of the shape of both: whether a plane is constant but for rounding errors of its mean. It becomes
        zeros. The logarithm of silence is about −23, hence the absolute limit; other values may be arbitrarily
        small."""
        least = 1e-5 if self.settings.values == "log" else 0.0
        return deviation <= least + 1e-5 * mean.abs()


class Resize(nn.Module):
    """Bilinear, with antialiasing where it shrinks."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image, self.size, mode="bilinear", antialias=True)


def pcen(mel: Tensor, frame_rate_hz: float) -> Tensor:
    """Per-channel energy normalisation (Wang et al. 2017, "Trainable frontend for robust and far-field keyword
    spotting"): (mel / (ε + smooth)^gain + bias)^power − bias^power, where smooth is a running mean that starts with
    the first frame. mel: magnitudes [..., frames]. Same shape."""
    time_frames = _PCEN_TIME_S * frame_rate_hz
    new = (math.sqrt(1 + 4 * time_frames**2) - 1) / (2 * time_frames**2)
    frames = torch.arange(mel.shape[-1], device=mel.device)
    age = frames - frames[:, None]  # [past frame, present frame]
    # smooth[t] = (1 − new) · smooth[t − 1] + new · mel[t], written out for all frames at once
    weights = torch.where(age >= 0, new * (1 - new) ** age.clamp_min(0), 0.0)
    weights[0] = weights[0] / new
    scaled = mel * _PCEN_FULL_SCALE
    smooth = scaled @ weights.to(mel.dtype)
    steady = (-_PCEN_GAIN * (_PCEN_EPS + smooth).log()).exp()
    return (scaled * steady + _PCEN_BIAS) ** _PCEN_POWER - _PCEN_BIAS**_PCEN_POWER


def delta(plane: Tensor, order: int) -> Tensor:
    """The first or second derivative per frame, of a polynomial of that order fitted to nine frames (Savitzky and Golay
    1964, as librosa.feature.delta), with the first and last frame repeated at the ends. [..., frames], same shape."""
    half = _DELTA_FRAMES // 2
    powers = np.vander(np.arange(-half, half + 1), order + 1, increasing=True)
    kernel = torch.from_numpy(math.factorial(order) * np.linalg.pinv(powers)[order]).to(plane)
    rows = nn.functional.pad(plane.reshape(-1, 1, plane.shape[-1]), (half, half), mode="replicate")
    return nn.functional.conv1d(rows, kernel[None, None]).reshape(plane.shape)
