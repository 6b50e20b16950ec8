import pytest
import torch

from earsight.mel.image import MelImage
from earsight.mel.settings import MelSettings


def waveforms(batch: int, channels: int = 1, samples: int = 8000) -> torch.Tensor:
    return 0.3 * torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(1))


def test_normalised_image_has_mean_zero_and_deviation_one() -> None:
    image = MelImage(MelSettings(), 16000)(waveforms(2))
    assert image.mean(dim=(1, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(image.std(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_nothing_lies_further_below_the_maximum_than_top_db(power: int) -> None:
    settings = MelSettings(normalise=False, top_db=30.0, power=power)
    quiet_end = waveforms(1)
    quiet_end[..., 4000:] *= 1e-4
    image = MelImage(settings, 16000)(quiet_end)
    decibel = 20 / power * image * torch.log10(torch.tensor(torch.e))
    assert float(decibel.max() - decibel.min()) == pytest.approx(30.0, abs=1e-3)


def test_loudness_changes_a_normalised_log_image_nowhere() -> None:
    image = MelImage(MelSettings(), 16000)
    assert torch.allclose(image(waveforms(1)), image(0.1 * waveforms(1)), atol=1e-3)


def test_neighbours_change_nothing() -> None:
    image = MelImage(MelSettings(), 16000)
    batch = waveforms(4)
    batch[1] *= 1000
    batch[2] = 0
    for item in range(4):
        assert torch.allclose(image(batch)[item], image(batch[item : item + 1])[0], atol=1e-4)


@pytest.mark.parametrize("values", ["linear", "log"])
def test_silence_is_a_number(values: str) -> None:
    image = MelImage(MelSettings(values=values), 16000)(torch.zeros(1, 1, 8000))
    assert torch.equal(image, torch.zeros_like(image))


def test_channels_repeat_and_fixed_size() -> None:
    image = MelImage(MelSettings(), 16000, repeat_channels=3, size=(224, 96))(waveforms(2))
    assert image.shape == (2, 3, 224, 96)
    assert torch.equal(image[:, 0], image[:, 2])
    assert MelImage(MelSettings(), 16000, repeat_channels=2)(waveforms(2, 2)).shape == (2, 4, 128, 51)
