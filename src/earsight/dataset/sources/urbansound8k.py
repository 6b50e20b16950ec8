"""UrbanSound8K: sounds of the street, 10 official folds."""

import re

from earsight.dataset.clip import DataSet
from earsight.dataset.download import Download
from earsight.dataset.sources.source import Parsed, Source, match_counter, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

CLASSES = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)
"""By class id, 0–9: the second field of the file name."""

_FORM = re.compile(
    r"(?:.*/)?fold(?P<fold>[1-9]|10)/(?P<recording>\d+)-(?P<class_id>\d)-(?P<occurrence>\d+)-(?P<slice>\d+)\.[^./]+"
)


def _parse(name: str) -> Parsed:
    found = _FORM.fullmatch(name)
    if not found:
        raise DataError("not a name of UrbanSound8K in a folder fold1 … fold10, such as fold5/100032-3-0-0.wav")
    fold, recording, class_id, occurrence, piece = found.groups()
    tags = {"occurrence": occurrence, "slice": piece}
    return Parsed(CLASSES[int(class_id)], recording, fold, tags, key=stem(name))


def read(listing: Listing) -> DataSet:
    """Clips with the class as label, the recording (at freesound) that they were cut from as group, and the folder's
    number as fold."""
    return read_names(listing, "urbansound8k", _parse, labels=CLASSES, group_name="recording", split="urbansound8k:1")


SOURCES = (
    Source(
        name="urbansound8k",
        title="UrbanSound8K: 8,732 sounds of the street, 10 classes, up to 4 s",
        licence="CC BY-NC 4.0",
        citation="J. Salamon, C. Jacoby & J. P. Bello 2014, A Dataset and Taxonomy for Urban Sound Research, "
        "ACM Multimedia",
        page="https://urbansounddataset.weebly.com/urbansound8k.html",
        protocol="10 official folds, the clips of one recording in one fold, never to be reshuffled: "
        "mean accuracy over all ten",
        matches=match_counter(_FORM),
        groups_of="freesound",
        read=read,
        downloads=(
            Download(
                "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz",
                checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
            ),
        ),
    ),
)
