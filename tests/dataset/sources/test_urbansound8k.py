from pathlib import Path

from earsight.dataset.sources import known_sources, read_dataset
from earsight.dataset.sources.urbansound8k import CLASSES
from earsight.dataset.split import split
from tests.conftest import lay

NAMES = tuple(
    f"audio/fold{fold}/{1000 * fold + class_id}-{class_id}-{occurrence}-{piece}.wav"
    for fold in range(1, 11)
    for class_id in range(10)
    for occurrence, piece in ((0, 0), (2, 13))
)


def test_class_recording_and_fold_come_from_name_and_folder(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    assert (dataset.source, dataset.group_name) == ("urbansound8k", "recording")
    assert dataset.labels == CLASSES
    assert (CLASSES[0], CLASSES[3], CLASSES[9]) == ("air_conditioner", "dog_bark", "street_music")
    assert dataset.folds == tuple(str(fold) for fold in range(1, 11))
    clip = next(clip for clip in dataset.clips if clip.path.name == "5003-3-2-13.wav")
    assert (clip.label, clip.group, clip.fold) == ("dog_bark", "5003", "5")
    assert clip.tags == {"occurrence": "2", "slice": "13"}
    assert (len(dataset.clips), len(dataset.groups), dataset.failures) == (200, 100, ())


def test_labels_keep_the_order_of_the_ids_where_some_are_absent(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, "fold1/1-8-0-0.wav", "fold1/2-3-0-0.wav", "fold2/3-9-0-0.wav"))
    assert dataset.labels == ("dog_bark", "siren", "street_music")


def test_the_first_official_fold_is_the_default_test(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    parts = split(dataset.clips, "auto", group_name=dataset.group_name, official=dataset.split)
    assert parts.kind == "urbansound8k:1"
    assert {dataset.clips[i].fold for i in parts.test} == {"1"}
    assert (len(parts.test), parts.speaker_independent) == (20, True)


def test_files_outside_the_ten_folds_are_left_out_with_their_reason(tmp_path: Path) -> None:
    wrong = ("audio/fold11/9-3-0-0.wav", "audio/9-3-0-1.wav", "audio/fold1/9-10-0-0.wav")
    dataset = read_dataset(lay(tmp_path, *NAMES, *wrong))
    left_out = {failure.path.relative_to(tmp_path).as_posix() for failure in dataset.failures}
    assert (left_out, len(dataset.clips)) == (set(wrong), 200)
    assert "such as fold5/100032-3-0-0.wav" in dataset.failures[0].reason


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["urbansound8k"]
    assert known_sources()["urbansound8k"].matches(NAMES) == len(NAMES)
