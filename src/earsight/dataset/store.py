"""Each recording decoded once, on all free cores, and kept in memory at the network's rate."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from earsight.audio.decode import Samples
from earsight.audio.load import load_waveform
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip, Failure
from earsight.errors import DecodeError

_SHORTEST_S = 0.01


@dataclass(frozen=True)
class Store:
    """waveforms: one float32 [channels, samples] a clip that could be read. clips: those clips, in the same order.
    failures: the others. silent: how many of the clips are all zeros."""

    settings: AudioSettings
    clips: tuple[Clip, ...]
    waveforms: tuple[Samples, ...]
    failures: tuple[Failure, ...]
    silent: int

    @property
    def duration_s(self) -> float:
        return sum(waveform.shape[1] for waveform in self.waveforms) / self.settings.rate_hz


def build_store(
    clips: Sequence[Clip],
    settings: AudioSettings,
    *,
    threads: int = 1,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Decode every clip. progress: called with (done, all). strict: the first bad file raises its DecodeError."""
    kept: list[Clip] = []
    waveforms: list[Samples] = []
    failures: list[Failure] = []

    def load(clip: Clip) -> Samples | DecodeError:
        try:
            waveform = load_waveform(clip.path, settings)
        except DecodeError as error:
            return error
        if waveform.shape[1] < _SHORTEST_S * settings.rate_hz:
            return DecodeError(f"shorter than {_SHORTEST_S} s: {clip.path}")
        return waveform

    # soundfile and soxr release the interpreter's lock while they work.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done, (clip, loaded) in enumerate(zip(clips, pool.map(load, clips), strict=True), 1):
            if isinstance(loaded, DecodeError):
                if strict:
                    pool.shutdown(cancel_futures=True)
                    raise loaded
                failures.append(Failure(clip.path, str(loaded)))
            else:
                kept.append(clip)
                waveforms.append(loaded)
            if progress:
                progress(done, len(clips))
    silent = sum(not waveform.any() for waveform in waveforms)
    return Store(settings, tuple(kept), tuple(waveforms), tuple(failures), silent)
