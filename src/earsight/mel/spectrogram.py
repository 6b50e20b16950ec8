"""waveform → mel spectrogram: exact (librosa is the oracle of the tests), batched, differentiable."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from earsight.errors import SettingsError
from earsight.mel.settings import MelSettings

_SLANEY_BREAK_HZ = 1000.0
_SLANEY_HZ_PER_MEL = 200.0 / 3
_SLANEY_STEP = math.log(6.4) / 27
_BANDS = 6
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Warp:
    """Tempo and pitch changes of the items of a batch. hop_length: int64 [batch], samples between frames; longer than
    the settings' own means faster. pitch: float64 [batch], factor of all frequencies. Both by the same factor are a
    change of speed. frames: of every image."""

    hop_length: Ints
    pitch: Floats
    frames: int

    @property
    def samples(self) -> Ints:
        """int64 [batch]: samples of each item that the frames cover."""
        return self.frames * self.hop_length - 1

    def take(self, rows: Ints) -> "Warp":
        """These items, in this order."""
        return Warp(self.hop_length[rows], self.pitch[rows], self.frames)


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


def mel_filterbank(settings: MelSettings, rate_hz: int, pitch: float = 1.0) -> npt.NDArray[np.float64]:
    """Triangular filters, float64 [n_mels, n_fft // 2 + 1]. pitch: a component at frequency f counts as at pitch · f
    (Jaitly and Hinton 2013, vocal tract length perturbation)."""
    edges = mel_edges_hz(settings, rate_hz)
    bins_hz = (
        np.linspace(0, rate_hz / 2, settings.n_fft // 2 + 1)
        if settings.n_fft % 2 == 0
        else (np.arange(settings.n_fft // 2 + 1) * rate_hz / settings.n_fft)
    )
    width = np.diff(edges)
    ramps = edges[:, None] - pitch * bins_hz[None, :]
    filters = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]))
    if settings.norm == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return np.asarray(filters)


def decibels(mel: Tensor, power: int, top_db: float = 80.0) -> Tensor:
    """For display: 20·log10 of the magnitude, clipped ``top_db`` below the maximum of each image. Same shape."""
    decibel = 20 / power * mel.clamp_min(1e-10).log10()
    return torch.maximum(decibel, decibel.amax(dim=(-2, -1), keepdim=True) - top_db)


def filter_bands(filters: Tensor) -> list[tuple[Tensor, slice]]:
    """filters [n_mels, bins] → for each group of neighbouring mel bins, in order: its filters [mel bins, Fourier bins]
    and the range of Fourier bins where they are not zero."""
    found = []
    for part in filters.tensor_split(min(_BANDS, len(filters))):
        used = torch.nonzero(part.sum(dim=0)).flatten()
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        found.append((part[:, low:high].contiguous(), slice(low, high)))
    return found


class MelSpectrogram(nn.Module):
    """float32 [batch, channels, samples] → float32 [batch, channels, n_mels, frames], see ``MelSettings.frames``.

    Frames are centred and the ends padded with zeros. Always computed in float32, whatever the precision of the
    network around it.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: MelSettings, rate_hz: int) -> None:
        super().__init__()
        self.settings, self.rate_hz = settings, rate_hz
        self.register_buffer("window", torch.hann_window(settings.win_length), persistent=False)
        filters = torch.from_numpy(mel_filterbank(settings, rate_hz)).float()
        self.register_buffer("filters", filters, persistent=False)
        self._warped: dict[float, Tensor] = {}
        self._bands: dict[float, list[tuple[Tensor, slice]]] = {}

    def empty_bins(self) -> int:
        """Number of mel bins that lie between two Fourier bins, and so are always zero."""
        return int((self.filters.sum(dim=1) == 0).sum())

    def forward(self, waveform: Tensor, warp: Warp | None = None) -> Tensor:
        """warp: of each item, which must begin at sample 0; it is padded with zeros to ``warp.samples``."""
        batch, channels, samples = waveform.shape
        rows = waveform.reshape(batch * channels, samples).float()
        with torch.autocast(waveform.device.type, enabled=False):
            if warp is not None:
                rows = nn.functional.pad(rows, (0, max(0, int(warp.samples.max()) - samples)))
            if rows.is_cpu and not torch.compiler.is_compiling():
                mel = self._mel_row_by_row(rows, channels, warp)
            else:
                mel = self._mel_grouped(rows, channels, warp) if warp else self._mel(rows)
        return mel.reshape(batch, channels, *mel.shape[1:])

    def _mel_row_by_row(self, rows: Tensor, channels: int, warp: Warp | None) -> Tensor:
        """float32 [rows, samples] → float32 [rows, n_mels, frames]. For CPUs: the data of a row stays in the cache, and
        different hops cost nothing (docs/performance.md)."""
        s, samples = self.settings, rows.shape[1]
        half, window = s.n_fft // 2, self._padded_window()
        ways = [(s.hop_length, 1.0, samples)] * len(rows)
        if warp is not None:
            listed = zip(warp.hop_length.tolist(), warp.pitch.tolist(), warp.samples.tolist(), strict=True)
            ways = [way for way in listed for _ in range(channels)]
        mel = []
        for row, (hop_length, pitch, heard) in zip(rows, ways, strict=True):
            frames = nn.functional.pad(row[:heard], (half, half)).unfold(0, s.n_fft, hop_length)
            power = self._power(torch.fft.rfft(frames * window))  # [frames, bins]
            mel.append(torch.cat([part @ power[:, bins].t() for part, bins in self._bands_of(pitch)]))
        return torch.stack(mel)

    def _mel_grouped(self, rows: Tensor, channels: int, warp: Warp) -> Tensor:
        """As ``_mel_row_by_row``, for GPUs, which want few large operations: frames are cut from all rows of one hop at
        once, then transformed and filtered for all rows together."""
        s = self.settings
        half = s.n_fft // 2
        ways = np.repeat(np.stack([warp.hop_length.astype(np.float64), warp.pitch], axis=1), channels, axis=0)
        kinds, kind_of, counts = np.unique(ways, axis=0, return_inverse=True, return_counts=True)
        alike_first = np.argsort(kind_of.reshape(-1))
        order, kind = torch.from_numpy(np.stack([alike_first, kind_of.reshape(-1)[alike_first]])).to(rows.device)
        frames = []
        for alike, hop_length in zip(torch.split(rows[order], counts.tolist()), kinds[:, 0].astype(int), strict=True):
            heard = nn.functional.pad(alike[:, : warp.frames * hop_length - 1], (half, half))
            frames.append(heard.unfold(1, s.n_fft, hop_length))
        power = self._power(torch.fft.rfft(torch.cat(frames) * self._padded_window()))  # [rows, frames, bins]
        filters = torch.stack([self._filters(pitch) for pitch in kinds[:, 1].tolist()])
        return (filters[kind] @ power.mT)[order.argsort()]

    def _padded_window(self) -> Tensor:
        """[n_fft]: the window with zeros around it."""
        around = self.settings.n_fft - self.settings.win_length
        return nn.functional.pad(self.window, (around // 2, around - around // 2))

    def _filters(self, pitch: float) -> Tensor:
        if pitch == 1:
            return self.filters
        with torch.inference_mode(False):  # what is cached is used in training too
            if pitch not in self._warped:
                self._warped[pitch] = torch.from_numpy(mel_filterbank(self.settings, self.rate_hz, pitch)).float()
            self._warped[pitch] = self._warped[pitch].to(self.filters.device)
        return self._warped[pitch]

    def _bands_of(self, pitch: float) -> list[tuple[Tensor, slice]]:
        if pitch not in self._bands:
            with torch.inference_mode(False):  # as above
                self._bands[pitch] = filter_bands(self._filters(pitch))
        return self._bands[pitch]

    def _mel(self, rows: Tensor) -> Tensor:
        """float32 [rows, samples] → float32 [rows, n_mels, frames], all at once."""
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
        return self.filters @ self._power(spectrum)

    def _power(self, spectrum: Tensor) -> Tensor:
        """complex64 → float32 of the same shape: magnitude or squared magnitude."""
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        power = torch.addcmul(real.square(), imaginary, imaginary)  # one pass; abs() or sum(-1) take twice the time
        return power if self.settings.power == 2 else power.sqrt()
