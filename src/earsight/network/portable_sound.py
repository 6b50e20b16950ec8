"""``audio.load`` and ``audio.segment`` for export, from operations that every runtime has: trim, scale, round to 16
bits, crop; each item of a batch by itself."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from earsight.audio.decode import SILENT_PEAK
from earsight.audio.load import INT16_MAX
from earsight.audio.segment import HOP_SAMPLES as HOP
from earsight.audio.settings import AudioSettings

_UNROUNDED = 2.0**100
"""Times this, every float32 beyond 2⁻⁷⁷ is a whole number, and stays what it is."""


class PortableSound(nn.Module):
    """float32 waveforms [batch, channels, samples] of any length → the crops that are scored, float32 [batch,
    score_crops, channels, crop_samples].

    A waveform whose last sample (of its first channel) is NaN consists of concatenated crops that are prepared already:
    it is not trimmed, scaled or rounded. See ``network.exported.mark_prepared``.
    """

    def __init__(self, settings: AudioSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, waveform: Tensor) -> Tensor:
        s, samples = self.settings, waveform.shape[-1]
        prepared = waveform[:, 0, -1].isnan()
        start, end = torch.zeros_like(prepared, dtype=torch.int64), samples - prepared.long()
        # Trimming reads two hops before the waveform and three after it. A short one is centred in its crop.
        missing: Any = torch.sym_max(s.crop_samples - samples, 0)  # not max: in an export this is symbolic
        lead = 2 * HOP + missing // 2
        padded = pad(waveform, (lead, 3 * HOP + missing - missing // 2))
        if s.trim_db is not None:
            start, end = self._trimmed(padded, s.trim_db, prepared, start, end)
        # as ``load.to_pcm`` and ``Pcm.floats`` have it
        peak = waveform.abs().amax(dim=(1, 2))
        silent = peak < SILENT_PEAK
        peak = torch.where(silent, 1.0, peak).double()
        steps = torch.where(prepared, _UNROUNDED, (INT16_MAX / peak).float())
        scale = ((torch.ones_like(peak) if s.peak_normalise else peak) / INT16_MAX).float()
        scale = torch.where(prepared, 1 / _UNROUNDED, torch.where(silent, 0.0, scale))
        rows = (-1, 1, 1, 1)
        return (self._crops(padded, start, end, lead) * steps.view(rows)).round() * scale.view(rows)

    def _trimmed(
        self, padded: Tensor, top_db: float, prepared: Tensor, first: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor]:
        """First sample and end of what is kept, int64 [batch] each: ``segment.trim_silence`` of the samples from first
        to last. Frames of a waveform shorter than a crop lie otherwise than there, but all of it is kept."""
        s, channels = self.settings, self.settings.channels
        energy = conv1d(padded * padded, padded.new_ones(channels, 1, HOP), stride=HOP, groups=channels).double()
        frames = energy[..., :-3] + energy[..., 1:-2] + energy[..., 2:-1] + energy[..., 3:]  # four hops are a frame
        power = frames.amax(dim=1)  # [batch, frames]: one or two more than in segment, parts of the last frame
        loudest = power.amax(dim=1, keepdim=True)
        loud = power > loudest * 10 ** (-top_db / 10)
        place = torch.arange(power.shape[1], device=padded.device)
        start = HOP * torch.where(loud, place, power.shape[1]).amin(dim=1)
        end = torch.minimum(last, HOP * (torch.where(loud, place, -1).amax(dim=1) + 1))
        sounds = (loudest[:, 0] > 0) & (loudest[:, 0] < torch.inf)
        start, end = torch.where(sounds, start, first), torch.where(sounds, end, last)
        enough = ~prepared & (end - start >= s.shortest_samples)
        if s.short == "around":
            around = torch.minimum((start + end - s.shortest_samples) // 2, last - s.shortest_samples)
            around = torch.where(prepared, first, around.clamp_min(0))
            first, last = around, torch.where(prepared, last, torch.minimum(last, around + s.shortest_samples))
        return torch.where(enough, start, first), torch.where(enough, end, last)

    def _crops(self, padded: Tensor, start: Tensor, end: Tensor, lead: int) -> Tensor:
        """``segment.crop_starts`` and ``segment.crop`` of [start, end) of each waveform: float32 [batch, score_crops,
        channels, crop_samples]."""
        size, count = self.settings.crop_samples, self.settings.score_crops
        rest, missing = (end - start - size).clamp_min(0), (size - end + start).clamp_min(0)
        starts = [rest * number // (count - 1) for number in range(count)] if count > 1 else [rest // 2]
        first = lead + start[:, None] + torch.stack(starts, dim=1) - missing[:, None] // 2  # [batch, crops]
        at = (first[..., None] + torch.arange(size, device=padded.device)).flatten(1)
        heard = padded.gather(2, at[:, None].expand(-1, padded.shape[1], -1))
        return heard.reshape(-1, padded.shape[1], count, size).transpose(1, 2)
