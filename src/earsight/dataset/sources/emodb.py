"""EmoDB: the Berlin Database of Emotional Speech, in German."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.download import Download
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

# The letters stand for German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral.
_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
_FORM = re.compile(r"(?P<speaker>03|08|09|1[0-6])(?P<text>[ab]\d\d)(?P<emotion>[WLEAFNT])(?P<version>[a-z])")


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(stem(name))
    if not found:
        raise DataError("not a name of EmoDB: speaker, text, emotion and version are expected, such as 03a01Fa.wav")
    speaker, text, emotion, version = found.groups()
    return Parsed(_EMOTIONS[emotion], speaker, tags={"text": text, "version": version}, key=stem(name))


def read(listing: Listing) -> DataSet:
    """Clips with the emotion as label, the speaker as group, text and version as tags."""
    return read_names(listing, "emodb", _parse, group_name="speaker")


SOURCES = (
    Source(
        name="emodb",
        title="EmoDB: 10 German speakers, 7 emotions, 535 clips",
        licence="free to use with citation",
        citation="F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier & B. Weiss 2005, A Database of German Emotional "
        "Speech, Interspeech",
        page="http://emodb.bilderbar.info/docu/",
        protocol="none official; usually one speaker is left out at a time: --split loso:SPEAKER",
        matches=match_counter(_FORM, stem),
        read=read,
        downloads=(Download("http://emodb.bilderbar.info/download/download.zip", name="emodb.zip"),),
    ),
)
