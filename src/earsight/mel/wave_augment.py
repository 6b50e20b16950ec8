"""Augmentation of waveforms: gain, polarity, reverberation, backgrounds, noise. Parameters are drawn, then applied."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earsight.mel.settings import AugmentSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_SNR_RANGE_DB = 30.0  # from the strongest to the weakest noise
_BROWN = 2.0  # exponent of brown noise
_SMALLEST = 1e-20


@dataclass(frozen=True)
class Banks:
    """Sounds for augmentation, float32 [channels, samples] each, at the network's rate. rooms: impulse responses."""

    rooms: tuple[Tensor, ...] = ()
    backgrounds: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> "Banks":
        return Banks(*(tuple(sound.to(device) for sound in sounds) for sounds in (self.rooms, self.backgrounds)))


NO_BANKS = Banks()


@dataclass(frozen=True)
class WaveParameters:
    """Parameters of each item of a batch, [batch] each. samples: number of samples at the start of the row that are
    changed. gain: factor, negative to invert the polarity. room, background: index in the bank, −1 for none. place:
    where a background begins, as a share of its length. noise_exponent: β of noise with power 1/f^β. noise_seed: −1 for
    none. background_snr_db, noise_snr_db: power of the clip relative to the added sound."""

    samples: Ints
    gain: Floats
    room: Ints
    background: Ints
    place: Floats
    background_snr_db: Floats
    noise_exponent: Floats
    noise_snr_db: Floats
    noise_seed: Ints

    def take(self, rows: Ints) -> "WaveParameters":
        """These items, in this order."""
        return WaveParameters(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_waves(
    samples: Ints, settings: AugmentSettings, rng: np.random.Generator, banks: Banks = NO_BANKS
) -> WaveParameters | None:
    """samples: int64 [batch], see ``WaveParameters``. Returns None where no augmentation of waveforms is on."""
    batch = len(samples)
    rooms, backgrounds = len(banks.rooms), len(banks.backgrounds)
    if not (settings.gain_db or settings.polarity or settings.noise_share or rooms or backgrounds):
        return None
    gain = 10 ** (rng.uniform(-settings.gain_db, settings.gain_db, batch) / 20)
    sign = np.where(rng.random(batch) < 0.5, -1.0, 1.0) if settings.polarity else np.ones(batch)

    def some(count: int, share: float) -> Ints:
        drawn = rng.integers(0, max(count, 1), batch)
        return np.where((rng.random(batch) < share) & (count > 0), drawn, -1)

    def snr_db(strongest: float) -> Floats:
        return rng.uniform(strongest, strongest + _SNR_RANGE_DB, batch)

    return WaveParameters(
        samples=samples,
        gain=gain * sign,
        room=some(rooms, settings.reverb_share),
        background=some(backgrounds, settings.background_share),
        place=rng.random(batch),
        background_snr_db=snr_db(settings.background_snr_db),
        noise_exponent=rng.uniform(0, _BROWN, batch),
        noise_snr_db=snr_db(settings.noise_snr_db),
        noise_seed=some(2**31 - 1, settings.noise_share),
    )


def apply_waves(waveform: Tensor, waves: WaveParameters, banks: Banks = NO_BANKS) -> Tensor:
    """float32 [batch, channels, samples], same shape: reverberated, mixed with a background and with noise, then
    scaled. Silent clips stay silent, since noise is relative to their power."""
    heard = waveform.clone()
    # Each item in its own length: it must not depend on the longest one of the batch.
    own = [row[:, :count] for row, count in zip(heard, waves.samples.tolist(), strict=True)]
    noisy = np.flatnonzero((waves.background >= 0) | (waves.noise_seed >= 0))
    length = {
        row: _sounding_samples(own[row]) for row in noisy
    }  # before reverberation spreads over the zeros around the clip
    for row in np.flatnonzero(waves.room >= 0):
        own[row].copy_(reverberated(own[row], banks.rooms[waves.room[row]]))
    for row in np.flatnonzero(waves.background >= 0):
        piece = _piece(banks.backgrounds[waves.background[row]], float(waves.place[row]), own[row].shape[1])
        own[row].add_(scaled_to_snr(piece, own[row], length[row], float(waves.background_snr_db[row])))
    for row in np.flatnonzero(waves.noise_seed >= 0):
        noise = coloured_noise(own[row], float(waves.noise_exponent[row]), int(waves.noise_seed[row]))
        own[row].add_(scaled_to_snr(noise, own[row], length[row], float(waves.noise_snr_db[row])))
    return heard * torch.from_numpy(waves.gain).to(heard)[:, None, None]


def _sounding_samples(clip: Tensor) -> Tensor:
    """Number of samples from the first to the last that is not zero, of a clip [channels, samples]: a short clip is
    padded with zeros."""
    heard = (clip != 0).any(dim=0).to(torch.uint8)
    return len(heard) - heard.argmax() - heard.flip(0).argmax()


def scaled_to_snr(added: Tensor, clip: Tensor, sounding: Tensor, snr_db: float) -> Tensor:
    """``added``, scaled to ``snr_db`` below the power of ``clip``, which is averaged over its ``sounding`` samples."""
    power = clip.square().sum() / (sounding * len(clip))
    ratio = power / added.square().mean().clamp_min(_SMALLEST)
    return added * (ratio.sqrt() * 10 ** (-snr_db / 20))


def coloured_noise(like: Tensor, exponent: float, seed: int) -> Tensor:
    """Noise of power 1/f^exponent in the shape of ``like`` [channels, samples]: 0 white, 1 pink, 2 brown."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(like.shape, generator=generator).to(like.device))
    frequency = torch.arange(spectrum.shape[-1], device=like.device).clamp_min(1)
    return torch.fft.irfft(spectrum * frequency ** (-exponent / 2), n=like.shape[-1])


def reverberated(clip: Tensor, room: Tensor) -> Tensor:
    """clip [channels, samples] convolved with the first channel of the room's impulse response, from its loudest sample
    on. Same length and energy."""
    response = room[0, int(room[0].abs().argmax()) :][: clip.shape[1]]
    size = clip.shape[1] + len(response) - 1
    wet = torch.fft.irfft(torch.fft.rfft(clip, size) * torch.fft.rfft(response, size), size)[:, : clip.shape[1]]
    return wet * (clip.square().sum() / wet.square().sum().clamp_min(_SMALLEST)).sqrt()


def _piece(sound: Tensor, place: float, samples: int) -> Tensor:
    """``samples`` samples of a sound [channels, any], from ``place`` on, repeated where it is short."""
    times = -(-samples // sound.shape[1]) + 1
    start = int(place * sound.shape[1])
    return sound.repeat(1, times)[:, start : start + samples]
