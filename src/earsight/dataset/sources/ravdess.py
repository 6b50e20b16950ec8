"""RAVDESS: the Ryerson Audio-Visual Database of Emotional Speech and Song, speech part.

Licence CC BY-NC-SA 4.0. Livingstone & Russo 2018, PLoS ONE 13(5): e0196391; Zenodo record 1188976. 24 actors,
60 spoken clips each. No official split; the published folds by actor are in ``dataset/split.py``.
"""

import re
from pathlib import Path

from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.dataset.synth import MARKER_NAME
from earsight.errors import DataError

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Third field of the file name, 01–08."""

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


def count(files: list[Path]) -> int:
    """How many files have a name of RAVDESS's form."""
    return sum(_LOOKS_LIKE.fullmatch(path.stem) is not None for path in files)


def parse_name(path: Path) -> dict[str, str]:
    """The seven fields of a file name by name, in words. Raises DataError that names the wrong field."""
    if not _LOOKS_LIKE.fullmatch(path.stem):
        raise DataError("not a RAVDESS name: seven two-digit fields are expected, such as 03-01-05-02-01-01-12.wav")
    words = {}
    for (field, meanings), code in zip(_FIELDS, path.stem.split("-"), strict=True):
        if code not in meanings:
            raise DataError(f"not a RAVDESS name: {field} {code!r} is not one of {', '.join(meanings)}")
        words[field] = meanings[code]
    return words


def read(place: Path, files: list[Path]) -> DataSet:
    """Clips with the emotion as label, the actor as group and the other fields as tags.

    Each recording is taken once: further copies of a file name (mirrors nest the set twice) and song are left out
    with their reason.
    """
    clips: list[Clip] = []
    failures: list[Failure] = []
    first: dict[str, Path] = {}
    # A file in the folder of its own actor goes before a stray copy, a shorter path before a nested one.
    for path in sorted(files, key=lambda p: (p.parent.name != f"Actor_{p.stem[-2:]}", len(p.parts), p)):
        try:
            words = parse_name(path)
        except DataError as error:
            failures.append(Failure(path, str(error)))
            continue
        if words["channel"] == "song":
            failures.append(Failure(path, "song; earsight trains on the speech part"))
        elif path.stem in first:
            failures.append(Failure(path, f"a second copy of {first[path.stem]}"))
        else:
            first[path.stem] = path
            tags = {name: word for name, word in words.items() if name != "emotion"}
            clips.append(Clip(path, words["emotion"], words["actor"], tags))
    if not clips:
        raise DataError(f"no usable RAVDESS recording in {place}: {failures[0].path.name}: {failures[0].reason}")
    clips.sort(key=lambda clip: clip.path)
    present = {clip.label for clip in clips}
    synthetic = any((folder / MARKER_NAME).is_file() for folder in {place, *(c.path.parent.parent for c in clips)})
    labels = tuple(name for name in EMOTIONS if name in present)
    return DataSet("ravdess", place, labels, tuple(clips), len(files), tuple(failures), synthetic)
