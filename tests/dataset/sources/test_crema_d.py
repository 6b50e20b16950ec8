from pathlib import Path

from earsight.dataset.sources import known_sources, read_dataset
from tests.conftest import lay

NAMES = (
    "AudioWAV/1001_DFA_ANG_XX.wav",
    "AudioWAV/1001_IEO_DIS_LO.wav",
    "AudioWAV/1002_IEO_FEA_MD.wav",
    "AudioWAV/1003_IEO_HAP_HI.wav",
    "AudioWAV/1040_ITH_SAD_X.wav",
    "AudioWAV/1091_WSI_NEU_XX.wav",
)
TWINS = {
    "1006_TIE_NEU_XX": "1006_TIE_HAP_XX",
    "1006_TIE_HAP_XX": "1006_TIE_NEU_XX",
    "1013_WSI_SAD_XX": "1013_WSI_DIS_XX",
    "1013_WSI_DIS_XX": "1013_WSI_SAD_XX",
    "1017_IWW_FEA_XX": "1017_IWW_ANG_XX",
    "1017_IWW_ANG_XX": "1017_IWW_FEA_XX",
}


def test_actor_sentence_emotion_and_level_come_from_the_name(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    assert (dataset.source, dataset.group_name) == ("crema_d", "speaker")
    assert dataset.labels == ("anger", "disgust", "fear", "happy", "neutral", "sad")
    assert [(clip.label, clip.group, clip.tags["sentence"], clip.tags["level"]) for clip in dataset.clips] == [
        ("anger", "1001", "DFA", "unspecified"),
        ("disgust", "1001", "IEO", "low"),
        ("fear", "1002", "IEO", "medium"),
        ("happy", "1003", "IEO", "high"),
        ("sad", "1040", "ITH", "unspecified"),
        ("neutral", "1091", "WSI", "unspecified"),
    ]
    assert dataset.failures == ()


def test_both_files_of_a_pair_with_contradicting_labels_are_left_out_and_name_each_other(tmp_path: Path) -> None:
    lay(tmp_path, *NAMES, *(f"AudioWAV/{twin}.wav" for twin in TWINS), "AudioWAV/1006_TIE_SAD_XX.wav")
    dataset = read_dataset(tmp_path)
    assert len(dataset.clips) == len(NAMES) + 1
    assert "1006_TIE_SAD_XX" in {clip.path.stem for clip in dataset.clips}
    reasons = {failure.path.stem: failure.reason for failure in dataset.failures}
    assert set(reasons) == set(TWINS)
    for left_out, twin in TWINS.items():
        assert f"the same recording as {twin}," in reasons[left_out]


def test_of_the_two_formats_in_the_repository_the_wav_is_taken(tmp_path: Path) -> None:
    mp3 = tuple(name.replace("AudioWAV", "AudioMP3").replace(".wav", ".mp3") for name in NAMES)
    dataset = read_dataset(lay(tmp_path, *NAMES, *mp3))
    assert [clip.path.relative_to(tmp_path).as_posix() for clip in dataset.clips] == list(NAMES)
    assert [failure.path.suffix for failure in dataset.failures] == [".mp3"] * len(NAMES)
    assert all(failure.reason.startswith("a second copy of ") for failure in dataset.failures)
    assert len(read_dataset(tmp_path / "AudioMP3").clips) == len(NAMES)


def test_unknown_emotion_is_left_out_with_its_reason(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES, "AudioWAV/1001_DFA_SUR_XX.wav"))
    assert [failure.path.stem for failure in dataset.failures] == ["1001_DFA_SUR_XX"]
    assert "such as 1001_DFA_ANG_XX.wav" in dataset.failures[0].reason


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["crema_d"]
    assert known_sources()["crema_d"].matches(NAMES) == len(NAMES)
