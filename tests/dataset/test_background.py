"""Clips without a label, from between those that have one."""

from itertools import pairwise
from pathlib import Path

import pytest
import soundfile

from earsight.dataset.background import background, gaps_between
from earsight.dataset.clip import Clip
from earsight.dataset.sources import read_dataset
from tests.conftest import called, tone

DAY = Path("day.wav")


def spans(*edges: tuple[float, float | None], path: Path = DAY) -> list[Clip]:
    return [Clip(path, "bee", "site", "2", start_s, end_s) for start_s, end_s in edges]


def test_gaps_lie_a_tenth_of_a_second_from_labels_and_are_long_enough() -> None:
    assert gaps_between([(1, 2), (4, 5)], 10) == [(0, pytest.approx(0.9)), (2.1, 3.9), (5.1, 10)]
    assert gaps_between([(4, 5), (1, 4.5)], None) == [(0, pytest.approx(0.9))]  # an end that nobody knows
    assert gaps_between([(1, None), (0.2, 0.5)], 10) == [(0.6, pytest.approx(0.9))]  # the rest is one span
    assert gaps_between([(0, 5), (1, 2)], 5.2) == []


def test_as_many_as_there_are_labels_as_long_as_they_and_beside_them() -> None:
    clips = [*spans((10, 12), (20, 20.5), (30, 37)), *spans((3, 4), path=Path("night.wav"))]
    found = background(clips, lambda path: {"day.wav": 60.0, "night.wav": 9.0}[path.name])
    assert sorted(round(clip.end_s - clip.start_s, 3) for clip in found if clip.path == DAY) == [0.5, 2, 7]  # type: ignore[operator]
    assert [(clip.path, clip.labels, clip.group, clip.fold) for clip in found[3:]] == [
        (Path("night.wav"), (), "site", "2")
    ]
    edges = sorted((clip.start_s or 0, clip.end_s or 0) for clip in (*found[:3], *clips[:3]))
    assert all(one[1] <= two[0] for one, two in pairwise(edges))
    assert background(clips, lambda path: 60.0)[:3] == background(list(reversed(clips)), lambda path: 60.0)[:3]


def test_tags_that_all_spans_of_a_recording_share_are_those_of_what_lies_between() -> None:
    clips = [clip._replace(tags={"part": "test", "take": str(n)}) for n, clip in enumerate(spans((1, 2), (4, 5)))]
    assert [clip.tags for clip in background(clips, lambda path: 60.0)] == [{"part": "test"}] * 2


def test_beside_a_span_that_goes_on_to_the_end_nothing_is_put() -> None:
    assert background(spans((1, None)), lambda path: 60.0) == []
    found = background(spans((0.5, 1), (4, None)), lambda path: 60.0, [Path("quiet.wav")])
    assert [clip.end_s - clip.start_s for clip in found] == pytest.approx([0.5] * 3)  # type: ignore[operator]


def test_where_room_is_short_the_longest_gap_is_taken_whole_and_then_there_is_none() -> None:
    found = background(spans((0, 3), (4, 7)), lambda path: 7.5)
    assert [(clip.start_s, clip.end_s) for clip in found] == [(3.1, 3.9), (7.1, 7.5)]
    assert background(spans((0, 7.5)), lambda path: 7.5) == []


def test_a_recording_in_which_nothing_is_gets_as_many_as_another() -> None:
    clips = [*spans((0, 1), (2, 3.5), (5, 9)), *spans((0, 1), path=Path("night.wav"))]
    quiet = Path("quiet.wav")
    found = [clip for clip in background(clips, lambda path: 60.0, [quiet]) if clip.path == quiet]
    assert sorted(clip.end_s - clip.start_s for clip in found) == pytest.approx([1, 4])  # type: ignore[operator]
    assert [(clip.labels, clip.group, clip.fold) for clip in found] == [((), "quiet.wav", "")] * 2


def test_the_command_writes_a_table_that_trains(tmp_path: Path) -> None:
    (tmp_path / "field").mkdir()
    for name in ("one", "two"):
        soundfile.write(tmp_path / "field" / f"{name}.wav", tone(440, 6), 16000)
        (tmp_path / "field" / f"{name}.txt").write_text("1\t2\tbee\n3.5\t4\tfly\n")
    soundfile.write(tmp_path / "field" / "quiet.wav", tone(440, 6), 16000)
    (tmp_path / "field" / "quiet.txt").write_text("")
    done = called("data", "background", "field", "--out", "spans.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = ["4 labelled spans and 6 without a label: spans.csv", "try:   earsight train spans.csv"]
    assert done.stdout.splitlines() == told
    dataset = read_dataset(tmp_path / "spans.csv")
    assert (dataset.multilabel, dataset.labels, len(dataset.groups)) == (True, ("bee", "fly"), 3)
    assert [len(clip.labels) for clip in dataset.clips].count(0) == 6
    inside = called("data", "background", "field", "--out", "field/spans.csv", cwd=tmp_path)
    assert (inside.returncode, "it would be read instead of the recordings" in inside.stderr) == (2, True)
    again = called("data", "background", "field", "--out", "spans.csv", cwd=tmp_path)
    assert (again.returncode, "pass --overwrite" in again.stderr) == (2, True)


def test_whole_recordings_have_nothing_between_them(tmp_path: Path) -> None:
    for name in ("bee/1.wav", "fly/2.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, tone(440, 1), 16000)
    refused = called("data", "background", tmp_path, "--out", "spans.csv", cwd=tmp_path.parent)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "there is no room between the annotated spans of" in refused.stderr
    assert "annotate spans of longer recordings" in refused.stderr
