"""A folder with one folder a class; train, valid and test folders may stand above the classes."""

from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.dataset.walk import Listing
from earsight.errors import DataError

_PARTS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def read(listing: Listing) -> DataSet:
    """Clips with the name of the first folder below the root as label, and no group.

    Where all folders at the root are called train, valid and test (or as they are otherwise called: val, dev …), they
    are taken for the parts of a split, and the folders below them for classes. Recordings beside the class folders are
    left out with their reason. Raises DataError where there is no class folder.
    """
    names, inside = listing.names, ""
    # One folder around all classes (as archives often have) is stepped into.
    while len({name.partition("/")[0] for name in names}) == 1 and all(name.count("/") > 1 for name in names):
        around, _, _ = names[0].partition("/")
        inside += f"{around}/"
        names = tuple(name[len(around) + 1 :] for name in names)
    tops = {name.partition("/")[0].lower() for name in names if "/" in name}
    parted = {"train", "test"} <= {_PARTS.get(top, "") for top in tops} and tops <= _PARTS.keys()
    clips: list[Clip] = []
    failures: list[Failure] = []
    for name in names:
        folders = name.split("/")[:-1]
        fold = _PARTS[folders.pop(0).lower()] if parted and folders else ""
        if folders:
            clips.append(Clip(listing.path(inside + name), folders[0], fold=fold))
        else:
            reason = "no label: it lies beside the class folders, not in one"
            failures.append(Failure(listing.path(inside + name), reason))
    if not clips:
        raise DataError(
            f"no labels in {listing.place}: {len(names)} recordings and no class folder; "
            "make one folder a class, or give a table with the columns path and label"
        )
    labels = tuple(sorted({clip.label for clip in clips}))
    return DataSet("folder", listing.place, labels, tuple(clips), len(names), tuple(failures))
