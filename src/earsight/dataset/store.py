"""Each recording decoded once: 16-bit waveforms at the network's rate, in memory-mapped shards on disk, or in memory.

On disk there is a folder for each way of decoding (settings and library versions). Every building process writes shards
and an index of its own. A line of the index is written after the samples that it names, so that a stopped build goes on
where it was, two processes may build at once, and half a clip is never read. A shard that was not closed in order, or
was touched since, is checked sum by sum; what does not hold is decoded again.
"""

import hashlib
import json
import os
import secrets
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from earsight.audio.decode import Samples, decode
from earsight.audio.facts import sample_digest
from earsight.audio.load import Pcm, prepare
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip, Failure
from earsight.dataset.walk import Advance
from earsight.errors import DataError, DecodeError

FORMAT = 4
SHORTEST_S = 0.01
"""Shorter clips are left out."""
_SHARD_BYTES = 256 * 2**20
_SYNC_BYTES = 32 * 2**20
_AHEAD = 256
_AT_ONCE = 8
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Store:
    """Clips as they are heard, read from where they lie: a crop touches its own pages only.

    clips: those that could be read. origin: the index of each in the list that was given. digests: of what was decoded,
    before anything was changed; "" for silence. failures: the clips that could not be read. lengths: samples of each.
    decoded: how many were decoded now, and not found in a store. folder: where they lie; None: in memory.
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
    def place(self) -> dict[int, int]:
        """Index in the list that was given → index here, of the clips that could be read."""
        return {index: n for n, index in enumerate(self.origin)}

    @property
    def digest_of(self) -> dict[int, str]:
        """Index in the list that was given → digest, "" for silence."""
        return dict(zip(self.origin, self.digests, strict=True))

    @property
    def silent(self) -> int:
        """How many clips are all zeros."""
        return sum(not digest for digest in self.digests)

    @property
    def duration_s(self) -> float:
        return float(self.lengths.sum()) / self.settings.rate_hz

    def waveform(self, index: int) -> Samples:
        """All of a clip: float32 [channels, samples]."""
        return self._pcm(index) * self._scales[index]

    def crops(self, indices: Ints, starts: Ints, sizes: Ints | None = None, *, out: Samples | None = None) -> Samples:
        """Of each clip so many samples from its start: float32 [batch, channels, most samples], zeros after the fewer.

        sizes: int64 [batch], otherwise ``crop_samples`` each. out: an array of that shape to be filled and returned,
        otherwise a new one. A clip shorter than its crop lies in the middle of it, and starts are counted from there;
        what lies before a clip or after it is zeros.
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


class _Entry(NamedTuple):
    """One clip in a shard. offset, size: in samples of all channels. length: of one channel. sum: XXH3 of the bytes."""

    shard: str
    offset: int
    size: int
    length: int
    scale: float
    digest: str
    sum: int


