"""Speech Commands: single spoken words, with official lists of the validation and test clips."""

import re
from pathlib import Path

from earsight.dataset.clip import DataSet
from earsight.dataset.download import Download
from earsight.dataset.sources.source import Parsed, Source, match_counter, parent_name, read_names, stem
from earsight.dataset.walk import Listing
from earsight.errors import DataError

_FORM = re.compile(r"(?P<speaker>[0-9a-f]{8})_nohash_(?P<utterance>\d+)")
_NOISE = "_background_noise_"
_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def read(listing: Listing) -> DataSet:
    """Clips with the word (the folder) as label and the speaker's hash as group; the lists beside the words give the
    folds "valid" and "test", all others are "train". Raises DataError where a list is missing."""
    fold_of = _official_folds(_folder_of_the_words(listing))

    def parse(name: str) -> Parsed:
        word = parent_name(name)
        if word == _NOISE:
            raise DataError("background noise, not a word: minutes long, and of no speaker")
        found = _FORM.fullmatch(stem(name))
        if not found or not word:
            raise DataError("not a name of Speech Commands, such as yes/0a7c2a8d_nohash_0.wav")
        speaker, utterance = found.groups()
        key = f"{word}/{stem(name)}"
        return Parsed(word, speaker, fold_of.get(key, "train"), {"utterance": utterance}, key)

    return read_names(listing, "speech_commands", parse, group_name="speaker", split="speech_commands")


def _folder_of_the_words(listing: Listing) -> Path:
    words = next((name for name in listing.names if _FORM.fullmatch(stem(name))), listing.names[0])
    return listing.root / words.rpartition("/")[0].rpartition("/")[0]


def _official_folds(folder: Path) -> dict[str, str]:
    """``word/file`` without its ending → fold; of the listed clips only."""
    fold_of: dict[str, str] = {}
    for fold, list_name in _LISTS.items():
        path = folder / list_name
        if not path.is_file():
            raise DataError(
                f"no {list_name} in {folder}: it names the official {fold} clips; get the whole set, "
                "or pass --source folder for one without folds"
            )
        try:
            lines = path.read_text(encoding="utf-8").split()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 ({error.reason}, byte {error.start}); get the whole set again"
            ) from error
        fold_of |= {f"{parent_name(line)}/{stem(line)}": fold for line in lines}
    return fold_of


SOURCES = (
    Source(
        name="speech_commands",
        title="Speech Commands v0.02: 2,618 speakers, 35 words, 105,829 clips of 1 s",
        licence="CC BY 4.0",
        citation="P. Warden 2018, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, "
        "arXiv:1804.03209",
        page="https://arxiv.org/abs/1804.03209",
        protocol="official lists of validation and test clips, no speaker in two parts",
        matches=match_counter(_FORM, stem),
        read=read,
        downloads=(
            Download(
                "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                size_bytes=2_428_923_189,
                checksum="sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            ),
        ),
    ),
)
