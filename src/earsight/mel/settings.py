"""Settings of the mel image and of its augmentation. No torch here: they are checked before it is imported."""

from typing import Literal, Self

from pydantic import Field, model_validator

from earsight.settings import Settings


class MelSettings(Settings):
    n_mels: int = Field(128, ge=4, le=1024)
    """Mel bins: the height of the image."""
    n_fft: int = Field(1024, ge=8, le=65536)
    """Samples of one Fourier transform."""
    win_length: int = Field(1024, ge=8, le=65536)
    """Samples of the Hann window, centred in n_fft."""
    hop_length: int = Field(160, ge=1)
    """Samples from one frame to the next."""
    f_min_hz: float = Field(0.0, ge=0)
    """Lower edge of the lowest mel bin."""
    f_max_hz: float | None = Field(8000.0, gt=0)
    """Upper edge of the highest mel bin; none: half the sample rate."""
    scale: Literal["slaney", "htk"] = "slaney"
    """Mel scale: linear below 1 kHz (Slaney), or 2595·log10(1 + f/700) (HTK)."""
    norm: Literal["slaney", "none"] = "slaney"
    """Triangles of equal area, or of equal height."""
    power: Literal[1, 2] = 2
    """1: magnitude, 2: power of the spectrum."""
    values: Literal["linear", "log"] = "log"
    """The mel values as they are, or their natural logarithm."""
    top_db: float = Field(80.0, gt=0)
    """With log: everything further below the image's own maximum is raised to this far below it."""
    normalise: bool = True
    """Give each image mean 0 and standard deviation 1."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}; raise n_fft")
        if self.f_max_hz is not None and self.f_max_hz <= self.f_min_hz:
            raise ValueError(f"f_max_hz {self.f_max_hz:g} is not above f_min_hz {self.f_min_hz:g}")
        return self


class AugmentSettings(Settings):
    mixup_alpha: float = Field(0.3, ge=0)
    """Mix pairs of images with a share drawn from Beta(alpha, alpha); 0: off."""
    time_masks: int = Field(2, ge=0)
    """Stretches of frames set to the image's mean (SpecAugment)."""
    time_mask_share: float = Field(0.1, ge=0, le=1)
    """Longest stretch, as a share of the frames."""
    freq_masks: int = Field(2, ge=0)
    """Bands of mel bins set to the image's mean."""
    freq_mask_share: float = Field(0.1, ge=0, le=1)
    """Widest band, as a share of the mel bins."""
