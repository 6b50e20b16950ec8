"""ESC-50 and ESC-10: environmental sounds, 5 official folds."""

import re
from collections.abc import Sequence
from functools import partial

from earsight.dataset.clip import DataSet
from earsight.dataset.download import Download
from earsight.dataset.sources.rows import open_table
from earsight.dataset.sources.source import Parsed, Source, parent_name, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

# The recording's number at freesound is the group: its takes (A, B …) are pieces of one recording.
_ESC50 = re.compile(r"(?P<fold>[1-5])-(?P<recording>\d+)-(?P<take>[A-Z])-(?P<target>\d+)")
_ESC10 = re.compile(r"(?P<fold>[1-5])-(?P<recording>\d+)-(?P<take>[A-Z])")
_CLASS_FOLDER = re.compile(r"\d{3} - (?P<label>.+)")


def _parse_esc10(name: str) -> Parsed:
    found, folder = _ESC10.fullmatch(stem(name)), _CLASS_FOLDER.fullmatch(parent_name(name))
    if not found or not folder:
        raise DataError("not a name of ESC-10, such as '001 - Dog bark/1-30226-A.ogg'")
    label = folder["label"].strip().lower().replace(" ", "_")
    return Parsed(label, found["recording"], found["fold"], {"take": found["take"]}, key=name)


def read_esc10(listing: Listing) -> DataSet:
    """The layout of one folder a class: the class from the folder, fold and recording from the file name."""
    return read_names(listing, "esc10", _parse_esc10, group_name="recording", split="esc50:1")


def read_esc50(listing: Listing, *, only_esc10: bool = False) -> DataSet:
    """The layout of audio/ and meta/esc50.csv: the class from the table. Raises DataError where it is missing."""
    prefix = listing.names[0].rpartition("/")[0].rpartition("/")[0]
    table = listing.root / prefix / "meta" / "esc50.csv"
    if not table.is_file():
        raise DataError(f"no meta/esc50.csv beside the recordings of ESC-50 in {listing.place}; get the whole set")
    header, lines = open_table(table)
    if missing := [name for name in ("filename", "fold", "category", "esc10") if name not in header]:
        raise DataError(f"{table} has no column {', '.join(missing)}; get the whole set again")
    told = [dict(zip(header, cells, strict=False)) for _, cells in lines if len(cells) >= len(header)]
    rows = {row["filename"]: row for row in told}

    def parse(name: str) -> Parsed:
        found = _ESC50.fullmatch(stem(name))
        row = rows.get(f"{stem(name)}.wav")
        if not found or row is None:
            raise DataError("not a recording of ESC-50: meta/esc50.csv does not list it")
        if only_esc10 and row["esc10"] != "True":
            raise DataError("not one of the ten classes of ESC-10")
        return Parsed(row["category"], found["recording"], row["fold"], {"take": found["take"]}, key=stem(name))

    source = "esc10" if only_esc10 else "esc50"
    return read_names(listing, source, parse, group_name="recording", split="esc50:1")


def _read_either(listing: Listing) -> DataSet:
    whole = any(_ESC50.fullmatch(stem(name)) for name in listing.names)
    return read_esc50(listing, only_esc10=True) if whole else read_esc10(listing)


def _count(names: Sequence[str], form: re.Pattern[str], folder: re.Pattern[str] | None = None) -> int:
    return sum(
        form.fullmatch(stem(name)) is not None and (folder is None or folder.fullmatch(parent_name(name)) is not None)
        for name in names
    )


_CITATION = "K. J. Piczak 2015, ESC: Dataset for Environmental Sound Classification, ACM Multimedia"
_PAGE = "https://github.com/karolpiczak/ESC-50"
_PROTOCOL = "5 official folds, the recordings of one source in one fold: mean accuracy over all five"
_ARCHIVE = Download("https://github.com/karolpiczak/ESC-50/archive/refs/heads/master.zip", name="ESC-50-master.zip")

SOURCES = (
    Source(
        name="esc50",
        title="ESC-50: 2,000 environmental sounds, 50 classes, 5 s",
        licence="CC BY-NC 3.0",
        citation=_CITATION,
        page=_PAGE,
        protocol=_PROTOCOL,
        matches=partial(_count, form=_ESC50),
        groups_of="freesound",
        read=read_esc50,
        downloads=(_ARCHIVE,),
    ),
    Source(
        name="esc10",
        title="ESC-10: the 400 clips of ESC-50 in 10 classes",
        licence="CC BY 3.0",
        citation=_CITATION,
        page=_PAGE,
        protocol=_PROTOCOL,
        matches=partial(_count, form=_ESC10, folder=_CLASS_FOLDER),
        groups_of="freesound",
        read=_read_either,
        downloads=(_ARCHIVE,),
    ),
)
