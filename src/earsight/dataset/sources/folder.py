"""A folder with one folder a class; train, valid and test folders may stand above the classes."""

from earsight.dataset.clip import PART_WORDS, Clip, DataSet, Failure
from earsight.dataset.walk import Listing
from earsight.errors import DataError


def read(listing: Listing) -> DataSet:
    """Clips with the name of the first folder below the root as label, and no group.

    Where folders at the root are called train and test or valid (or as they are otherwise called: val, dev …), they are
    the parts of a split, and the folders below them the classes. Recordings beside the class folders are left out with
    their reason. Raises DataError where there is no class folder, or something else beside the parts.
    """
    names, inside = listing.names, ""
    # One folder around all classes (as archives often have) is stepped into.
    while len({name.partition("/")[0] for name in names}) == 1 and all(name.count("/") > 1 for name in names):
        around, _, _ = names[0].partition("/")
        inside += f"{around}/"
        names = tuple(name[len(around) + 1 :] for name in names)
    tops = {name.partition("/")[0].lower() for name in names if "/" in name}
    parts = {PART_WORDS[top] for top in tops & PART_WORDS.keys()}
    parted = "train" in parts and len(parts) > 1
    if tops - PART_WORDS.keys() and any(name.count("/") == 1 for name in names):
        parted = False  # recordings lie in them and no classes: here a train is a vehicle
    if parted and (others := sorted(tops - PART_WORDS.keys())):
        raise DataError(
            f"{listing.place} has the parts {', '.join(sorted(parts))} and beside them {', '.join(others[:10])}; "
            "move the others away, or put all into one folder a class"
        )
    clips: list[Clip] = []
    failures: list[Failure] = []
    for name in names:
        folders = name.split("/")[:-1]
        fold = PART_WORDS[folders.pop(0).lower()] if parted and folders else ""
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
