"""A folder with one folder a class: the name of the first folder below the root is the label."""

from os.path import commonpath
from pathlib import Path

from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.errors import DataError


def read(place: Path, files: list[Path]) -> DataSet:
    """Clips with their class folder as label and no group. Files beside the class folders are left out, and said so."""
    # A zip was unpacked elsewhere: its root is the folder that all its files share.
    root = place if place.is_dir() else Path(commonpath([str(path.parent) for path in files]))
    # One folder around all classes (as zips often have) is stepped into.
    while len({f.relative_to(root).parts[0] for f in files}) == 1 and len(files[0].relative_to(root).parts) > 2:
        root = root / files[0].relative_to(root).parts[0]
    clips: list[Clip] = []
    failures: list[Failure] = []
    for path in files:
        parts = path.relative_to(root).parts
        if len(parts) == 1:
            failures.append(Failure(path, "no label: it lies beside the class folders, not in one"))
        else:
            clips.append(Clip(path, parts[0]))
    if not clips:
        raise DataError(
            f"no labels in {place}: {len(files)} recordings and no class folder; "
            "make one folder a class, or use RAVDESS's file names"
        )
    labels = tuple(sorted({clip.label for clip in clips}))
    return DataSet("folder", place, labels, tuple(clips), len(files), tuple(failures))
