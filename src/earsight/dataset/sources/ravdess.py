"""RAVDESS: the Ryerson Audio-Visual Database of Emotional Speech and Song; its speech, and its song."""

import re
from dataclasses import replace
from functools import partial

from earsight.dataset.clip import DataSet
from earsight.dataset.download import Download
from earsight.dataset.sources.source import Parsed, Source, match_counter, parent_name, read_names, stem
from earsight.dataset.synth import MARKER_NAME
from earsight.dataset.walk import Listing
from earsight.errors import DataError

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Third field of the file name, 01–08. Song has the first six."""

_FIELDS = (
    ("modality", {"01": "full-AV", "02": "video-only", "03": "audio-only"}),
    ("channel", {"01": "speech", "02": "song"}),
    ("emotion", {f"{i:02}": name for i, name in enumerate(EMOTIONS, 1)}),
    ("intensity", {"01": "normal", "02": "strong"}),
    ("statement", {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}),
    ("repetition", {"01": "1", "02": "2"}),
    ("actor", {f"{i:02}": f"{i:02}" for i in range(1, 25)}),
)
_LOOKS_LIKE = re.compile(r"\d\d(-\d\d){6}")
_SPEECH = re.compile(r"\d\d-(?!02)\d\d(-\d\d){5}")
_SONG = re.compile(r"\d\d-02(-\d\d){5}")


def parse_name(name: str) -> dict[str, str]:
    """The seven fields of a file name by name, in words. Raises DataError that names the wrong field."""
    field_codes = stem(name)
    if not _LOOKS_LIKE.fullmatch(field_codes):
        raise DataError("not a RAVDESS name: seven two-digit fields are expected, such as 03-01-05-02-01-01-12.wav")
    words = {}
    for (field, meanings), code in zip(_FIELDS, field_codes.split("-"), strict=True):
        if code not in meanings:
            raise DataError(f"not a RAVDESS name: {field} {code!r} is not one of {', '.join(meanings)}")
        words[field] = meanings[code]
    return words


def _parse(name: str, channel: str) -> Parsed:
    words = parse_name(name)
    if words["channel"] != channel:
        raise DataError(f"{words['channel']}; this is the {channel} part (--source chooses the other)")
    if words["modality"] == "video-only":
        raise DataError("video-only; it has no sound")
    emotion = words.pop("emotion")
    return Parsed(emotion, words["actor"], tags=words, key=stem(name)[2:])  # the film's sound is the recording


def _own_folder_first(name: str) -> tuple[bool, bool, int, str]:
    """A recording goes before a film, a file in the folder of its own actor before a stray copy, a shorter path before
    a nested one."""
    film = not stem(name).startswith("03-")
    return (film, parent_name(name) != f"Actor_{stem(name)[-2:]}", name.count("/"), name)


def read(listing: Listing, channel: str) -> DataSet:
    """Clips with the emotion as label, the actor as group and the other fields as tags.

    Each recording is taken once: further copies of a file name (mirrors nest the set twice), films of it, and the other
    channel, are left out with their reason.
    """
    dataset = read_names(
        listing,
        "ravdess" if channel == "speech" else "ravdess_song",
        partial(_parse, channel=channel),
        labels=EMOTIONS,
        order=_own_folder_first,
        group_name="speaker",
    )
    actors = {name.rpartition("/")[0] for name in listing.names}
    folders = {listing.root, listing.place, *(listing.root / actor.rpartition("/")[0] for actor in actors)}
    return replace(dataset, synthetic=any((folder / MARKER_NAME).is_file() for folder in folders))


_CITATION = "Livingstone & Russo 2018, PLoS ONE 13(5): e0196391; Zenodo record 1188976"
_LICENCE = "CC BY-NC-SA 4.0"
_PAGE = "https://zenodo.org/records/1188976"
_PROTOCOL = "none official; published folds by actor: luna5 (5 folds, with validation actors), emobox6 (6 folds)"

SOURCES = (
    Source(
        name="ravdess",
        title="RAVDESS, speech: 24 actors, 8 emotions, 1,440 clips",
        licence=_LICENCE,
        citation=_CITATION,
        page=_PAGE,
        protocol=_PROTOCOL,
        matches=match_counter(_SPEECH, stem),
        groups_of="ravdess",
        read=partial(read, channel="speech"),
        downloads=(
            Download(
                "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
                size_bytes=208_468_073,
                checksum="md5:bc696df654c87fed845eb13823edef8a",
            ),
        ),
    ),
    Source(
        name="ravdess_song",
        title="RAVDESS, song: 23 actors, 6 emotions, 1,012 clips",
        licence=_LICENCE,
        citation=_CITATION,
        page=_PAGE,
        protocol="none official; by actor (actor 18 has no song)",
        groups_of="ravdess",
        matches=match_counter(_SONG, stem),
        read=partial(read, channel="song"),
        downloads=(
            Download(
                "https://zenodo.org/records/1188976/files/Audio_Song_Actors_01-24.zip",
                size_bytes=225_505_317,
                checksum="md5:5411230427d67a21e18aa4d466e6d1b9",
            ),
        ),
    ),
)
