"""A place (folder or zip) → DataSet. One file a source."""

from pathlib import Path

from earsight.dataset.clip import DataSet
from earsight.dataset.sources import folder, ravdess
from earsight.dataset.sources.walk import sound_files
from earsight.errors import DataError


def read_dataset(place: str | Path, *, strict: bool = False) -> DataSet:
    """Find the recordings under ``place`` and their labels.

    place: a RAVDESS folder or zip of any nesting, or a folder with one folder a class. The source is recognised
    by the file names. strict: the first bad file is an error instead of an entry in ``failures``.
    Raises DataError where nothing can be trained on: no such place, no sound file, no label, one class only.
    """
    place = Path(place)
    files = sound_files(place)
    recognised = ravdess.count(files)
    source = ravdess if 2 * recognised > len(files) else folder
    dataset = source.read(place, files)
    if strict and dataset.failures:
        first = dataset.failures[0]
        raise DataError(f"{first.path}: {first.reason} (--strict stops at the first bad file)")
    found = {clip.label for clip in dataset.clips}
    if len(found) == 1:
        raise DataError(
            f"one class only in {place}: {next(iter(found))!r} ({len(dataset.clips)} clips); "
            "a classifier needs two or more"
        )
    return dataset