def build_store(
    clips: Sequence[Clip],
    settings: AudioSettings,
    *,
    folder: Path | None = None,
    threads: int = 1,
    strict: bool = False,
    progress: Advance | None = None,
) -> Store:
    """Decode every clip that is not in the store yet.

    folder: of all stores; None keeps the waveforms in memory. progress: called with (done, all). strict: the first bad
    file raises its DecodeError. Raises DataError where the store can't be written.
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
    progress: Advance | None,
) -> Store:
    with ExitStack() as stack:
        shelf = _Memory() if folder is None else stack.enter_context(_Disk.opened(folder, settings))
        found: list[_Entry] = []
        origin: list[int] = []
        failures: list[Failure] = []
        decoded = 0
        # soundfile and soxr release the interpreter's lock while they work.
        pool = stack.enter_context(cancelling(ThreadPoolExecutor(max(1, threads))))
        for index, loaded in enumerate(_loaded(pool, clips, settings, shelf)):
            if isinstance(loaded, DecodeError):
                if strict:
                    raise loaded
                failures.append(Failure(clips[index].path, str(loaded)))
            else:
                if isinstance(loaded, _Decoded):
                    decoded += 1
                    found.append(shelf.add(loaded))
                else:
                    shelf.note(loaded.keys, loaded.entry)  # a file that was moved
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
        folder=shelf.folder,
        _shards=[shelf.read(name) for name in names],
        _shard_of=np.array([names[entry.shard] for entry in found], dtype=np.int64),
        _offsets=np.array([entry.offset for entry in found], dtype=np.int64),
        _scales=np.array([entry.scale for entry in found], dtype=np.float32),
    )


class _Found(NamedTuple):
    """keys: under which the clip can be found again."""

    entry: _Entry
    keys: tuple[str, ...]


class _Decoded(NamedTuple):
    """keys: under which the clip can be found again."""

    pcm: Pcm
    digest: str
    keys: tuple[str, ...]


def _loaded(
    pool: ThreadPoolExecutor, clips: Sequence[Clip], settings: AudioSettings, shelf: "_Memory | _Disk"
) -> Iterator[_Found | _Decoded | DecodeError]:
    """In the order of the clips, a bounded number ahead: a large data set does not wait in memory to be written."""

    def load(clip: Clip) -> _Found | _Decoded | DecodeError:
        try:
            name = shelf.name_of(clip)
            keys = shelf.keys(clip, name)
            if (entry := shelf.find(keys)) is not None:
                return _Found(entry, keys)
            sound = decode(clip.path, clip.start_s or 0.0, clip.end_s)
            digest = sample_digest(sound.samples)  # here, while they are in the processor's cache
            pcm = prepare(sound, settings)
        except DecodeError as error:
            return error
        if shelf.name_of(clip) != name:
            keys = ()  # written to meanwhile: what was heard is not what will be found under this name
        if pcm.samples.shape[1] < SHORTEST_S * settings.rate_hz:
            return DecodeError(f"shorter than {SHORTEST_S} s: {clip.name}")
        return _Decoded(pcm, "" if pcm.silent else digest, keys)

    def load_several(several: Sequence[Clip]) -> list[_Found | _Decoded | DecodeError]:
        return [load(clip) for clip in several]

    # Several at once: each waking of the thread that writes costs about what trimming a clip does.
    tasks = (clips[start : start + _AT_ONCE] for start in range(0, len(clips), _AT_ONCE))
    waiting: deque[Future[list[_Found | _Decoded | DecodeError]]] = deque()
    for several in tasks:
        waiting.append(pool.submit(load_several, several))
        if len(waiting) * _AT_ONCE >= _AHEAD:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


@contextmanager
def cancelling(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """The pool; on an error or Ctrl-C what has not begun is cancelled, and not waited for."""
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class _Memory:
    """Keeps waveforms without a file: each is a shard of its own."""

    folder = None

    def __init__(self) -> None:
        self._kept: list[npt.NDArray[np.int16]] = []

    def name_of(self, clip: Clip) -> str:
        return ""

    def keys(self, clip: Clip, name: str) -> tuple[str, ...]:
        return ()

    def find(self, keys: tuple[str, ...]) -> _Entry | None:
        return None

    def note(self, keys: tuple[str, ...], entry: _Entry) -> None:
        pass

    def add(self, decoded: _Decoded) -> _Entry:
        self._kept.append(decoded.pcm.samples.reshape(-1))
        name = str(len(self._kept) - 1)
        pcm = decoded.pcm
        return _Entry(name, 0, pcm.samples.size, pcm.samples.shape[1], pcm.scale, decoded.digest, 0)

    def read(self, shard: str) -> npt.NDArray[np.int16]:
        return self._kept[int(shard)]


class _Disk:
    """The store of one way of decoding: what other processes left there, and what this one adds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = _read_indices(folder)
        self._own = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._shard: IO[bytes] | None = None
        self._number = 0
        self._pending: list[str] = []
        self._unsynced = 0

    @classmethod
    @contextmanager
    def opened(cls, root: Path, settings: AudioSettings) -> Iterator["_Disk"]:
        """Whatever ends the build, what was decoded until then can be found again."""
        folder = root / store_key(settings)
        folder.mkdir(parents=True, exist_ok=True)
        shelf = cls(folder)
        try:
            yield shelf
        finally:
            shelf.close()

    def name_of(self, clip: Clip) -> str:
        """Path, size, date and span; "" for what is no file."""
        try:
            found = clip.path.stat()
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            return ""
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return ""
        span = "" if clip.start_s is None and clip.end_s is None else f"|{clip.start_s}|{clip.end_s}"
        return f"{clip.path.absolute()}|{found.st_size}|{found.st_mtime_ns}{span}"

    def keys(self, clip: Clip, name: str) -> tuple[str, ...]:
        """By name; where that is not known also by content, so that a moved file is found again. The content of a file
        of which a span is wanted is not read: it may be hours long."""
        if not name or name in self._entries or clip.start_s is not None or clip.end_s is not None:
            return (name,) if name else ()
        try:
            content = clip.path.read_bytes()
        except OSError:
            return (name,)  # decoding it will say what is wrong
        return (name, f"content|{xxhash.xxh3_128_hexdigest(content)}")

    def find(self, keys: tuple[str, ...]) -> _Entry | None:
        return next((self._entries[key] for key in keys if key in self._entries), None)

    def add(self, decoded: _Decoded) -> _Entry:
        data = np.ascontiguousarray(decoded.pcm.samples).data.cast("B")
        if self._shard is None or self._shard.tell() + len(data) > max(_SHARD_BYTES, len(data)):
            self._seal()
            self._shard = (self.folder / f"shard-{self._own}-{self._number:05}.pcm").open("wb")
            self._number += 1
        name, offset = Path(self._shard.name).name, self._shard.tell() // 2
        self._shard.write(data)
        pcm = decoded.pcm
        size, length = pcm.samples.size, pcm.samples.shape[1]
        entry = _Entry(name, offset, size, length, pcm.scale, decoded.digest, xxhash.xxh3_64_intdigest(data))
        self.note(decoded.keys, entry)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_BYTES:
            self._sync()
        return entry

    def note(self, keys: tuple[str, ...], entry: _Entry) -> None:
        """A line of the index to be written."""
        if keys and keys[0] not in self._entries:
            self._entries |= dict.fromkeys(keys, entry)
            self._pending.append(json.dumps({"keys": keys, "entry": entry}))

    def _sync(self) -> None:
        """First the samples, then the lines that name them."""
        if self._shard is not None:
            self._shard.flush()
            os.fsync(self._shard.fileno())
        if not self._pending:
            return
        with (self.folder / f"index-{self._own}.jsonl").open("a", encoding="utf-8") as index:
            index.writelines(f"{line}\n" for line in self._pending)
        self._pending.clear()
        self._unsynced = 0

    def _seal(self) -> None:
        """Say that this shard is whole and how it looks from outside."""
        self._sync()
        if self._shard is None:
            return
        self._shard.close()
        path = Path(self._shard.name)
        self._shard = None
        found = path.stat()
        seal = {"seal": path.name, "size": found.st_size, "mtime_ns": found.st_mtime_ns}
        with (self.folder / f"index-{self._own}.jsonl").open("a", encoding="utf-8") as index:
            index.write(json.dumps(seal) + "\n")

    def close(self) -> None:
        self._seal()

    def read(self, shard: str) -> npt.NDArray[np.int16]:
        return np.memmap(self.folder / shard, dtype=np.int16, mode="r")


