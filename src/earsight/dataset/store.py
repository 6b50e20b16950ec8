"""Each recording decoded once, on all free cores, and kept in memory at the network's rate."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from earsight.audio.decode import Samples, decode
from earsight.audio.facts import sample_digest
from earsight.audio.load import prepare
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip, Failure
from earsight.errors import DecodeError

_SHORTEST_S = 0.01


@dataclass(frozen=True)
class Store:
    """clips: those that could be read. origin: the index of each in the list that was given. waveforms: float32
    [channels, samples] of each. digests: of what was decoded, before anything was changed; "" for silence. failures:
    the clips that could not be read."""

    settings: AudioSettings
    clips: tuple[Clip, ...]
    origin: tuple[int, ...]
    waveforms: tuple[Samples, ...]
    digests: tuple[str, ...]
    failures: tuple[Failure, ...]

    @property
    def silent(self) -> int:
        """How many clips are all zeros."""
        return sum(not digest for digest in self.digests)

    @property
    def duration_s(self) -> float:
        return sum(waveform.shape[1] for waveform in self.waveforms) / self.settings.rate_hz


@contextmanager
def cancelling(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """The pool; on an error or Ctrl-C what has not begun is cancelled, and not waited for."""
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def build_store(
    clips: Sequence[Clip],
    settings: AudioSettings,
    *,
    threads: int = 1,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Decode every clip. progress: called with (done, all). strict: the first bad file raises its DecodeError."""
    origin: list[int] = []
    waveforms: list[Samples] = []
    digests: list[str] = []
    failures: list[Failure] = []

    def load(clip: Clip) -> tuple[Samples, str] | DecodeError:
        try:
            sound = decode(clip.path, clip.start_s or 0.0, clip.end_s)
            waveform = prepare(sound, settings)
        except DecodeError as error:
            return error
        if waveform.shape[1] < _SHORTEST_S * settings.rate_hz:
            return DecodeError(f"shorter than {_SHORTEST_S} s: {clip.name}")
        return waveform, sample_digest(sound.samples) if sound.samples.any() else ""

    # soundfile, soxr and hashlib release the interpreter's lock while they work.
    with cancelling(ThreadPoolExecutor(max(1, threads))) as pool:
        for index, loaded in enumerate(pool.map(load, clips)):
            if isinstance(loaded, DecodeError):
                if strict:
                    raise loaded
                failures.append(Failure(clips[index].path, str(loaded)))
            else:
                origin.append(index)
                waveforms.append(loaded[0])
                digests.append(loaded[1])
            if progress:
                progress(index + 1, len(clips))
    kept = tuple(clips[index] for index in origin)
    return Store(settings, kept, tuple(origin), tuple(waveforms), tuple(digests), tuple(failures))
