"""How a recording becomes the waveform that the network hears."""

from typing import Literal

from pydantic import Field

from earsight.settings import Settings


class AudioSettings(Settings):
    rate_hz: int = Field(default=16000, gt=0, le=768000)
    """Samples a second that the network hears."""
    channels: int = Field(default=1, ge=1, le=16)
    """Channels that the network hears; 1 mixes all into one."""
    trim_db: float | None = Field(default=30.0, gt=0)
    """Cut leading and trailing frames this many dB below the loudest one; none: keep all."""
    short: Literal["whole", "around"] = "around"
    """What becomes of a clip whose sound, when trimmed, is shorter than the crop: it stays whole, so that the crop in
    its middle may miss the sound; or it is cut around its sound, a fifth longer than the crop."""
    peak_normalise: bool = True
    """Scale each clip so that its largest sample is 1."""
    crop_s: float = Field(default=3.0, gt=0, le=3600)
    """Seconds that the network sees: a random crop in training; shorter clips are padded."""

    score_crops: int = Field(default=1, ge=1, le=100)
    """Crops that are scored: the middle, or several from end to end of the clip, whose logits are averaged."""

    @property
    def crop_samples(self) -> int:
        return max(1, round(self.crop_s * self.rate_hz))

    @property
    def shortest_samples(self) -> int:
        """What is left, at least, of a clip that is trimmed and was as long."""
        return self.crop_samples if self.short == "whole" else round(1.2 * self.crop_samples)
