from pathlib import Path

import pytest

from earsight.dataset.sources import known_sources, read_dataset
from earsight.dataset.split import split
from earsight.errors import DataError
from tests.conftest import lay

NAMES = (
    "no/0a7c2a8d_nohash_0.wav",
    "no/0a7c2a8d_nohash_1.wav",
    "no/1b4c9b89_nohash_0.wav",
    "no/ffd2ba2f_nohash_0.wav",
    "yes/0a7c2a8d_nohash_0.wav",
    "yes/1b4c9b89_nohash_0.wav",
    "yes/ffd2ba2f_nohash_0.wav",
)
NOISE = "_background_noise_/running_tap.wav"


@pytest.fixture
def speech_commands(tmp_path: Path) -> Path:
    lay(tmp_path, *NAMES, NOISE)
    (tmp_path / "validation_list.txt").write_text("no/1b4c9b89_nohash_0.wav\nyes/1b4c9b89_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/ffd2ba2f_nohash_0.wav\nno/ffd2ba2f_nohash_0.wav\n")
    return tmp_path


def test_word_speaker_and_official_part(speech_commands: Path) -> None:
    dataset = read_dataset(speech_commands)
    assert (dataset.source, dataset.labels, dataset.group_name) == ("speech_commands", ("no", "yes"), "speaker")
    assert dataset.groups == ("0a7c2a8d", "1b4c9b89", "ffd2ba2f")
    assert [(clip.label, clip.group, clip.fold) for clip in dataset.clips] == [
        ("no", "0a7c2a8d", "train"),
        ("no", "0a7c2a8d", "train"),
        ("no", "1b4c9b89", "valid"),
        ("no", "ffd2ba2f", "test"),
        ("yes", "0a7c2a8d", "train"),
        ("yes", "1b4c9b89", "valid"),
        ("yes", "ffd2ba2f", "test"),
    ]
    assert [clip.tags["utterance"] for clip in dataset.clips] == ["0", "1", "0", "0", "0", "0", "0"]


def test_official_lists_are_the_default_split(speech_commands: Path) -> None:
    dataset = read_dataset(speech_commands)
    parts = split(dataset.clips, "auto", group_name=dataset.group_name, official=dataset.split)
    assert (parts.kind, parts.train, parts.valid, parts.test) == ("speech_commands", (0, 1, 4), (2, 5), (3, 6))
    assert parts.speaker_independent


def test_a_list_that_is_not_utf8_is_named(speech_commands: Path) -> None:
    (speech_commands / "testing_list.txt").write_text("yes/ffd2ba2f_nohash_0.wav\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"testing_list\.txt is not UTF-8 \(.*byte 0\); get the whole set again"):
        read_dataset(speech_commands)


def test_background_noise_is_left_out_with_its_reason(speech_commands: Path) -> None:
    dataset = read_dataset(speech_commands)
    assert dataset.files == len(NAMES) + 1
    assert [failure.path for failure in dataset.failures] == [speech_commands / NOISE]
    assert "background noise, not a word" in dataset.failures[0].reason


def test_folders_around_the_set_and_another_file_format_change_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data" / "speech_commands_v0.02"
    lay(root, *(name.replace(".wav", ".flac") for name in NAMES))
    (root / "validation_list.txt").write_text("no/1b4c9b89_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("")
    folds = {clip.path.relative_to(root).as_posix(): clip.fold for clip in read_dataset(tmp_path).clips}
    assert folds.pop("no/1b4c9b89_nohash_0.flac") == "valid"
    assert set(folds.values()) == {"train"}


@pytest.mark.parametrize("missing", ["validation_list.txt", "testing_list.txt"])
def test_missing_list_is_an_error_that_names_it(speech_commands: Path, missing: str) -> None:
    (speech_commands / missing).unlink()
    with pytest.raises(DataError, match=rf"no {missing} in .*get the whole set, or pass --source folder"):
        read_dataset(speech_commands)
    assert "no" in read_dataset(speech_commands, source="folder").labels


def test_other_names_in_a_word_are_left_out(speech_commands: Path) -> None:
    lay(speech_commands, "yes/me.wav", "0a7c2a8d_nohash_9.wav")
    dataset = read_dataset(speech_commands)
    assert len(dataset.clips) == len(NAMES)
    assert sorted(failure.path.name for failure in dataset.failures) == [
        "0a7c2a8d_nohash_9.wav",
        "me.wav",
        "running_tap.wav",
    ]


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["speech_commands"]
    assert known_sources()["speech_commands"].matches(NAMES) == len(NAMES)
