"""What a clip and a data set say of themselves."""

from dataclasses import replace
from pathlib import Path

import pytest

from earsight.dataset.clip import Clip, DataSet, fold_order, normalise_part
from earsight.dataset.sources import read_dataset
from earsight.errors import DataError, SettingsError

CLIP = Clip(Path("/data/a.wav"), "dog", "g1", "2", 1.5, 4.0)


def dataset(*clips: Clip) -> DataSet:
    return DataSet("table", Path("/data"), ("cat", "dog"), clips, len(clips))


def test_a_span_is_in_the_name_and_a_whole_recording_is_its_path() -> None:
    assert CLIP._replace(start_s=None, end_s=None).name == "/data/a.wav"
    assert CLIP.name == "/data/a.wav [1.5–4 s]"
    assert CLIP._replace(end_s=None).name == "/data/a.wav [1.5– s]"
    assert CLIP._replace(start_s=None).name == "/data/a.wav [0–4 s]"
    assert CLIP._replace(start_s=1 / 3, end_s=0.5).name == "/data/a.wav [0.333333333333–0.5 s]"


def test_labels_are_all_of_them_perhaps_none() -> None:
    assert CLIP.labels == ("dog",)
    assert CLIP._replace(more_labels=("cat",)).labels == ("dog", "cat")
    assert CLIP._replace(label="").labels == ()
    assert not dataset(CLIP).multilabel
    assert dataset(CLIP, CLIP._replace(more_labels=("cat",))).multilabel
    assert dataset(CLIP, CLIP._replace(label="")).multilabel


def test_parts_come_before_numbers_before_names() -> None:
    folds = ["b", "10", "test", "9", "train", "a", "valid", "1" * 12]
    assert sorted(folds, key=fold_order) == ["train", "valid", "test", "9", "10", "1" * 12, "a", "b"]
    clips = [CLIP._replace(fold=fold, group=f"g{fold}") for fold in ("10", "", "9")]
    assert (dataset(*clips).folds, dataset(*clips).groups) == (("9", "10"), ("g", "g10", "g9"))
    assert dataset(CLIP._replace(group="")).groups == ()


@pytest.mark.parametrize(
    ("word", "part"),
    [("Training", "train"), ("val", "valid"), ("VALIDATION", "valid"), ("dev", "valid"), ("eval", "test"), ("7", "7")],
)
def test_other_words_for_the_parts(word: str, part: str) -> None:
    assert normalise_part(word) == part


def test_a_digest_is_of_names_spans_labels_groups_and_folds_wherever_the_clips_lie() -> None:
    other = CLIP._replace(path=Path("/data/b.wav"))
    digest = dataset(CLIP, other).digest
    elsewhere = CLIP._replace(path=Path("/moved/a.wav"), tags={"take": "2"})
    assert dataset(elsewhere, other).digest == digest
    changed = [
        CLIP._replace(path=Path("/data/c.wav")),
        *(CLIP._replace(**{name: "x"}) for name in ("label", "group", "fold")),
        *(CLIP._replace(**{name: seconds}) for name in ("start_s", "end_s") for seconds in (None, 2.0)),
        CLIP._replace(more_labels=("cat",)),
        CLIP._replace(label=""),
    ]
    assert len({digest, dataset(CLIP).digest, *(dataset(one, other).digest for one in changed)}) == len(changed) + 2


def test_a_part_of_a_data_set_has_the_labels_of_its_clips() -> None:
    cat, span = CLIP._replace(path=Path("/data/b.wav"), label="cat", group="g2"), CLIP._replace(end_s=2.0)
    whole = dataset(CLIP, span, cat)
    part = whole.select(lambda clip: clip.group == "g1")
    assert (part.clips, part.labels, part.files) == ((CLIP, span), ("dog",), 1)
    assert whole.select(lambda clip: True) == replace(whole, files=2)
    both = CLIP._replace(more_labels=("cat",))
    assert dataset(both, cat).select(lambda clip: clip.label == "dog").labels == ("cat", "dog")


def test_a_data_set_is_read_as_it_is_once_it_is_checked() -> None:
    cat = CLIP._replace(path=Path("/data/b.wav"), label="cat", group="g2")
    whole = dataset(cat, CLIP)  # in an order of its own
    assert read_dataset(replace(whole, labels=("bird", "cat", "dog"))) == whole
    grouped = read_dataset(whole, group_pattern=r"(\w)\.wav")
    assert [clip.group for clip in grouped.clips] == ["b", "a"]
    for wrong, words in (
        (whole.select(lambda clip: clip.label == "dog"), r"only one class in /data: 'dog' \(1 clip\)"),
        (whole.select(lambda clip: False), "no label in /data: none of 0 clips has one"),
        (replace(whole, labels=("cat",)), "clips have labels that the DataSet's labels lack: dog; add them"),
        (replace(whole, labels=("cat", "dog", "cat")), "labels of the DataSet are not different names: cat, dog, cat"),
    ):
        with pytest.raises(DataError, match=words):
            read_dataset(wrong)
    with pytest.raises(SettingsError, match="a DataSet has been read already; drop source='folder'"):
        read_dataset(whole, source="folder")
