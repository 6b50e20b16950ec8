"""TESS: the Toronto Emotional Speech Set."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

# One file, OA_bite_neutral.wav, lacks a letter of its speaker.
_SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}
_FORM = re.compile(r"(?P<speaker>OAF|YAF|OA)_(?P<word>[A-Za-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)")


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(stem(name))
    if not found:
        raise DataError("not a name of TESS: speaker, word and emotion are expected, such as OAF_back_angry.wav")
    speaker, word, emotion = _SPEAKERS[found["speaker"]], found["word"], found["emotion"]
    label = "surprise" if emotion == "ps" else emotion
    return Parsed(label, speaker, tags={"word": word}, key=f"{speaker}_{word}_{emotion}")


def read(listing: Listing) -> DataSet:
    """Clips with the emotion as label ("ps", pleasant surprise, is "surprise"), the speaker as group, the word as tag.

    Each recording is taken once: mirrors nest the set twice.
    """
    return read_names(listing, "tess", _parse, group_name="speaker")


SOURCES = (
    Source(
        name="tess",
        title="TESS: 2 speakers, 200 words, 7 emotions, 2,800 clips",
        licence="CC BY-NC-ND 4.0",
        citation="M. K. Pichora-Fuller & K. Dupuis 2020, Toronto emotional speech set (TESS), Borealis, "
        "doi:10.5683/SP2/E8H2MF",
        page="https://doi.org/10.5683/SP2/E8H2MF",
        protocol="none official; two speakers are too few to train, validate and test on different ones: "
        "--split random, whose test voices training has heard",
        matches=match_counter(_FORM, stem),
        read=read,
        how_to_get="download the recordings by hand at https://doi.org/10.5683/SP2/E8H2MF (Borealis, formerly Scholars "
        "Portal Dataverse), and give the folder that they lie in",
    ),
)
