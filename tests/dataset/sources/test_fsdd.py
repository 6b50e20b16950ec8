from pathlib import Path

import pytest

from earsight.dataset.sources import known_sources, read_dataset
from earsight.dataset.split import split
from earsight.errors import DataError
from tests.conftest import lay

NAMES = tuple(
    f"recordings/{digit}_{speaker}_{take}.wav"
    for digit in range(2)
    for speaker in ("george", "jackson", "lucas", "theo")
    for take in (0, 4, 5, 49)
)


@pytest.fixture
def fsdd(tmp_path: Path) -> Path:
    return lay(tmp_path, *NAMES)


def test_digit_speaker_take_and_official_fold_come_from_the_name(fsdd: Path) -> None:
    dataset = read_dataset(fsdd)
    assert (dataset.source, dataset.labels, dataset.group_name) == ("fsdd", ("0", "1"), "speaker")
    assert dataset.groups == ("george", "jackson", "lucas", "theo")
    assert (dataset.files, len(dataset.clips), dataset.failures) == (32, 32, ())
    folds = {int(clip.tags["take"]): clip.fold for clip in dataset.clips}
    assert folds == {0: "test", 4: "test", 5: "train", 49: "train"}
    clip = next(clip for clip in dataset.clips if clip.path.name == "1_theo_49.wav")
    assert (clip.label, clip.group, clip.fold, clip.tags) == ("1", "theo", "train", {"take": "49"})
    assert clip.path == fsdd / "recordings" / "1_theo_49.wav"


def test_by_default_nobody_in_the_test_was_heard_in_training(fsdd: Path) -> None:
    dataset = read_dataset(fsdd)
    parts = split(dataset.clips, "auto", group_name=dataset.group_name, official=dataset.split)
    assert (parts.kind, parts.speaker_independent) == ("group", True)
    official = split(dataset.clips, "fsdd", group_name=dataset.group_name)
    assert {dataset.clips[i].tags["take"] for i in official.test} == {"0", "4"}
    assert (len(official.test), official.caveat) == (16, "speaker-dependent")


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["fsdd"]
    assert known_sources()["fsdd"].matches(NAMES) == len(NAMES)


def test_other_names_and_second_copies_are_left_out_with_their_reason(fsdd: Path) -> None:
    wrong = ("12_theo_0.wav", "copy/1_theo_0.wav", "noise.wav")
    dataset = read_dataset(lay(fsdd, *(f"recordings/{name}" for name in wrong)))
    assert len(dataset.clips) == 32
    reasons = {failure.path.name: failure.reason for failure in dataset.failures}
    assert set(reasons) == {"12_theo_0.wav", "1_theo_0.wav", "noise.wav"}
    assert reasons["1_theo_0.wav"].startswith("a second copy of ")
    assert "7_jackson_32.wav" in reasons["noise.wav"]
    with pytest.raises(DataError, match=r"12_theo_0\.wav: not a name of FSDD.*--strict"):
        read_dataset(fsdd, strict=True)
