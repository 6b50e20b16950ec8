"""What is said of data that can be trained on, and was hardly meant so."""

from pathlib import Path

import pytest

from earsight.dataset.checks import dataset_warnings
from earsight.dataset.clip import Clip, DataSet


def dataset(*clips: Clip, unfilled: tuple[Path, ...] = ()) -> DataSet:
    labels = tuple(sorted({label for clip in clips for label in clip.labels}))
    return DataSet("table", Path("t.csv"), labels, clips, len(clips), empty_class_folders=unfilled)


def span(label: str, start_s: float | None, end_s: float | None, path: str = "a.wav") -> Clip:
    first, *more = label.split(";")
    return Clip(Path(path), first, start_s=start_s, end_s=end_s, more_labels=tuple(more))


def test_nothing_is_said_of_data_without_a_fault() -> None:
    assert dataset_warnings(dataset(span("dog", 0, 1), span("cat", 1, 2), span("dog", None, None, "b.wav"))) == ()


def test_labels_of_one_name_are_told() -> None:
    (told,) = dataset_warnings(
        dataset(*(span(label, n, n + 1) for n, label in enumerate(("Dog", "dog", "do g", "cat", "cat "))))
    )
    pairs = "'Dog' and 'dog'; 'cat' and 'cat '"
    assert told == f"labels that differ only in case or blanks count as different classes: {pairs}"


def test_labels_that_look_the_same_are_told_by_what_they_are_made_of() -> None:
    (told,) = dataset_warnings(
        dataset(*(span(label, n, n + 1) for n, label in enumerate(("Störung", "Sto\u0308rung", "ok", "OK"))))
    )
    assert told.startswith(
        "labels that differ only in case, blanks or the encoding of a letter count as different classes:"
    )
    assert told.endswith(r"'OK' and 'ok'; 'Sto\u0308rung' and 'St\xf6rung'")


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (span("cat", 0.5, 2.4), False),  # 0.5 of 1.9 s
        (span("cat", 0.4, 1.5), True),  # 0.6 of 1.1 s
        (span("dog", 0.4, 1.5), False),
        (span("cat", 0.9, None), False),
        (span("cat", 0.3, None), True),
        (span("cat", 0.4, 1.5, "b.wav"), False),
        (span("dog;cat", 0.4, 1.5), True),
    ],
)
def test_spans_that_contradict_each_other_are_told(second: Clip, found: bool) -> None:
    told = dataset_warnings(dataset(span("dog", 0, 1), second))
    assert bool(told) == found
    if found:
        assert told[0].startswith(
            "spans with different labels that overlap by more than half of the shorter one: 1, such as a.wav"
        )


def test_a_long_span_is_seen_behind_short_ones() -> None:
    clips = [
        span("dog", 0, 100),
        *(span("dog", n, n + 0.5) for n in range(1, 50)),
        span("cat", 60, 61),
        span("dog", 62, 63),
    ]
    (told,) = dataset_warnings(dataset(*clips))
    assert told.startswith("spans with different labels that overlap by more than half of the shorter one: 1, ")
    assert "a.wav [0–100 s] dog and a.wav [60–61 s] cat" in told


def test_folders_without_a_recording_are_told() -> None:
    assert dataset_warnings(dataset(span("dog", 0, 1), span("cat", 1, 2), unfilled=(Path("x/owl"),))) == (
        "1 folder ignored as a class for lack of recordings: owl",
    )
