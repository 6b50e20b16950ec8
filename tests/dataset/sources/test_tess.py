from pathlib import Path

from earsight.dataset.sources import known_sources, read_dataset
from tests.conftest import lay

NAMES = (
    "OAF_Fear/OAF_back_fear.wav",
    "OAF_Pleasant_surprise/OAF_back_ps.wav",
    "OAF_neutral/OA_bite_neutral.wav",
    "OAF_neutral/OAF_back_neutral.wav",
    "YAF_angry/YAF_back_angry.wav",
    "YAF_disgust/YAF_youth_disgust.wav",
    "YAF_happy/YAF_back_happy.wav",
    "YAF_sad/YAF_back_sad.wav",
)


def test_speaker_word_and_emotion_come_from_the_name(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    assert (dataset.source, dataset.group_name, dataset.groups) == ("tess", "speaker", ("OAF", "YAF"))
    assert dataset.labels == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    facts = {clip.path.name: (clip.label, clip.group, clip.tags["word"]) for clip in dataset.clips}
    assert facts["OAF_back_ps.wav"] == ("surprise", "OAF", "back")
    assert facts["YAF_youth_disgust.wav"] == ("disgust", "YAF", "youth")
    assert (len(facts), dataset.failures) == (8, ())


def test_the_file_that_lacks_a_letter_of_its_speaker_belongs_to_oaf(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    clip = next(clip for clip in dataset.clips if clip.path.name == "OA_bite_neutral.wav")
    assert (clip.group, clip.label, clip.tags["word"]) == ("OAF", "neutral", "bite")


def test_a_set_nested_in_itself_is_read_once_corrected_names_included(tmp_path: Path) -> None:
    nested = [f"TESS data/{name}".replace("OA_bite", "OAF_bite") for name in NAMES]
    dataset = read_dataset(lay(tmp_path, *NAMES, *nested))
    assert (dataset.files, len(dataset.clips)) == (16, 8)
    assert len({(clip.group, clip.tags["word"], clip.label) for clip in dataset.clips}) == 8
    assert all(failure.reason.startswith("a second copy of ") for failure in dataset.failures)


def test_other_names_are_left_out_with_their_reason(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES, "YAF_sad/MAF_back_sad.wav", "YAF_sad/YAF_back_bored.wav"))
    assert [failure.path.name for failure in dataset.failures] == ["MAF_back_sad.wav", "YAF_back_bored.wav"]
    assert "such as OAF_back_angry.wav" in dataset.failures[0].reason


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["tess"]
    assert known_sources()["tess"].matches(NAMES) == len(NAMES)
