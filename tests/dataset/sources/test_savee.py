from pathlib import Path

import pytest

from earsight.dataset.sources import known_sources, read_dataset
from tests.conftest import lay

NAMES = (
    "AudioData/DC/a01.wav",
    "AudioData/DC/sa02.wav",
    "AudioData/JE/d03.wav",
    "AudioData/JE/su15.wav",
    "AudioData/JK/f04.wav",
    "AudioData/JK/h05.wav",
    "AudioData/KL/n30.wav",
)
FLAT = tuple("ALL/" + "_".join(name.split("/")[1:]) for name in NAMES)


@pytest.mark.parametrize("names", [NAMES, FLAT], ids=["a folder a speaker", "flat"])
def test_speaker_emotion_and_sentence_come_from_both_layouts(tmp_path: Path, names: tuple[str, ...]) -> None:
    dataset = read_dataset(lay(tmp_path, *names))
    assert (dataset.source, dataset.group_name, dataset.groups) == ("savee", "speaker", ("DC", "JE", "JK", "KL"))
    assert dataset.labels == ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
    assert [(clip.group, clip.label, clip.tags["sentence"]) for clip in dataset.clips] == [
        ("DC", "anger", "01"),
        ("DC", "sadness", "02"),
        ("JE", "disgust", "03"),
        ("JE", "surprise", "15"),
        ("JK", "fear", "04"),
        ("JK", "happiness", "05"),
        ("KL", "neutral", "30"),
    ]
    assert dataset.failures == ()


def test_a_recording_in_both_layouts_is_taken_once(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES, *FLAT))
    assert (dataset.files, len(dataset.clips), len(dataset.failures)) == (14, 7, 7)
    assert dataset.failures[0].reason.startswith("a second copy of ")


def test_unknown_speakers_and_emotions_are_left_out_with_their_reason(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES, "AudioData/XY/a01.wav", "AudioData/DC/x01.wav"))
    assert [failure.path.relative_to(tmp_path).as_posix() for failure in dataset.failures] == [
        "AudioData/DC/x01.wav",
        "AudioData/XY/a01.wav",
    ]
    assert "such as DC/a01.wav" in dataset.failures[0].reason


@pytest.mark.parametrize("names", [NAMES, FLAT], ids=["a folder a speaker", "flat"])
def test_no_other_source_knows_these_names(names: tuple[str, ...]) -> None:
    assert [name for name, source in known_sources().items() if source.matches(names)] == ["savee"]
    assert known_sources()["savee"].matches(names) == len(names)
