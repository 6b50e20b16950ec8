"""Settings of the mel image and of its augmentation. No torch here: they are checked before it is imported."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from earsight.settings import Settings

STEPS_PER_OCTAVE = 48
"""Resolution of random tempo and pitch, so that clips with equal changes can be computed together."""


def octave_steps(octaves: float) -> int:
    """The nearest number of steps."""
    return round(octaves * STEPS_PER_OCTAVE)


class MelSettings(Settings):
    n_mels: int = Field(default=128, ge=4, le=1024)
    """Number of mel bins, the height of the image."""
    n_fft: int = Field(default=1024, ge=8, le=65536)
    """Length of the Fourier transform in samples."""
    win_length: int = Field(default=512, ge=8, le=65536)
    """Length of the Hann window in samples, centred in n_fft."""
    hop_length: int = Field(default=160, ge=1)
    """Samples from one frame to the next."""
    f_min_hz: float = Field(default=0.0, ge=0)
    """Lower edge of the lowest mel bin."""
    f_max_hz: float | None = Field(default=None, gt=0)
    """Upper edge of the highest mel bin; none: half the sample rate."""
    scale: Literal["slaney", "htk"] = "slaney"
    """Mel scale: linear below 1 kHz (Slaney), or 2595·log10(1 + f/700) (HTK)."""
    norm: Literal["slaney", "none"] = "slaney"
    """Triangular mel filters of equal area (slaney) or of equal height (none)."""
    power: Literal[1, 2] = 2
    """Spectrum: 1 is its magnitude, 2 its power."""
    values: Literal["linear", "log", "pcen"] = "log"
    """The mel values themselves (linear), their natural logarithm (log), or per-channel energy normalisation (pcen)."""
    top_db: float = Field(default=80.0, gt=0)
    """With values log: raise whatever is more than this many dB below the image's maximum to that level."""
    normalise: Literal["image", "fixed", "none"] = "image"
    """image: scale each image to mean 0 and standard deviation 1, which discards loudness; fixed: subtract fixed_mean
    and divide by fixed_deviation, which keeps it; none: do neither."""
    fixed_mean: float = -10.0
    """With normalise fixed: the value to subtract."""
    fixed_deviation: float = Field(default=5.0, gt=0)
    """With normalise fixed: the value to divide by."""
    planes: Literal["mel", "deltas", "resolutions"] = "mel"
    """mel: one channel; deltas: its first and second derivative in time as two more; resolutions: three channels, with
    windows of half, one and two times the length."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}; raise n_fft")
        if self.f_max_hz is not None and self.f_max_hz <= self.f_min_hz:
            raise ValueError(f"f_max_hz {self.f_max_hz:g} is not above f_min_hz {self.f_min_hz:g}")
        return self

    @property
    def plane_count(self) -> int:
        """Image planes for each audio channel."""
        return 1 if self.planes == "mel" else 3

    def frames(self, samples: int) -> int:
        """Frames of the mel spectrogram of ``samples`` samples."""
        return 1 + (samples - self.n_fft % 2) // self.hop_length

    def with_window(self, factor: float) -> Self:
        """A copy with windows ``factor`` times as long and the same number of frames."""
        length = max(8, round(factor * self.win_length))
        n_fft = max(8, round(factor * self.n_fft), length)
        return self.model_copy(update={"win_length": length, "n_fft": n_fft + (n_fft + self.n_fft) % 2})


class AugmentSettings(Settings):
    """Every clip draws for itself; what is 0 is off."""

    shift_s: float = Field(default=0.0, ge=0, le=3600)
    """Shift the crop by up to this many seconds, also beyond the ends of the clip."""
    speed: float = Field(default=0.15, ge=0, le=1)
    """Play faster or slower by up to about this share, which changes tempo and pitch together, in steps of a quarter of
    a semitone; 0.1 means from 1/1.1 to 1.1 times the speed."""
    stretch: float = Field(default=0.0, ge=0, le=1)
    """Change the tempo alone by up to about this share, in the same steps."""
    pitch_semitones: float = Field(default=0.0, ge=0, le=12)
    """Change the pitch alone, up or down by up to this many semitones, in the same steps."""
    gain_db: float = Field(default=0.0, ge=0, le=60)
    """Make clips louder or quieter by up to this many dB. With mel.normalise image, linear and log values don't show
    it."""
    polarity: bool = False
    """Invert half of the waveforms."""
    noise_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the clips to which noise is added, from white to brown."""
    noise_snr_db: float = Field(default=10.0, ge=-20, le=100)
    """Lowest signal-to-noise ratio in dB; each clip draws one between this and 30 dB more."""
    background: str | None = None
    """Folder of recordings to mix in."""
    background_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the clips into which a background is mixed, if there are any."""
    background_snr_db: float = Field(default=5.0, ge=-20, le=100)
    """Lowest ratio of clip to background in dB; each clip draws one between this and 30 dB more."""
    reverb: str | None = None
    """Folder of room impulse responses."""
    reverb_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the clips to which a room is applied, if there are any."""
    pipeline: str | None = None
    """File of audiomentations transforms, applied to every crop before all other augmentation, on the CPU."""
    filter_db: float = Field(default=0.0, ge=0, le=60)
    """Raise and lower mel bins by up to this many dB, along a random line."""
    mixup_alpha: float = Field(default=0.3, ge=0)
    """Mix pairs of images, with a share drawn from Beta(alpha, alpha)."""
    wave_mixup_alpha: float = Field(default=0.0, ge=0)
    """Mix pairs of waveforms in the same way. If several ways of mixing are on, each batch draws one."""
    cutmix_alpha: float = Field(default=0.0, ge=0)
    """Replace a stretch of frames by that of another image, with a share drawn from Beta(alpha, alpha)."""
    time_masks: int = Field(default=2, ge=0, le=100)
    """Number of stretches of frames that are set to the image's mean (SpecAugment)."""
    time_mask_share: float = Field(default=0.1, ge=0, le=1)
    """Longest stretch, as a share of the frames."""
    freq_masks: int = Field(default=2, ge=0, le=100)
    """Number of bands of mel bins that are set to the image's mean (SpecAugment)."""
    freq_mask_share: float = Field(default=0.1, ge=0, le=1)
    """Widest band, as a share of the mel bins."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        octaves = {
            "speed": math.log2(1 + self.speed),
            "stretch": math.log2(1 + self.stretch),
            "pitch_semitones": self.pitch_semitones / 12,
        }
        for name, largest in octaves.items():
            if largest and not octave_steps(largest):
                given = getattr(self, name)
                raise ValueError(
                    f"{name} {given:g} is less than half a step (a quarter of a semitone); raise it, or set it to 0"
                )
        return self

    @property
    def warps(self) -> bool:
        """Whether the tempo or the pitch is changed."""
        return bool(self.speed or self.stretch or self.pitch_semitones)
