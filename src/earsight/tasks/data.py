"""data: download known data sets, preview splits, add background clips, and show or clear the cache."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from earsight.audio.decode import header_length_s
from earsight.dataset.archive import unpack
from earsight.dataset.background import background
from earsight.dataset.clip import PARTS, Clip, DataSet
from earsight.dataset.download import fetch
from earsight.dataset.leaks import find_leaks
from earsight.dataset.sources import downloaded_folder, known_source, known_sources, read_dataset
from earsight.dataset.sources.rows import is_table
from earsight.dataset.split import Split, split
from earsight.dataset.walk import cache_folder, is_archive, is_recording, store_folder
from earsight.errors import DataError, DiskFullError, SettingsError
from earsight.files import folder_bytes, remove_folder, temporary_path
from earsight.plain import pluralise
from earsight.tasks.clips_table import clips_csv, parts_csv
from earsight.tasks.progress import Progress

P = TypeVar("P", bound=str | Path | DataSet)


def get(name: str, *, progress: bool = False) -> Path:
    """Download a known data set from its official address, check it, unpack it into the cache; returns its folder.

    Nothing is downloaded twice, and a broken transfer is resumed. An archive without a published checksum that does not
    unpack is renamed. Raises DataError, and SettingsError where no source has this name.
    """
    source, folder = known_source(name), downloaded_folder(name)
    if folder.is_dir():
        return folder
    if not source.downloads:
        raise DataError(f"{name} can't be downloaded by a program: {source.how_to_get}")
    with Progress(shown=progress) as shown:
        shown.say(f"{source.title}\nlicence: {source.licence}\ncite: {source.citation}")
        archives = []
        for download in source.downloads:
            shown.start(f"downloading {download.file_name}", 1, in_bytes=True)
            archives.append(fetch(download, cache_folder() / "downloads", progress=shown.advance))
        shown.start(f"unpacking {name}", 1, in_bytes=True)
        try:
            return unpack(archives[0], folder, progress=shown.advance)
        except DataError as error:
            if source.downloads[0].checksum or _is_local_failure(error):
                raise
            aside = archives[0].with_name(f"{archives[0].name}.bad")
            archives[0].replace(aside)
            raise DataError(f"{error}; it was renamed to {aside}, and the next attempt downloads it again") from error


def _is_local_failure(error: DataError) -> bool:
    """Whether unpacking failed for a reason of this machine, so that the archive may be good."""
    return isinstance(error.__cause__, OSError | NotImplementedError) or isinstance(error, DiskFullError)


def ensure_downloaded(place: P, *, progress: bool = False) -> P:
    """``place`` itself, after a download where it is the name of a known data set and nothing of this name is there."""
    if not isinstance(place, DataSet) and str(place) in known_sources() and not Path(place).exists():
        get(str(place), progress=progress)
    return place


@dataclass(frozen=True)
class SplitPreview:
    """A data set with its split. leaks: those by names, groups and spans, in words."""

    dataset: DataSet
    split: Split
    leaks: tuple[str, ...]

    def to_csv(self) -> str:
        """A table with a column part, for ``earsight train TABLE --split column:part``. Raises DataError for text that
        would read back differently."""
        _check_round_trip(self.dataset.clips)
        split = self.split
        return parts_csv(self.dataset.clips, {part: getattr(split, part) for part in PARTS}, whole=split.training_score)

    @property
    def try_split(self) -> str:
        """Arguments for ``--split`` to train on the table; "" where that is refused."""
        if self.leaks:
            return ""
        if self.split.caveat and not self.split.training_score:
            return "column:part --leaks allow"  # shared groups must be allowed again
        return "none" if self.split.training_score else "column:part"


def _check_round_trip(clips: Sequence[Clip]) -> None:
    texts: dict[str, Iterable[str]] = {
        "label": {label for clip in clips for label in clip.labels},
        "group": {clip.group for clip in clips},
        "fold": {clip.fold for clip in clips},
        "path": (str(clip.path) for clip in clips),
    }
    for tag in {tag for clip in clips for tag in clip.tags}:
        texts[f"column {tag!r}"] = {tag, *(clip.tags.get(tag, "") for clip in clips)}
    for what, found in texts.items():
        for text in found:
            if reason := _round_trip_problem(text, what):
                raise DataError(f"can't write the {what} {text!r} so that it reads back the same: {reason}; rename it")


def _round_trip_problem(text: str, what: str) -> str:
    """Why text would read back differently from a table; "" where it would not."""
    if what != "path" and text != text.strip():
        return "it begins or ends with a blank"
    if what == "label" and ";" in text:
        return "a table has several labels with ; between them"
    if "\0" in text or "\r" in text:
        return "it has a control character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return ""


def preview_split(
    place: str | Path,
    kind: str = "auto",
    *,
    seed: int = 0,
    source: str | None = None,
    group_pattern: str | None = None,
    progress: bool = False,
) -> SplitPreview:
    """How ``place`` would be split. Raises DataError."""
    dataset = read_dataset(ensure_downloaded(place, progress=progress), source=source, group_pattern=group_pattern)
    drawn = split(dataset.clips, kind, seed=seed, group_name=dataset.group_name, official=dataset.split)
    leaks = find_leaks(dataset.clips, drawn, dataset.group_name)
    return SplitPreview(dataset, drawn, tuple(f"{leak.why} ({' and '.join(leak.sides)})" for leak in leaks))


@dataclass(frozen=True)
class WithBackground:
    """dataset: as read. clips: its clips and background clips. background: number of the latter."""

    dataset: DataSet
    clips: tuple[Clip, ...]
    background: int

    def to_csv(self) -> str:
        """A table to train on. Raises DataError for text that would read back differently."""
        _check_round_trip(self.clips)
        return clips_csv(self.clips)


def add_background(place: str | Path, *, source: str | None = None, group_pattern: str | None = None) -> WithBackground:
    """The labelled spans of ``place`` with background clips between them (``dataset.background``). Raises DataError
    where there is room for none."""
    dataset = read_dataset(ensure_downloaded(place), source=source, group_pattern=group_pattern, fewest_classes=1)
    found = background(dataset.clips, header_length_s, dataset.empty)
    if not found:
        raise DataError(
            f"there is no room between the annotated spans of {place}: {pluralise(len(dataset.clips), 'clip')} of "
            f"{pluralise(dataset.files, 'recording')}; annotate spans of longer recordings"
        )
    clips = sorted((*dataset.clips, *found), key=lambda clip: (str(clip.path), clip.start_s or 0.0))
    return WithBackground(dataset, tuple(clips), len(found))


def check_output(path: Path, place: Path, *, overwrite: bool, clips: Sequence[Clip] = ()) -> None:
    """Raise SettingsError where ``path`` can't or must not be written, before the work begins.

    overwrite: an existing file may be replaced, unless it may belong to the data: ``place`` or a file below it, a file
    of ``clips``, a recording or an archive.
    """
    try:
        if path.is_dir():
            raise SettingsError(f"can't write {path}: it is a folder; name a file")
        if not path.parent.is_dir():
            raise SettingsError(f"can't write {path}: there is no folder {path.parent}; make it first")
        if path.exists():
            if not path.is_file():
                raise SettingsError(f"can't write {path}: it is a device or pipe; name a file")
            if _belongs_to_data(path, place, clips):
                raise SettingsError(f"can't write {path}: it is a file of the data, or lies among them; name another")
            if not overwrite:
                raise SettingsError(f"{path} is there already; name another file, or pass --overwrite")
        elif is_table(path.name) and place.is_dir() and path.resolve().is_relative_to(place.resolve()):
            raise SettingsError(
                f"can't write {path}: in this folder it would be read instead of the recordings; name another folder"
            )
        part = temporary_path(path)
        with part.open("xb"):
            pass
        part.unlink()
    except OSError as error:
        raise SettingsError(f"can't write {path}: {error.strerror}; name another file") from error


def _belongs_to_data(path: Path, place: Path, clips: Sequence[Clip]) -> bool:
    if is_recording(path.name) or is_archive(path.name) or path.resolve().is_relative_to(place.resolve()):
        return True
    return any(clip.path.name == path.name and clip.path.exists() and clip.path.samefile(path) for clip in clips)


@dataclass(frozen=True)
class CacheEntry:
    """A part of the cache. place: its folder. folders: those of it that may be cleared. fetched: it was downloaded."""

    what: str
    place: Path
    folders: tuple[Path, ...]
    fetched: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(map(folder_bytes, self.folders))

    def clear(self) -> None:
        """Remove the folders. Raises DataError where something can't be removed."""
        for folder in self.folders:
            remove_folder(folder)
            if folder.exists():
                raise DataError(f"could not remove all of {folder}; is it in use, or not yours? remove it by hand")


def cache_entries() -> tuple[CacheEntry, ...]:
    """The parts of the cache; of data sets only those that can be downloaded again, not those put there by hand."""
    home = cache_folder()
    known = tuple(downloaded_folder(name) for name, source in known_sources().items() if source.downloads)
    return (
        CacheEntry("decoded recordings", store_folder(), (store_folder(),)),
        CacheEntry("unpacked archives", home / "unpacked", (home / "unpacked",)),
        CacheEntry("downloaded data sets", home / "data", known, fetched=True),
        CacheEntry("downloads", home / "downloads", (home / "downloads",), fetched=True),
    )
