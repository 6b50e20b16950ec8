"""GTZAN: music of 10 genres."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

_GENRES = "blues|classical|country|disco|hiphop|jazz|metal|pop|reggae|rock"
_FORM = re.compile(rf"(?P<genre>{_GENRES})\.(?P<number>\d{{5}})")


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(stem(name))
    if not found:
        raise DataError("not a name of GTZAN: genre and number are expected, such as blues.00000.wav")
    return Parsed(found["genre"], tags={"number": found["number"]}, key=stem(name))


def read(listing: Listing) -> DataSet:
    """Clips with the genre as label; neither group nor fold is known.

    jazz.00054 is damaged in the common copy: it is listed here, and fails when it is decoded.
    """
    return read_names(listing, "gtzan", _parse)


SOURCES = (
    Source(
        name="gtzan",
        title="GTZAN: 1,000 pieces of music, 10 genres, 30 s",
        licence="none stated; excerpts of commercial recordings",
        citation="G. Tzanetakis & P. Cook 2002, Musical genre classification of audio signals, IEEE Transactions on "
        "Speech and Audio Processing 10(5); its faults: B. L. Sturm 2013, arXiv:1306.1461",
        page="https://arxiv.org/abs/1306.1461",
        protocol="none official; the set has repeats and several clips of one artist, none of them marked "
        "(Sturm 2013), so random splits flatter",
        matches=match_counter(_FORM, stem),
        read=read,
        how_to_get="the original site (marsyas.info) no longer offers it, and there is no official address; copies "
        "circulate: give a folder with one folder a genre and files such as blues/blues.00000.wav",
    ),
)
