"""SAVEE: the Surrey Audio-Visual Expressed Emotion database; its sound."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names
from earsight.dataset.walk import Listing
from earsight.errors import DataError

_EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
# One folder a speaker (DC/a01.wav), or, in mirrors, all in one (DC_a01.wav).
_FORM = re.compile(r"(?:.*/)?(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<sentence>\d\d)\.[^./]+")


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(name)
    if not found:
        raise DataError("not a name of SAVEE, such as DC/a01.wav or DC_a01.wav, of the speakers DC, JE, JK and KL")
    speaker, emotion, sentence = found.groups()
    return Parsed(_EMOTIONS[emotion], speaker, tags={"sentence": sentence}, key=f"{speaker}_{emotion}{sentence}")


def read(listing: Listing) -> DataSet:
    """Clips with the emotion as label, the speaker as group, the sentence's number (within its emotion) as tag."""
    return read_names(listing, "savee", _parse, group_name="speaker")


SOURCES = (
    Source(
        name="savee",
        title="SAVEE: 4 male speakers, 7 emotions, 480 clips",
        licence="free for research after registration",
        citation="S. Haq & P. J. B. Jackson 2010, Multimodal Emotion Recognition, in: Machine Audition, IGI Global",
        page="http://kahlan.eps.surrey.ac.uk/savee/",
        protocol="none official; by speaker",
        matches=match_counter(_FORM),
        read=read,
        how_to_get="register at http://kahlan.eps.surrey.ac.uk/savee/, download the audio, and give the folder that "
        "holds DC, JE, JK and KL",
    ),
)
