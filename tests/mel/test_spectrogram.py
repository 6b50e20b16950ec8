import warnings

import librosa
import numpy as np
import pytest
import torch

from earsight.errors import SettingsError
from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import MelSpectrogram, Warp, decibels, hz_to_mel, mel_edges_hz, mel_filterbank, mel_to_hz
from tests.conftest import tone
from tests.mel.test_image import waveforms


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("norm", ["slaney", "none"])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(
    ("rate_hz", "n_fft", "win", "hop", "mels", "low", "high"),
    [
        (16000, 1024, 1024, 512, 128, 0, 8000),
        (16000, 1024, 800, 160, 64, 50, None),
        (44100, 2048, 2048, 441, 96, 20, 16000),
        (50, 64, 48, 8, 16, 0, None),
        (16000, 501, 400, 100, 20, 0, 7000),
    ],
)
def test_equals_librosa(
    scale: str,
    norm: str,
    power: int,
    rate_hz: int,
    n_fft: int,
    win: int,
    hop: int,
    mels: int,
    low: float,
    high: float,
) -> None:
    settings = MelSettings(
        n_mels=mels,
        n_fft=n_fft,
        win_length=win,
        hop_length=hop,
        f_min_hz=low,
        f_max_hz=high,
        scale=scale,
        norm=norm,
        power=power,
    )
    sound = np.random.default_rng(1).standard_normal(max(3 * n_fft, 4000)).astype(np.float32)
    ours = MelSpectrogram(settings, rate_hz)(torch.from_numpy(sound)[None, None])[0, 0].numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # empty filters, in both
        theirs = librosa.feature.melspectrogram(
            y=sound,
            sr=rate_hz,
            n_fft=n_fft,
            win_length=win,
            hop_length=hop,
            n_mels=mels,
            fmin=low,
            fmax=high,
            htk=scale == "htk",
            norm="slaney" if norm == "slaney" else None,
            power=power,
        )
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) <= 1e-4 * np.abs(theirs) + 1e-12).all()


def test_tone_peaks_in_its_bin_for_every_frequency() -> None:
    settings = MelSettings(n_mels=40)
    centres = mel_edges_hz(settings, 16000)[1:-1]
    for hz in (440.0, 1000.0, 2500.0, 6000.0):
        image = MelSpectrogram(settings, 16000)(torch.from_numpy(tone(hz, 1.0))[None, None])[0, 0]
        loudest = int(image[:, 20:-20].mean(1).argmax())
        assert loudest == int(np.abs(centres - hz).argmin())


def test_parseval() -> None:
    """With triangles of height 1 and no gaps the mel bins between two edges hold the power of those FFT bins; the
    whole one-sided power spectrum of a frame is n_fft · Σ (window · x)²."""
    settings = MelSettings(n_fft=512, win_length=512, hop_length=512, n_mels=16, norm="none", scale="htk")
    front = MelSpectrogram(settings, 16000)
    front.filters = torch.full((1, 257), 2.0)  # sums the one-sided spectrum twice …
    front.filters[0, [0, 256]] = 1.0  # … but for its two real bins
    sound = torch.from_numpy(np.random.default_rng(0).standard_normal(4096).astype(np.float32))
    powers = front(sound[None, None])[0, 0, 0, 1:-1]
    window = torch.hann_window(512)
    frames = [sound[512 * n - 256 : 512 * n + 256] for n in range(1, 8)]
    expected = torch.stack([512 * (window * frame).square().sum() for frame in frames])
    assert torch.allclose(powers, expected, rtol=1e-5)


def test_scales_by_their_formulas() -> None:
    assert hz_to_mel(np.array([1000.0]), "slaney")[0] == pytest.approx(15.0)
    assert hz_to_mel(np.array([6400.0]), "slaney")[0] == pytest.approx(42.0)
    assert hz_to_mel(np.array([700.0]), "htk")[0] == pytest.approx(2595 * np.log10(2))
    hz = np.linspace(0, 20000, 300)
    for scale in ("slaney", "htk"):
        assert np.allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, atol=1e-6)


