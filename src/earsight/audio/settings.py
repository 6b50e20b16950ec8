"""How a recording becomes the waveform that the network hears."""

from pydantic import Field

from earsight.settings import Settings


class AudioSettings(Settings):
    rate_hz: int = Field(16000, gt=0, le=768000)
    """Samples a second that the network hears."""
    channels: int = Field(1, ge=1, le=16)
    """Channels that the network hears; 1 mixes all into one."""
    trim_db: float | None = Field(30.0, gt=0)
    """Cut leading and trailing frames this many dB below the loudest one; none: keep all."""
    peak_normalise: bool = True
    """Scale each clip so that its largest sample is 1."""
    crop_s: float = Field(3.0, gt=0, le=3600)
    """Seconds that the network sees: a random crop in training, the middle otherwise; shorter clips are padded."""

    @property
    def crop_samples(self) -> int:
        return max(1, round(self.crop_s * self.rate_hz))
