from pathlib import Path

import pytest

from earsight.dataset.sources import known_sources, read_dataset
from tests.conftest import lay

EMOTION_OF = {
    "wav/03a01Wa.wav": "anger",
    "wav/08a02Lb.wav": "boredom",
    "wav/09a04Ea.wav": "disgust",
    "wav/10a05Ac.wav": "fear",
    "wav/11a07Fd.wav": "happiness",
    "wav/16b10Na.wav": "neutral",
    "wav/15b09Tb.wav": "sadness",
}
NAMES = tuple(EMOTION_OF)


def test_speaker_text_emotion_and_version_come_from_the_seven_characters(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    assert (dataset.source, dataset.group_name, dataset.split) == ("emodb", "speaker", "")
    assert dataset.labels == ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
    assert {clip.path.relative_to(tmp_path).as_posix(): clip.label for clip in dataset.clips} == EMOTION_OF
    assert dataset.groups == ("03", "08", "09", "10", "11", "15", "16")
    last = dataset.clips[-1]
    assert (last.path.name, last.group, last.fold) == ("16b10Na.wav", "16", "")
    assert last.tags == {"text": "b10", "version": "a"}


@pytest.mark.parametrize("wrong", ["04a01Wa", "03c01Wa", "03a01Xa", "03a01W", "03a01Wab"])
def test_a_wrong_character_is_left_out_with_its_reason(tmp_path: Path, wrong: str) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES, f"wav/{wrong}.wav"))
    assert len(dataset.clips) == 7
    assert [failure.path.stem for failure in dataset.failures] == [wrong]
    assert "such as 03a01Fa.wav" in dataset.failures[0].reason


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["emodb"]
    assert known_sources()["emodb"].matches(NAMES) == len(NAMES)
