"""A folder with one subfolder a class, or with folders train, valid and test that have one."""

from pathlib import Path

from earsight.dataset.clip import PARTS, Clip, DataSet, Failure, normalise_part
from earsight.dataset.walk import Listing
from earsight.errors import DataError


def read(listing: Listing) -> DataSet:
    """Clips with the name of the first folder below the root as label, and no group.

    Where all folders at the root, two or more, are named train, valid and test (or val, dev …), they are the parts of a
    split, and the folders below them are classes. Recordings outside of class folders are left out with the reason.
    Raises DataError where there is no class folder, or where the root has both parts and other folders.
    """
    names, inside = listing.names, ""
    # A single folder around all classes, as archives often have, is skipped.
    while len({name.partition("/")[0] for name in names}) == 1 and all(name.count("/") > 1 for name in names):
        around, _, _ = names[0].partition("/")
        inside += f"{around}/"
        names = tuple(name[len(around) + 1 :] for name in names)
    parted = _has_part_folders(listing, names)
    clips: list[Clip] = []
    failures: list[Failure] = []
    for name in names:
        folders = name.split("/")[:-1]
        fold = normalise_part(folders.pop(0)) if parted and folders else ""
        if folders:
            clips.append(Clip(listing.path(inside + name), folders[0], fold=fold))
        else:
            reason = "no label: it lies beside the class folders, not in one"
            failures.append(Failure(listing.path(inside + name), reason))
    if not clips:
        raise DataError(
            f"no labels in {listing.place}: {len(names)} recordings and no class folder; "
            "make one folder a class, give a table with the columns path and label, or put labels of Audacity or Raven "
            "beside the recordings"
        )
    labels = tuple(sorted({clip.label for clip in clips}))
    empty = _empty_class_folders(listing, inside, labels, parted=parted)
    return DataSet(
        "folder", listing.place, labels, tuple(clips), len(names), tuple(failures), empty_class_folders=empty
    )


def _empty_class_folders(listing: Listing, inside: str, labels: tuple[str, ...], *, parted: bool) -> tuple[Path, ...]:
    """Folders in the place of class folders, without recordings."""
    found: dict[str, None] = {}  # in order, each once
    for name in listing.empty_folders:
        if name.startswith(inside):
            parts = name[len(inside) :].split("/")
            above = int(parted and len(parts) > 1 and normalise_part(parts[0]) in PARTS)
            if parts[above] not in labels:
                found[inside + "/".join(parts[: above + 1])] = None
    return tuple(map(listing.path, found))


def _has_part_folders(listing: Listing, names: tuple[str, ...]) -> bool:
    """Whether the folders at the root are parts of a split, not classes. Raises DataError where some of them are."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    parts = {top for top in tops if normalise_part(top) in PARTS}
    others = tops - parts
    if len({normalise_part(top) for top in parts}) < 2:
        return False
    if not others:
        return True
    # Recordings right in it make train a class, such as one of vehicles; folders in it make it a part.
    if any(name.count("/") > 1 and name.partition("/")[0] in parts for name in names):
        raise DataError(
            f"{listing.place} has the parts {', '.join(sorted(parts))} and beside them {', '.join(sorted(others)[:10])}"
            "; move these away, or give the folders of classes other names"
        )
    return False
