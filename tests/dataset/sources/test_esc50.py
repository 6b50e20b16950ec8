from pathlib import Path

import pytest

from earsight.dataset.sources import read_dataset
from earsight.dataset.split import split
from earsight.errors import DataError
from tests.conftest import lay

ROWS = (
    ("1-100032-A-0.wav", "1", "dog", "True"),
    ("2-100033-A-0.wav", "2", "dog", "True"),
    ("3-100033-B-0.wav", "3", "dog", "True"),
    ("1-17124-A-43.wav", "1", "car_horn", "False"),
    ("2-17125-A-43.wav", "2", "car_horn", "False"),
    ("4-17126-A-10.wav", "4", "rain", "True"),
)


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    root = lay(tmp_path / "ESC-50-master", *(f"audio/{row[0]}" for row in ROWS), "meta/esc50.csv")
    table = "filename,fold,target,category,esc10,src_file,take\n"
    table += "".join(f"{name},{fold},0,{label},{ten},0,A\n" for name, fold, label, ten in ROWS)
    (root / "meta" / "esc50.csv").write_text(table)
    return tmp_path


def test_class_and_fold_come_from_the_table_and_the_group_from_the_name(esc50: Path) -> None:
    dataset = read_dataset(esc50)
    assert (dataset.source, dataset.group_name) == ("esc50", "recording")
    assert dataset.labels == ("car_horn", "dog", "rain")
    found = {clip.path.name: (clip.label, clip.group, clip.fold) for clip in dataset.clips}
    assert found["3-100033-B-0.wav"] == ("dog", "100033", "3")
    assert found["1-17124-A-43.wav"] == ("car_horn", "17124", "1")
    assert dataset.failures == ()


def test_esc10_is_a_part_of_esc50(esc50: Path) -> None:
    dataset = read_dataset(esc50, source="esc10")
    assert (dataset.source, dataset.labels, len(dataset.clips)) == ("esc10", ("dog", "rain"), 4)
    assert [failure.reason for failure in dataset.failures] == ["not one of the ten classes of ESC-10"] * 2


def test_a_recording_that_the_table_does_not_list_and_a_missing_table(esc50: Path) -> None:
    lay(esc50 / "ESC-50-master" / "audio", "5-1-A-0.wav")
    dataset = read_dataset(esc50)
    assert [failure.path.name for failure in dataset.failures] == ["5-1-A-0.wav"]
    (esc50 / "ESC-50-master" / "meta" / "esc50.csv").unlink()
    with pytest.raises(DataError, match=r"no meta/esc50\.csv .* get the whole set"):
        read_dataset(esc50)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"filename;fold;target;category;esc10\n1-100032-A-0.wav;1;0;dog;True\n", "has semicolons between its columns"),
        (b"filename,fold,target\n1-100032-A-0.wav,1,0\n", "has no column category, esc10; get the whole set again"),
        (b"filename,fold,target,category,esc10\n1-100032-A-0.wav,1,0,ch\xe8vre,True\n", r"is not UTF-8 \(line 2"),
        (b"filename,fold,target,category,esc10\n1-100032-A-0.wav,1\n", "esc50.csv does not list it"),
    ],
)
def test_a_table_that_was_saved_otherwise_is_named(esc50: Path, table: bytes, message: str) -> None:
    (esc50 / "ESC-50-master" / "meta" / "esc50.csv").write_bytes(table)
    with pytest.raises(DataError, match=message):
        read_dataset(esc50)


def test_esc10_as_one_folder_a_class(esc10: Path) -> None:
    dataset = read_dataset(esc10)
    assert (dataset.source, len(dataset.clips), len(dataset.labels)) == ("esc10", 400, 10)
    assert dataset.folds == ("1", "2", "3", "4", "5")
    assert "dog_bark" in dataset.labels
    fold_of: dict[str, set[str]] = {}
    for clip in dataset.clips:
        fold_of.setdefault(clip.group, set()).add(clip.fold)
    assert all(len(folds) == 1 for folds in fold_of.values())  # a recording lies in one fold
    parts = split(dataset.clips, "esc50:4")
    assert {dataset.clips[i].fold for i in parts.test} == {"4"}
