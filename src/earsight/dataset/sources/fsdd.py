"""FSDD: the Free Spoken Digit Dataset."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.download import Download
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

_FORM = re.compile(r"(?P<digit>\d)_(?P<speaker>[A-Za-z]+)_(?P<take>\d+)")
_TEST_TAKES = 5


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(stem(name))
    if not found:
        raise DataError("not a name of FSDD: digit, speaker and take are expected, such as 7_jackson_32.wav")
    digit, speaker, take = found.groups()
    fold = "test" if int(take) < _TEST_TAKES else "train"
    return Parsed(digit, speaker, fold, {"take": take}, key=stem(name))


def read(listing: Listing) -> DataSet:
    """Clips with the digit as label and the speaker as group; takes 0–4 are the fold "test", all others "train".

    The official test has the voices of the training in it, so by default it is split by speaker all the same.
    """
    return read_names(listing, "fsdd", _parse, group_name="speaker", split="group")


SOURCES = (
    Source(
        name="fsdd",
        title="Free Spoken Digit Dataset: 6 speakers, 10 digits, 3,000 clips",
        licence="CC BY-SA 4.0",
        citation="Z. Jackson et al., Free Spoken Digit Dataset, version 1.0.10",
        page="https://github.com/Jakobovski/free-spoken-digit-dataset",
        protocol="takes 0–4 of every speaker are the test, whose voices training has heard: --split fsdd; "
        "by default it is split by speaker",
        matches=match_counter(_FORM, stem),
        read=read,
        downloads=(
            Download(
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
                name="free-spoken-digit-dataset-1.0.10.tar.gz",
            ),
        ),
    ),
)
