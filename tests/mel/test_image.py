import librosa
import numpy as np
import pytest
import torch

from earsight.mel.image import MelImage, delta, pcen
from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import MelSpectrogram, Warp


def waveforms(batch: int, channels: int = 1, samples: int = 8000) -> torch.Tensor:
    return 0.3 * torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(1))


def test_normalised_image_has_mean_zero_and_deviation_one() -> None:
    image = MelImage(MelSettings(), 16000)(waveforms(2))
    assert image.mean(dim=(1, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(image.std(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_nothing_lies_further_below_the_maximum_than_top_db(power: int) -> None:
    settings = MelSettings(normalise="none", top_db=30.0, power=power)
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


@pytest.mark.parametrize("values", ["linear", "log", "pcen"])
def test_silence_is_a_number(values: str) -> None:
    image = MelImage(MelSettings(values=values), 16000)(torch.zeros(1, 1, 8000))
    assert torch.equal(image, torch.zeros_like(image))


@pytest.mark.parametrize("power", [1, 2])
def test_quiet_sound_is_no_silence_in_linear_values_either(power: int) -> None:
    sound = torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0))
    image = MelImage(MelSettings(values="linear", power=power), 16000)
    assert torch.allclose(image(1e-4 * sound), image(sound), atol=1e-3)


def test_channels_repeat_and_fixed_size() -> None:
    image = MelImage(MelSettings(), 16000, repeat_channels=3, size=(224, 96))(waveforms(2))
    assert image.shape == (2, 3, 224, 96)
    assert torch.equal(image[:, 0], image[:, 2])
    assert MelImage(MelSettings(), 16000, repeat_channels=2)(waveforms(2, 2)).shape == (2, 4, 128, 51)


def test_a_fixed_normalisation_keeps_loudness() -> None:
    settings = MelSettings(normalise="fixed", fixed_mean=-3.0, fixed_deviation=2.0, top_db=200.0)
    image, plain = MelImage(settings, 16000), MelImage(settings.model_copy(update={"normalise": "none"}), 16000)
    assert torch.allclose(image(waveforms(1)), (plain(waveforms(1)) + 3) / 2)
    louder = image(10 * waveforms(1)) - image(waveforms(1))
    assert torch.allclose(louder, torch.full_like(louder, np.log(100) / 2), atol=1e-3)


@pytest.mark.parametrize("hop_s", [0.01, 0.032])
def test_pcen_is_that_of_librosa(hop_s: float) -> None:
    mel = np.random.default_rng(0).gamma(0.5, 1e-3, (6, 200)).astype(np.float32)
    mel[:, 80:120] = 0
    hop = round(16000 * hop_s)
    scaled = mel.astype(np.float64) * 2**31
    new = librosa.time_to_frames(0.4, sr=16000, hop_length=hop)
    b = (np.sqrt(1 + 4 * (0.4 / hop_s) ** 2) - 1) / (2 * (0.4 / hop_s) ** 2)
    assert abs(new - 0.4 / hop_s) < 1
    theirs = librosa.pcen(scaled, sr=16000, hop_length=hop, b=b, zi=(1 - b) * scaled[:, :1])  # begins with frame 0
    ours = pcen(torch.from_numpy(mel)[None], 16000 / hop)[0].numpy()
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("order", [1, 2])
def test_deltas_are_those_of_librosa(order: int) -> None:
    plane = torch.randn(2, 1, 5, 40, generator=torch.Generator().manual_seed(0))
    theirs = librosa.feature.delta(plane.numpy(), order=order, mode="nearest")
    assert np.allclose(delta(plane, order).numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_three_planes_of_deltas(channels: int) -> None:
    image = MelImage(MelSettings(planes="deltas"), 16000)(waveforms(2, channels))
    assert image.shape == (2, 3 * channels, 128, 51)
    mel = MelImage(MelSettings(), 16000)(waveforms(2, channels))
    assert torch.equal(image[:, :channels], mel)
    slope = delta(mel, 1)
    slope = slope - slope.mean((1, 2, 3), keepdim=True)
    expected = slope / slope.std((1, 2, 3), correction=0, keepdim=True)
    assert torch.allclose(image[:, channels : 2 * channels], expected, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop"), [(882, 441), (1023, 160), (1024, 160)])
@pytest.mark.parametrize("planes", ["mel", "resolutions"])
def test_an_image_is_as_wide_as_it_says(planes: str, n_fft: int, hop: int) -> None:
    settings = MelSettings(planes=planes, n_fft=n_fft, win_length=400, hop_length=hop, n_mels=20)
    for samples in (8820, 16000, 16001):
        image = MelImage(settings, 16000)
        assert image(torch.zeros(1, 1, samples)).shape[2:] == image.image_size(samples)


def test_three_planes_of_resolutions() -> None:
    settings = MelSettings(planes="resolutions", win_length=512)
    image = MelImage(settings, 16000)(waveforms(2))
    assert image.shape == (2, 3, 128, 51)
    for plane, (window, n_fft) in enumerate([(512, 1024), (256, 512), (1024, 2048)]):
        alone = MelImage(MelSettings(win_length=window, n_fft=n_fft), 16000)(waveforms(2))
        assert torch.equal(image[:, plane : plane + 1], alone)


@pytest.mark.parametrize("power", [1, 2])
def test_nothing_lies_further_below_the_maximum_than_top_db_in_any_channel(power: int) -> None:
    settings = MelSettings(normalise="none", top_db=30.0, power=power)
    sound = waveforms(1, 2)
    sound[:, 1] *= 1e-4
    image = MelImage(settings, 16000)(sound)
    decibel = 20 / power * image * torch.log10(torch.tensor(torch.e))
    assert float(decibel.max() - decibel.min()) == pytest.approx(30.0, abs=1e-3)


def test_silence_has_the_logarithm_of_the_smallest_number() -> None:
    image = MelImage(MelSettings(normalise="none"), 16000)(torch.zeros(1, 1, 8000))
    assert torch.allclose(image, torch.full_like(image, np.log(1e-10)))


def test_planes_are_repeated_one_after_the_other() -> None:
    image = MelImage(MelSettings(), 16000, repeat_channels=2)(waveforms(2, 2))
    assert torch.equal(image[:, :2], image[:, 2:])


@pytest.mark.parametrize("hop", [160, 400])
@pytest.mark.parametrize("power", [1, 2])
def test_pcen_hears_magnitudes_at_the_rate_of_the_frames(power: int, hop: int) -> None:
    settings = MelSettings(values="pcen", normalise="none", power=power, hop_length=hop)
    mel = MelSpectrogram(settings, 16000)(waveforms(1))
    expected = pcen(mel.sqrt() if power == 2 else mel, 16000 / hop)
    assert torch.equal(MelImage(settings, 16000)(waveforms(1)), expected)


@pytest.mark.parametrize("normalise", ["fixed", "none"])
def test_slopes_are_those_of_the_image_and_no_further_normalised(normalise: str) -> None:
    settings = MelSettings(planes="deltas", normalise=normalise)
    plain = MelImage(settings.model_copy(update={"planes": "mel"}), 16000)(waveforms(2))
    expected = torch.cat([plain, delta(plain, 1), delta(plain, 2)], dim=1)
    assert torch.equal(MelImage(settings, 16000)(waveforms(2)), expected)


@pytest.mark.parametrize("planes", ["mel", "resolutions"])
def test_every_plane_is_warped(planes: str) -> None:
    settings = MelSettings(planes=planes, values="linear", normalise="none")
    warp = Warp(np.array([160, 200]), np.array([1.0, 1.2]), 40)
    expected = [
        MelSpectrogram(settings.with_window(factor), 16000)(waveforms(2), warp)
        for factor in ((1.0, 0.5, 2.0) if planes == "resolutions" else (1.0,))
    ]
    assert torch.equal(MelImage(settings, 16000)(waveforms(2), warp), torch.cat(expected, dim=1))
