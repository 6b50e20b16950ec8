"""waveform → mel spectrogram: exact (librosa is the oracle of the tests), batched, differentiable."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from earsight.errors import SettingsError
from earsight.mel.settings import MelSettings

_SLANEY_BREAK_HZ = 1000.0
_SLANEY_HZ_PER_MEL = 200.0 / 3
_SLANEY_STEP = math.log(6.4) / 27
_CACHED_BYTES = 2_500_000


def hz_to_mel(hz: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    """HTK: 2595·log10(1 + f/700). Slaney (Auditory Toolbox): 3f/200 below 1 kHz, then 27 mel per factor 6.4."""
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    above = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL + np.log(np.maximum(hz, 1e-10) / _SLANEY_BREAK_HZ) / _SLANEY_STEP
    return np.where(hz < _SLANEY_BREAK_HZ, hz / _SLANEY_HZ_PER_MEL, above)


def mel_to_hz(mel: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    """The inverse of ``hz_to_mel``."""
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
    above = _SLANEY_BREAK_HZ * np.exp(_SLANEY_STEP * (mel - break_mel))
    return np.where(mel < break_mel, mel * _SLANEY_HZ_PER_MEL, above)


def mel_edges_hz(settings: MelSettings, rate_hz: int) -> npt.NDArray[np.float64]:
    """n_mels + 2 frequencies, equally spaced in mel; triangle i rises from [i], peaks at [i+1], ends at [i+2]."""
    nyquist_hz = rate_hz / 2
    top_hz = nyquist_hz if settings.f_max_hz is None else settings.f_max_hz
    if top_hz > nyquist_hz:
        raise SettingsError(f"mel.f_max_hz {top_hz:g} is above half the sample rate ({nyquist_hz:g}); lower it")
    if settings.f_min_hz >= top_hz:
        raise SettingsError(f"mel.f_min_hz {settings.f_min_hz:g} is not below {top_hz:g} Hz; lower it")
    low, high = hz_to_mel(np.array([settings.f_min_hz, top_hz], dtype=np.float64), settings.scale)
    return mel_to_hz(np.linspace(low, high, settings.n_mels + 2), settings.scale)


def mel_filterbank(settings: MelSettings, rate_hz: int) -> npt.NDArray[np.float64]:
    """Triangular filters, float64 [n_mels, n_fft // 2 + 1]."""
    edges = mel_edges_hz(settings, rate_hz)
    bins_hz = (
        np.linspace(0, rate_hz / 2, settings.n_fft // 2 + 1)
        if settings.n_fft % 2 == 0
        else (np.arange(settings.n_fft // 2 + 1) * rate_hz / settings.n_fft)
    )
    width = np.diff(edges)
    ramps = edges[:, None] - bins_hz[None, :]
    filters = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]))
    if settings.norm == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return np.asarray(filters)


def decibels(mel: Tensor, power: int, top_db: float = 80.0) -> Tensor:
    """For the eye: 20·log10 of the magnitude, cut off ``top_db`` below each image's own maximum. Same shape."""
    decibel = 20 / power * mel.clamp_min(1e-10).log10()
    return torch.maximum(decibel, decibel.amax(dim=(-2, -1), keepdim=True) - top_db)


class MelSpectrogram(nn.Module):
    """float32 [batch, channels, samples] → float32 [batch, channels, n_mels, 1 + samples // hop_length].

    Frames are centred and the ends padded with zeros. Always computed in float32, whatever the precision of the
    network around it.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: MelSettings, rate_hz: int) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("window", torch.hann_window(settings.win_length), persistent=False)
        filters = torch.from_numpy(mel_filterbank(settings, rate_hz)).float()
        self.register_buffer("filters", filters, persistent=False)

    def empty_bins(self) -> int:
        """How many mel bins lie between two bins of the Fourier transform, and so are always zero."""
        return int((self.filters.sum(dim=1) == 0).sum())

    def forward(self, waveform: Tensor) -> Tensor:
        batch, channels, samples = waveform.shape
        rows = waveform.reshape(batch * channels, samples).float()
        with torch.autocast(waveform.device.type, enabled=False):
            if rows.is_cpu and not torch.compiler.is_compiling():
                # A few rows at a time stay in the processor's cache: a third of the time of all at once.
                frames_bytes = 4 * self.settings.n_fft * (1 + samples // self.settings.hop_length)
                parts = torch.split(rows, max(1, _CACHED_BYTES // frames_bytes))
                mel = torch.cat([self._mel(part) for part in parts])
            else:
                mel = self._mel(rows)
        return mel.reshape(batch, channels, *mel.shape[1:])

    def _mel(self, rows: Tensor) -> Tensor:
        """float32 [rows, samples] → float32 [rows, n_mels, frames]."""
        s = self.settings
        spectrum = torch.stft(
            rows,
            s.n_fft,
            s.hop_length,
            s.win_length,
            self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )  # [rows, bins, frames]; in memory the bins of a frame lie together
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        power = torch.addcmul(real.square(), imaginary, imaginary)  # one pass; abs() or sum(-1) take twice the time
        values = power if s.power == 2 else power.sqrt()
        return (values.transpose(1, 2) @ self.filters.t()).transpose(1, 2)