def test_filters_peak_at_one_or_have_area_one() -> None:
    flat = mel_filterbank(MelSettings(n_mels=20, n_fft=8192, norm="none"), 16000)
    assert np.abs(flat.max(1) - 1).max() < 0.05
    area = mel_filterbank(MelSettings(n_mels=20, n_fft=8192, norm="slaney"), 16000).sum(1) * 16000 / 8192
    assert np.abs(area - 1).max() < 0.01


def test_several_channels_and_batches_are_independent() -> None:
    front = MelSpectrogram(MelSettings(), 16000)
    batch = torch.randn(3, 2, 8000, generator=torch.Generator().manual_seed(0))
    whole = front(batch)
    assert whole.shape == (3, 2, 128, 1 + 8000 // 160)
    for item in range(3):
        for channel in range(2):
            alone = front(batch[item : item + 1, channel : channel + 1])
            assert torch.allclose(whole[item, channel], alone[0, 0], rtol=1e-5, atol=1e-9)


def test_band_above_nyquist_is_refused() -> None:
    with pytest.raises(SettingsError, match="f_max_hz 8000 is above half the sample rate"):
        MelSpectrogram(MelSettings(f_max_hz=8000), 8000)


def test_a_band_that_ends_where_it_begins_is_refused() -> None:
    for low in (8000, 9000):
        with pytest.raises(SettingsError, match=f"f_min_hz {low} is not below 8000 Hz"):
            MelSpectrogram(MelSettings(f_min_hz=low), 16000)


def test_decibels_reach_down_from_the_maximum_of_each_image() -> None:
    mel = torch.tensor([[[1.0, 1e-2], [1e-4, 0.0]], [[100.0, 1.0], [1.0, 1.0]]])
    assert decibels(mel, 2, 30.0).flatten().tolist() == pytest.approx([0, -20, -30, -30, 20, 0, 0, 0], abs=1e-4)
    assert decibels(mel, 2)[0].flatten().tolist() == pytest.approx([0, -20, -40, -80], abs=1e-4)
    assert decibels(mel, 1, 1000.0)[0].flatten().tolist() == pytest.approx([0, -40, -80, -200], abs=1e-4)


def test_empty_bins_are_those_that_hear_nothing() -> None:
    front = MelSpectrogram(MelSettings(n_fft=256, win_length=256, n_mels=128), 16000)
    heard = front(waveforms(1)).amax(dim=(0, 1, 3))
    assert front.empty_bins() == int((heard == 0).sum()) > 0
    assert MelSpectrogram(MelSettings(n_mels=20), 16000).empty_bins() == 0


def test_zeros_stand_for_what_a_warp_needs_and_a_clip_lacks() -> None:
    warp = Warp(np.array([160, 320]), np.ones(2), 51)
    front, sound = MelSpectrogram(MelSettings(), 16000), waveforms(2)
    longer = torch.nn.functional.pad(sound, (0, 51 * 320 - 8000))
    assert torch.equal(front(sound, warp), front(longer, warp))


def test_gradients_flow_through_a_mel_that_was_heard_in_inference_mode_before() -> None:
    spectrogram = MelSpectrogram(MelSettings(), 16000)
    warp = Warp(np.array([160, 200]), np.array([1.0, 1.1]), 20)
    fresh, heard = (torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    with torch.inference_mode():
        spectrogram(heard, warp)
    spectrogram(heard.requires_grad_(), warp).sum().backward()
    MelSpectrogram(MelSettings(), 16000)(fresh.requires_grad_(), warp).sum().backward()
    assert heard.grad is not None
    assert fresh.grad is not None
    assert torch.equal(heard.grad, fresh.grad)
    assert heard.grad.abs().max() > 0
