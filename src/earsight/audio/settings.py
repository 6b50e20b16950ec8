"""How a recording becomes the waveform that the network hears."""

from typing import Literal

from pydantic import Field

from earsight.settings import Settings


class AudioSettings(Settings):
    rate_hz: int = Field(default=16000, gt=0, le=768000)
    """Sample rate in Hz to which recordings are resampled."""
    channels: int = Field(default=1, ge=1, le=16)
    """Number of audio channels; 1 mixes all into one."""
    trim_db: float | None = Field(default=30.0, gt=0)
    """Trim leading and trailing frames this many dB below the loudest one; none: no trimming."""
    short: Literal["whole", "around"] = "around"
    """If the trimmed sound is shorter than 1.2 crops: whole keeps the untrimmed clip, whose middle crop may miss the
    sound; around keeps 1.2 crops centred on the sound."""
    peak_normalise: bool = True
    """Scale each clip so that its largest sample is 1."""
    crop_s: float = Field(default=3.0, gt=0, le=3600)
    """Length in seconds of the crop that the network sees, at a random place in training; shorter clips are padded."""

    score_crops: int = Field(default=1, ge=1, le=100)
    """Number of crops to score: 1 takes the middle; more are spread from end to end of the clip, and their logits
    averaged."""

    @property
    def crop_samples(self) -> int:
        return max(1, round(self.crop_s * self.rate_hz))

    @property
    def shortest_samples(self) -> int:
        """What is left, at least, of a clip that is trimmed and was as long."""
        return self.crop_samples if self.short == "whole" else round(1.2 * self.crop_samples)
