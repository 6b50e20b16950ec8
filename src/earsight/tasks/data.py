"""data: list what is known, get it, show how it would be split."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from earsight.dataset.archive import unpack
from earsight.dataset.clip import PARTS, DataSet
from earsight.dataset.download import fetch
from earsight.dataset.leaks import find_leaks
from earsight.dataset.sources import downloaded_folder, known_source, known_sources, read_dataset
from earsight.dataset.split import Split, split
from earsight.dataset.walk import cache_folder
from earsight.errors import DataError, SettingsError
from earsight.tasks.progress import Progress


def get(name: str, *, progress: bool = False) -> Path:
    """Download a known data set from its official address, check it, unpack it into the cache; returns its folder.

    What is there already is not fetched again; what was cut is resumed. Raises DataError, and SettingsError where no
    source has this name.
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
            archives.append(fetch(download, cache_folder() / "downloads" / name, progress=shown.advance))
        shown.start(f"unpacking {name}", 1, in_bytes=True)
        return unpack(archives[0], folder, progress=shown.advance)


def downloaded(place: str | Path, *, progress: bool = False) -> str | Path:
    """``place`` itself, after a download where it is the name of a known data set and nothing of this name is there."""
    if str(place) in known_sources() and not Path(place).exists():
        get(str(place), progress=progress)
    return place


@dataclass(frozen=True)
class Divided:
    """dataset, its split, and the leaks that names, groups and spans betray (in words)."""

    dataset: DataSet
    split: Split
    leaks: tuple[str, ...]

    def to_csv(self) -> str:
        """A table with the column part, which ``earsight train TABLE --split column:part`` carries out."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["part", "path", "label", "group", "fold", "start", "end"])
        for part in PARTS[:1] if self.split.training_score else PARTS:
            for i in getattr(self.split, part):
                clip = self.dataset.clips[i]
                labels = ";".join((clip.label, *clip.more_labels))
                span = ("" if edge is None else edge for edge in (clip.start_s, clip.end_s))
                writer.writerow([part, clip.path.resolve(), labels, clip.group, clip.fold, *span])
        return text.getvalue()


def divide(
    place: str | Path,
    kind: str = "auto",
    *,
    seed: int = 0,
    source: str | None = None,
    group_pattern: str | None = None,
    progress: bool = False,
) -> Divided:
    """How ``place`` would be split. Raises DataError."""
    dataset = read_dataset(downloaded(place, progress=progress), source=source, group_pattern=group_pattern)
    drawn = split(dataset.clips, kind, seed=seed, group_name=dataset.group_name, official=dataset.split)
    leaks = find_leaks(dataset.clips, drawn, dataset.group_name)
    return Divided(dataset, drawn, tuple(f"{leak.why} ({' and '.join(leak.sides)})" for leak in leaks))


def check_output(path: Path) -> None:
    """Raise SettingsError where no file can be written to ``path``: before the work, not after it."""
    if path.is_dir():
        raise SettingsError(f"can't write {path}: it is a folder; name a file")
    if not path.parent.is_dir():
        raise SettingsError(f"can't write {path}: there is no folder {path.parent}; make it first")
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise SettingsError(f"can't write {path}: {error.strerror}; name another file") from error
