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
    """Mel bins: the height of the image."""
    n_fft: int = Field(default=1024, ge=8, le=65536)
    """Samples of one Fourier transform."""
    win_length: int = Field(default=512, ge=8, le=65536)
    """Samples of the Hann window, centred in n_fft."""
    hop_length: int = Field(default=160, ge=1)
    """Samples from one frame to the next."""
    f_min_hz: float = Field(default=0.0, ge=0)
    """Lower edge of the lowest mel bin."""
    f_max_hz: float | None = Field(default=None, gt=0)
    """Upper edge of the highest mel bin; none: half the sample rate."""
    scale: Literal["slaney", "htk"] = "slaney"
    """Mel scale: linear below 1 kHz (Slaney), or 2595·log10(1 + f/700) (HTK)."""
    norm: Literal["slaney", "none"] = "slaney"
    """Triangles of equal area, or of equal height."""
    power: Literal[1, 2] = 2
    """1: magnitude, 2: power of the spectrum."""
    values: Literal["linear", "log", "pcen"] = "log"
    """The mel values as they are, their natural logarithm, or per-channel energy normalisation."""
    top_db: float = Field(default=80.0, gt=0)
    """With log: everything further below the image's own maximum is raised to this far below it."""
    normalise: Literal["image", "fixed", "none"] = "image"
    """image: give each image mean 0 and standard deviation 1, so that loudness says nothing; fixed: subtract
    fixed_mean and divide by fixed_deviation, so that it does."""
    fixed_mean: float = -10.0
    """With normalise fixed: what becomes 0."""
    fixed_deviation: float = Field(default=5.0, gt=0)
    """With normalise fixed: what becomes 1."""
    planes: Literal["mel", "deltas", "resolutions"] = "mel"
    """One image; three, with its first and second derivative along time; or three, with windows of half, one and twice
    the length."""

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
    """Move the crop by up to this many seconds, beyond the ends of the clip too."""
    speed: float = Field(default=0.15, ge=0, le=1)
    """Play up to about this share faster or slower, pitch and tempo together, in quarters of a semitone
    (1.5 %); 0.1: between 1/1.1 and 1.1."""
    stretch: float = Field(default=0.0, ge=0, le=1)
    """Change the tempo alone by up to about this share, in the same steps."""
    pitch_semitones: float = Field(default=0.0, ge=0, le=12)
    """Change the pitch alone, up or down by up to this many semitones, in quarters of one."""
    gain_db: float = Field(default=0.0, ge=0, le=60)
    """Louder or quieter by up to this much; an image that is normalised by itself does not show it."""
    polarity: bool = False
    """Turn half of the waveforms upside down."""
    noise_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the clips that get noise, from white to brown."""
    noise_snr_db: float = Field(default=10.0, ge=-20, le=100)
    """Strongest noise: this far below the clip; the weakest is 30 dB further."""
    background: str | None = None
    """A folder of recordings to be mixed in."""
    background_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the clips that get a background, where there is one."""
    background_snr_db: float = Field(default=5.0, ge=-20, le=100)
    """Strongest background: this far below the clip; the weakest is 30 dB further."""
    reverb: str | None = None
    """A folder of impulse responses of rooms."""
    reverb_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the clips that are heard in a room, where there are some."""
    pipeline: str | None = None
    """A file of audiomentations transforms, which every crop goes through first, on the processor."""
    filter_db: float = Field(default=0.0, ge=0, le=60)
    """Raise and lower bands by up to this much, along a random line over the mel bins."""
    mixup_alpha: float = Field(default=0.3, ge=0)
    """Mix pairs of images with a share drawn from Beta(alpha, alpha)."""
    wave_mixup_alpha: float = Field(default=0.0, ge=0)
    """Mix pairs of waveforms likewise. Of several ways to mix that are on, each batch draws one."""
    cutmix_alpha: float = Field(default=0.0, ge=0)
    """Replace a stretch of frames by that of another image; its share from Beta(alpha, alpha)."""
    time_masks: int = Field(default=2, ge=0, le=100)
    """Stretches of frames set to the image's mean (SpecAugment)."""
    time_mask_share: float = Field(default=0.1, ge=0, le=1)
    """Longest stretch, as a share of the frames."""
    freq_masks: int = Field(default=2, ge=0, le=100)
    """Bands of mel bins set to the image's mean."""
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
                    f"{name} {given:g} is less than half a step, of a quarter of a semitone; raise it, or 0"
                )
        return self

    @property
    def warps(self) -> bool:
        """Whether the tempo or the pitch is changed."""
        return bool(self.speed or self.stretch or self.pitch_semitones)
