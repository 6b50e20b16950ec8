"""CREMA-D: the Crowd-sourced Emotional Multimodal Actors Dataset; its sound."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

_EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
# One file of the set, 1040_ITH_SAD_X.wav, has lost an X.
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
_FORM = re.compile(r"(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>LO|MD|HI|XX?)")

# Each pair is one recording, byte for byte, under two emotions.
_TWINS = (
    ("1006_TIE_NEU", "1006_TIE_HAP"),
    ("1013_WSI_SAD", "1013_WSI_DIS"),
    ("1017_IWW_FEA", "1017_IWW_ANG"),
)
_TWIN_OF = dict(_TWINS) | {second: first for first, second in _TWINS}


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(stem(name))
    if not found or found["emotion"] not in _EMOTIONS:
        raise DataError(
            "not a name of CREMA-D: actor, sentence, emotion and level are expected, such as 1001_DFA_ANG_XX.wav"
        )
    actor, sentence, emotion, level = found.groups()
    twin = _TWIN_OF.get(f"{actor}_{sentence}_{emotion}")
    if twin:
        raise DataError(f"the same recording as {twin}_{level}, under another emotion: one of the two labels is wrong")
    tags = {"sentence": sentence, "level": _LEVELS[level]}
    return Parsed(_EMOTIONS[emotion], actor, tags=tags, key=stem(name))


def _wav_first(name: str) -> tuple[bool, str]:
    """The repository has every clip twice: as MP3, which raters heard, and as WAV, which is meant for programs."""
    return (not name.lower().endswith(".wav"), name)


def read(listing: Listing) -> DataSet:
    """Clips with the emotion that was acted as label, the actor as group, sentence and level as tags.

    Three pairs of identical files with contradicting labels are left out with their reason. 1076_MTI_SAD_XX is known
    to be silent; it is kept here.
    """
    return read_names(listing, "crema_d", _parse, order=_wav_first, group_name="speaker")


SOURCES = (
    Source(
        name="crema_d",
        title="CREMA-D: 91 actors, 6 emotions, 7,442 clips",
        licence="ODbL 1.0",
        citation="H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova & R. Verma 2014, CREMA-D, "
        "IEEE Transactions on Affective Computing 5(4)",
        page="https://github.com/CheyneyComputerScience/CREMA-D",
        protocol="none official; by actor",
        matches=match_counter(_FORM, stem),
        read=read,
        how_to_get="the sound lies in Git LFS: git lfs install; "
        "GIT_LFS_SKIP_SMUDGE=1 git clone https://github.com/CheyneyComputerScience/CREMA-D; cd CREMA-D; "
        'git lfs pull --include "AudioWAV/*"; then give the folder AudioWAV',
    ),
)
