"""What a clip and a data set say of themselves."""

from pathlib import Path

import pytest

from earsight.dataset.clip import Clip, DataSet, fold_order, normalise_part

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