def store_key(settings: AudioSettings) -> str:
    """The name of a store: everything that the samples in it depend on."""
    facts: dict[str, Any] = {**settings.model_dump(exclude={"score_crops"}), "format": FORMAT}
    if settings.trim_db is None:
        del facts["crop_s"], facts["short"]  # they decide only how short a trimmed clip may be
    facts |= {name: version(name) for name in ("soundfile", "soxr")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _read_indices(folder: Path) -> dict[str, _Entry]:
    """key → entry, of all that can be trusted."""
    lines: list[tuple[list[str], _Entry]] = []
    seals: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("index-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                if "seal" in row:
                    seals[row["seal"]] = (row["size"], row["mtime_ns"])
                else:
                    lines.append((list(row["keys"]), _Entry(*row["entry"])))
            except (ValueError, TypeError, KeyError):  # a line that was cut off, or is not ours
                continue
    good: dict[str, _Entry] = {}
    checked: dict[str, npt.NDArray[np.int16] | None] = {}
    for keys, entry in lines:
        if entry.shard not in checked:
            checked[entry.shard] = _open_unless_sealed(folder / entry.shard, seals.get(entry.shard))
        if _holds(checked[entry.shard], entry):
            good |= dict.fromkeys(keys, entry)
    return good


_SEALED = np.zeros(0, dtype=np.int16)


def _open_unless_sealed(path: Path, seal: tuple[int, int] | None) -> npt.NDArray[np.int16] | None:
    """_SEALED where the shard is as it was when it was closed; its samples where they must be checked; None where
    there is nothing to read."""
    try:
        found = path.stat()
        if seal == (found.st_size, found.st_mtime_ns):
            return _SEALED
        return np.memmap(path, dtype=np.int16, mode="r", shape=(found.st_size // 2,))
    except (OSError, ValueError):
        return None


def _holds(samples: npt.NDArray[np.int16] | None, entry: _Entry) -> bool:
    if samples is None or samples is _SEALED:
        return samples is _SEALED
    data = samples[entry.offset : entry.offset + entry.size]
    return len(data) == entry.size and xxhash.xxh3_64_intdigest(data.data) == entry.sum
