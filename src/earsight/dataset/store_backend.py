"""Where decoded recordings are kept and found again: in shards on disk, or in memory.

Each process writes shards and an index of its own, and a line of the index only after the samples that it refers to. So
a stopped build can be continued, several processes may build at once, and a partial clip is never read. A shard that
was not closed properly, or was changed since, is verified by the checksum of each clip; what fails is decoded again.
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from earsight.audio import containers
from earsight.audio.load import Pcm
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip

FORMAT = 6
_SHARD_BYTES = 256 * 2**20
_SYNC_BYTES = 32 * 2**20


class Entry(NamedTuple):
    """A clip in a shard. offset, size: in samples, counting all channels. length: samples per channel. sum: XXH3 of the
    bytes."""

    shard: str
    offset: int
    size: int
    length: int
    scale: float
    digest: str
    sum: int


class DecodedClip(NamedTuple):
    """digest: of the samples before preparation; "" for silence. keys: by which the clip can be found again."""

    pcm: Pcm
    digest: str
    keys: tuple[str, ...]


class MemoryBackend:
    """Keeps waveforms in memory, each as a shard of its own."""

    folder = None

    def __init__(self) -> None:
        self._kept: list[npt.NDArray[np.int16]] = []

    def source_id(self, clip: Clip) -> str:
        return ""

    def keys(self, clip: Clip, name: str) -> tuple[str, ...]:
        return ()

    def find(self, keys: tuple[str, ...]) -> Entry | None:
        return None

    def add_keys(self, keys: tuple[str, ...], entry: Entry) -> None:
        pass

    def add(self, decoded: DecodedClip) -> Entry:
        self._kept.append(decoded.pcm.samples.reshape(-1))
        name = str(len(self._kept) - 1)
        pcm = decoded.pcm
        return Entry(name, 0, pcm.samples.size, pcm.samples.shape[1], pcm.scale, decoded.digest, 0)

    def read(self, shard: str) -> npt.NDArray[np.int16]:
        return self._kept[int(shard)]


class DiskBackend:
    """The folder of one way of decoding: what earlier processes left there, and what this one adds."""

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
    def open(cls, root: Path, settings: AudioSettings) -> Iterator["DiskBackend"]:
        """Closed on any exit, so that what was decoded until then can be found again."""
        folder = root / store_key(settings)
        folder.mkdir(parents=True, exist_ok=True)
        backend = cls(folder)
        try:
            yield backend
        finally:
            backend.close()

    def source_id(self, clip: Clip) -> str:
        """Path, size, modification time, span, and version of FFmpeg where it decodes the file; "" for what is not a
        file."""
        try:
            found = clip.path.stat()
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            return ""
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return ""
        span = f"|{clip.start_s}|{clip.end_s}" if clip.is_span else ""
        return f"{clip.path.absolute()}|{found.st_size}|{found.st_mtime_ns}{span}{_ffmpeg(clip.path)}"

    def keys(self, clip: Clip, name: str) -> tuple[str, ...]:
        """Keys of a clip: ``name`` (its ``source_id``), and where that is unknown also a hash of the content, so that a
        moved file is found again. Not of spans: their files may be hours long."""
        if not name or name in self._entries or clip.is_span:
            return (name,) if name else ()
        try:
            content = clip.path.read_bytes()
        except OSError:
            return (name,)  # decoding it will say what is wrong
        return (name, f"content|{xxhash.xxh3_128_hexdigest(content)}{_ffmpeg(clip.path)}")

    def find(self, keys: tuple[str, ...]) -> Entry | None:
        return next((self._entries[key] for key in keys if key in self._entries), None)

    def add(self, decoded: DecodedClip) -> Entry:
        data = np.ascontiguousarray(decoded.pcm.samples).data.cast("B")
        if self._shard is None or self._shard.tell() + len(data) > max(_SHARD_BYTES, len(data)):
            self._seal()
            self._shard = (self.folder / f"shard-{self._own}-{self._number:05}.pcm").open("wb")
            self._number += 1
        name, offset = Path(self._shard.name).name, self._shard.tell() // 2
        self._shard.write(data)
        pcm = decoded.pcm
        size, length = pcm.samples.size, pcm.samples.shape[1]
        entry = Entry(name, offset, size, length, pcm.scale, decoded.digest, xxhash.xxh3_64_intdigest(data))
        self.add_keys(decoded.keys, entry)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_BYTES:
            self._sync()
        return entry

    def add_keys(self, keys: tuple[str, ...], entry: Entry) -> None:
        """Remember where the clip of these keys is; the line of the index is written by ``_sync``."""
        if keys and keys[0] not in self._entries:
            self._entries |= dict.fromkeys(keys, entry)
            self._pending.append(json.dumps({"keys": keys, "entry": entry}))

    def _sync(self) -> None:
        """Write the samples to disk, then the lines that refer to them."""
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
        """Close the shard and record its size and modification time, which prove later that it is complete."""
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


def _ffmpeg(path: Path) -> str:
    """Version of PyAV for a file that it decodes, else "". In the keys and not in the name of the store, since most
    data sets have no such file."""
    return f"|av {version('av')}" if path.suffix.lower() in containers.SUFFIXES and containers.can_read() else ""


def store_key(settings: AudioSettings) -> str:
    """Name of the folder: a hash of everything that its samples depend on."""
    facts: dict[str, Any] = {**settings.model_dump(exclude={"score_crops"}), "format": FORMAT}
    if settings.trim_db is None:
        del facts["crop_s"], facts["short"]  # they only matter for trimming
    facts |= {name: version(name) for name in ("soundfile", "soxr")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _read_indices(folder: Path) -> dict[str, Entry]:
    """key → entry, of all clips whose samples are intact."""
    lines: list[tuple[list[str], Entry]] = []
    seals: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("index-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                if "seal" in row:
                    seals[row["seal"]] = (row["size"], row["mtime_ns"])
                else:
                    lines.append((list(row["keys"]), Entry(*row["entry"])))
            except (ValueError, TypeError, KeyError):  # a line that was cut off or is of something else
                continue
    good: dict[str, Entry] = {}
    checked: dict[str, npt.NDArray[np.int16] | None] = {}
    for keys, entry in lines:
        if entry.shard not in checked:
            checked[entry.shard] = _open_unless_sealed(folder / entry.shard, seals.get(entry.shard))
        if _is_intact(checked[entry.shard], entry):
            good |= dict.fromkeys(keys, entry)
    return good


_SEALED = np.zeros(0, dtype=np.int16)


def _open_unless_sealed(path: Path, seal: tuple[int, int] | None) -> npt.NDArray[np.int16] | None:
    """_SEALED where the shard is unchanged since it was closed; its samples where they must be verified; None where it
    can't be read."""
    try:
        found = path.stat()
        if seal == (found.st_size, found.st_mtime_ns):
            return _SEALED
        return np.memmap(path, dtype=np.int16, mode="r", shape=(found.st_size // 2,))
    except (OSError, ValueError):
        return None


def _is_intact(samples: npt.NDArray[np.int16] | None, entry: Entry) -> bool:
    if samples is None or samples is _SEALED:
        return samples is _SEALED
    data = samples[entry.offset : entry.offset + entry.size]
    return len(data) == entry.size and xxhash.xxh3_64_intdigest(data.data) == entry.sum
