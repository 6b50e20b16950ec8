"""mel spectrogram → the image that a timm network takes: logarithm, normalisation, channels, size."""

import torch
from torch import Tensor, nn

from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import MelSpectrogram

_SMALLEST = 1e-10


class MelImage(nn.Module):
    """float32 waveform [batch, channels, samples] → image [batch, image_channels, height, width].

    Every item is treated by itself: nothing depends on the batch. Row 0 is the lowest frequency.
    image_channels: channels, or a multiple of it (each is repeated).
    size: (height, width) for networks of fixed input size; None keeps [n_mels, frames].
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
        self.repeat_channels = repeat_channels
        self.size = size

    def image_size(self, samples: int) -> tuple[int, int]:
        """(height, width) of the image of so many samples."""
        return self.size or (self.settings.n_mels, 1 + samples // self.settings.hop_length)

    def forward(self, waveform: Tensor) -> Tensor:
        image = self.spectrogram(waveform)
        if self.settings.values == "log":
            floor = image.amax(dim=(1, 2, 3), keepdim=True) * 10 ** (
                -self.settings.top_db / 10 * self.settings.power / 2
            )
            image = torch.maximum(image, floor).clamp_min(_SMALLEST).log()
        if self.settings.normalise:
            mean = image.mean(dim=(1, 2, 3), keepdim=True)
            deviation = image.std(dim=(1, 2, 3), keepdim=True, correction=0)
            image = (image - mean) / deviation.clamp_min(1e-5)  # silence has no deviation and becomes zeros
        if self.size is not None:
            image = nn.functional.interpolate(image, self.size, mode="bilinear", antialias=True)
        return image.repeat(1, self.repeat_channels, 1, 1) if self.repeat_channels > 1 else image
