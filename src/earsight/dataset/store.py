"""Each recording decoded once: 16-bit waveforms at the network's rate, in memory-mapped shards on disk, or in memory.

On disk there is a folder for each way of decoding (settings and library versions); see ``store_backend``.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from earsight.audio.decode import Samples, decode
from earsight.audio.load import prepare
from earsight.audio.settings import AudioSettings
from earsight.audio.sound_stats import sample_digest
from earsight.dataset.clip import Clip, Failure
from earsight.dataset.store_backend import DecodedClip, DiskBackend, Entry, MemoryBackend
from earsight.dataset.walk import ProgressCallback
from earsight.errors import DataError, DecodeError

SHORTEST_S = 0.01
"""Shorter clips are left out."""
_MAX_WAITING = 256
_CLIPS_PER_TASK = 8
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Store:
    """Prepared clips, memory-mapped: reading a crop touches its own pages only.

    clips: those that could be read. origin: index of each in the list that was given. digests: of the decoded samples
    before preparation; "" for silence. failures: clips that could not be read. lengths: samples of each clip. decoded:
    how many were decoded now rather than found. folder: where they are kept; None: in memory.
    """

    settings: AudioSettings
    clips: tuple[Clip, ...]
    origin: tuple[int, ...]
    digests: tuple[str, ...]
    failures: tuple[Failure, ...]
    lengths: Ints
    decoded: int
    folder: Path | None
    _shards: Sequence[npt.NDArray[np.int16]] = field(repr=False)
    _shard_of: Ints = field(repr=False)
    _offsets: Ints = field(repr=False)
    _scales: npt.NDArray[np.float32] = field(repr=False)

    @property
    def index_of(self) -> dict[int, int]:
        """Index in the list that was given → index in the store, of the clips that could be read."""
        return {index: n for n, index in enumerate(self.origin)}

    @property
    def digest_of(self) -> dict[int, str]:
        """Index in the list that was given → digest, "" for silence."""
        return dict(zip(self.origin, self.digests, strict=True))

    @property
    def silent(self) -> int:
        """Number of silent clips."""
        return sum(not digest for digest in self.digests)

    @property
    def duration_s(self) -> float:
        return float(self.lengths.sum()) / self.settings.rate_hz

    def waveform(self, index: int) -> Samples:
        """The whole clip, float32 [channels, samples]."""
        return self._pcm(index) * self._scales[index]

    def crops(self, indices: Ints, starts: Ints, sizes: Ints | None = None, *, out: Samples | None = None) -> Samples:
        """A crop of each clip: float32 [batch, channels, largest size], padded with zeros at the end.

        indices, starts: int64 [batch]. sizes: int64 [batch]; None: ``crop_samples`` each. out: an array of the result's
        shape to fill and return. A clip shorter than its crop is centred in it, and its start counts from there;
        outside of a clip there are zeros.
        """
        if sizes is None:
            sizes = np.full(len(indices), self.settings.crop_samples)
        if out is None:
            out = np.empty((len(indices), self.settings.channels, int(sizes.max(initial=0))), dtype=np.float32)
        middle = np.maximum(0, sizes - self.lengths[indices]) // 2
        for row, index, start, size in zip(out, indices, starts - middle, sizes, strict=True):
            piece = self._pcm(index)[:, max(0, start) : max(0, start + size)]
            before = max(0, -start)
            after = before + piece.shape[1]
            row[:, :before] = 0
            np.multiply(piece, self._scales[index], out=row[:, before:after])
            row[:, after:] = 0
        return out

    def _pcm(self, index: int) -> npt.NDArray[np.int16]:
        offset, count = int(self._offsets[index]), int(self.lengths[index]) * self.settings.channels
        flat = self._shards[self._shard_of[index]][offset : offset + count]
        return flat.reshape(self.settings.channels, -1)


def build_store(
    clips: Sequence[Clip],
    settings: AudioSettings,
    *,
    folder: Path | None = None,
    threads: int = 1,
    strict: bool = False,
    progress: ProgressCallback | None = None,
) -> Store:
    """Decode every clip that is not in the store yet.

    folder: that of all stores; None keeps the waveforms in memory. progress: called with (done, all). strict: raise the
    DecodeError of the first bad file. Raises DataError where the store can't be written.
    """
    try:
        return _build(clips, settings, folder, threads, strict, progress)
    except OSError as error:
        raise DataError(
            f"can't keep decoded recordings in {folder} ({error.strerror}); make room, set EARSIGHT_HOME to another "
            "folder, or pass --no-store to keep them in memory"
        ) from error


def _build(
    clips: Sequence[Clip],
    settings: AudioSettings,
    folder: Path | None,
    threads: int,
    strict: bool,
    progress: ProgressCallback | None,
) -> Store:
    with ExitStack() as stack:
        backend = MemoryBackend() if folder is None else stack.enter_context(DiskBackend.open(folder, settings))
        found: list[Entry] = []
        origin: list[int] = []
        failures: list[Failure] = []
        decoded = 0
        # soundfile and soxr release the interpreter's lock while they work.
        pool = stack.enter_context(cancel_on_error(ThreadPoolExecutor(max(1, threads))))
        for index, loaded in enumerate(_load_clips(pool, clips, settings, backend)):
            if isinstance(loaded, DecodeError):
                if strict:
                    raise loaded
                failures.append(Failure(clips[index].path, str(loaded)))
            else:
                if isinstance(loaded, DecodedClip):
                    decoded += 1
                    found.append(backend.add(loaded))
                else:
                    backend.add_keys(loaded.keys, loaded.entry)  # a file that was moved
                    found.append(loaded.entry)
                origin.append(index)
            if progress:
                progress(index + 1, len(clips))
    names = {name: n for n, name in enumerate(dict.fromkeys(entry.shard for entry in found))}
    return Store(
        settings=settings,
        clips=tuple(clips[index] for index in origin),
        origin=tuple(origin),
        digests=tuple(entry.digest for entry in found),
        failures=tuple(failures),
        lengths=np.array([entry.length for entry in found], dtype=np.int64),
        decoded=decoded,
        folder=backend.folder,
        _shards=[backend.read(name) for name in names],
        _shard_of=np.array([names[entry.shard] for entry in found], dtype=np.int64),
        _offsets=np.array([entry.offset for entry in found], dtype=np.int64),
        _scales=np.array([entry.scale for entry in found], dtype=np.float32),
    )


class _Found(NamedTuple):
    """A clip that is in the store already. keys: by which it can be found again."""

    entry: Entry
    keys: tuple[str, ...]


def _load_clips(
    pool: ThreadPoolExecutor, clips: Sequence[Clip], settings: AudioSettings, backend: "MemoryBackend | DiskBackend"
) -> Iterator[_Found | DecodedClip | DecodeError]:
    """In the order of the clips. A bounded number is decoded ahead, so that a large data set does not fill the
    memory."""

    def load(clip: Clip) -> _Found | DecodedClip | DecodeError:
        try:
            name = backend.source_id(clip)
            keys = backend.keys(clip, name)
            if (entry := backend.find(keys)) is not None:
                return _Found(entry, keys)
            sound = decode(clip.path, clip.start_s or 0.0, clip.end_s)
            digest = sample_digest(sound.samples)  # here, while the samples are in the CPU cache
            pcm = prepare(sound, settings)
        except DecodeError as error:
            return error
        except MemoryError:  # one recording must not end the training of all others
            return DecodeError(f"not enough memory to decode it as a whole: {clip.name}; take spans of it")
        if backend.source_id(clip) != name:
            keys = ()  # the file changed meanwhile: its samples must not be kept under this key
        if pcm.samples.shape[1] < SHORTEST_S * settings.rate_hz:
            return DecodeError(f"shorter than {SHORTEST_S} s: {clip.name}")
        return DecodedClip(pcm, "" if pcm.silent else digest, keys)

    def load_several(several: Sequence[Clip]) -> list[_Found | DecodedClip | DecodeError]:
        return [load(clip) for clip in several]

    # Several clips a task: waking the writing thread costs about as much as trimming a clip.
    tasks = (clips[start : start + _CLIPS_PER_TASK] for start in range(0, len(clips), _CLIPS_PER_TASK))
    waiting: deque[Future[list[_Found | DecodedClip | DecodeError]]] = deque()
    for several in tasks:
        waiting.append(pool.submit(load_several, several))
        if len(waiting) * _CLIPS_PER_TASK >= _MAX_WAITING:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


@contextmanager
def cancel_on_error(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """The pool. On an exception, Ctrl-C included, tasks that have not begun are cancelled and running ones not
    awaited."""
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
