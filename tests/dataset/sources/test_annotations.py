"""Recordings with labels of Audacity or Raven beside them."""

import shutil
from pathlib import Path

import pytest

from earsight.dataset.sources import read_dataset
from earsight.errors import DataError
from earsight.tasks.answers.row_formats import FORMATS, FormatContext
from tests.conftest import lay

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two recordings with labels of Audacity, one of Raven, and one without."""
    lay(tmp_path, "a.wav", "deep/b.WAV", "deep/c.flac", "deep/bare.wav")
    (tmp_path / "a.txt").write_text("\ufeff0.000000\t1.500000\tdog\n\\\t100.0\t2000.0\n1.5\t2.5\tdog;rain; dog\n\n")
    (tmp_path / "deep" / "b.txt").write_text("3\t4\train 0.97\n3\t4\train 0.97\n")
    rows = ["1\tWaveform 1\t1\t0.5\t2.0\t0\t8000\tdog", "1\tSpectrogram 1\t1\t0.5\t2.0\t0\t8000\tdog"]
    (tmp_path / "deep" / "c.Table.1.selections.txt").write_text(
        RAVEN + "\n".join(rows) + "\n2\tW\t1\t2\t3\t0\t9\towl\n"
    )
    return tmp_path


def test_labels_beside_recordings_are_read(root: Path) -> None:
    dataset = read_dataset(root)
    assert (dataset.source, dataset.group_name, dataset.files) == ("annotations", "recording", 4)
    assert [(clip.path.name, clip.start_s, clip.end_s, clip.labels) for clip in dataset.clips] == [
        ("a.wav", 0.0, 1.5, ("dog",)),
        ("a.wav", 1.5, 2.5, ("dog", "rain")),
        ("b.WAV", 3.0, 4.0, ("rain",)),
        ("c.flac", 0.5, 2.0, ("dog",)),
        ("c.flac", 2.0, 3.0, ("owl",)),
    ]
    assert {clip.group for clip in dataset.clips} == {str(clip.path) for clip in dataset.clips}
    assert [(failure.path.name, failure.reason) for failure in dataset.failures] == [
        ("bare.wav", "no labels beside it, such as bare.txt")
    ]


@pytest.mark.parametrize(("form", "ending"), [("raven", ".selections.txt"), ("audacity", ".txt")])
def test_events_that_predict_writes_can_be_learned_from(tmp_path: Path, form: str, ending: str) -> None:
    facts = FormatContext(("dog", "owl"), 0.0, 8000.0, events=True)
    lines = FORMATS[form].lines
    assert lines is not None
    for name in ("a", "b"):
        lay(tmp_path, f"{name}.wav")
        events = [
            {"path": f"{name}.wav", "start_s": n, "end_s": n + 0.5, "label": label, "probability": 0.971}
            for n, label in enumerate(("dog", "owl"))
        ]
        (tmp_path / f"{name}{ending}").write_text("\n".join(lines(events, facts)) + "\n")
    clips = read_dataset(tmp_path).clips
    assert [(clip.start_s, clip.end_s, clip.label) for clip in clips] == [(0.0, 0.5, "dog"), (1.0, 1.5, "owl")] * 2


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "0\tsoon\tdog\n", "a.txt, line 1: '0' to 'soon' are not seconds; fix the line"),
        ("a.txt", "0\t1\tdog\n2\t2\tdog\n", "a.txt, line 2: a label from 2 to 2 s is no span; fix the line"),
        ("a.txt", "-1\t2\tdog\n", "a.txt, line 1: a label from -1 to 2 s is no span; fix the line"),
        ("a.txt", "0\t1\t\n", "a.txt, line 1 has no label; fill it in, or leave the line out"),
        ("a.txt", "nan\t1\tdog\n", "a.txt, line 1: a label from nan to 1 s is no span; fix the line"),
        ("a.selections.txt", RAVEN + "2\tW\n", "a.selections.txt, line 2: '' to '' are not seconds; fix the line"),
        ("a.selections.txt", "Begin Time (s)\tEnd Time (s)\n0\t1\n", "no column one of label, annotation, species"),
        ("a.selections.txt", "Begin Time (s)\tLabel\n0\tdog\n", "no column end time (s) in a.selections.txt"),
        (
            "a.selections.txt",
            "Begin Time (s)\tEnd Time (s)\tBegin File\tLabel\n0\t1\ta.wav\tdog\n0\t1\tz.wav\tdog\n",
            "a.selections.txt, line 3 is of z.wav; save a table for each recording",
        ),
        (
            "a.selections.txt",
            "Begin Time (s)\tEnd Time (s)\tBegin Path\tLabel\n0\t1\tx\\a.wav\tdog\n0\t1\t/x/z.wav\tdog\n",
            "a.selections.txt, line 3 is of z.wav; save a table for each recording",
        ),
    ],
)
def test_labels_that_are_wrong_lose_their_recording_alone(root: Path, name: str, text: str, reason: str) -> None:
    (root / "a.txt").unlink()
    (root / name).write_text(text)
    dataset = read_dataset(root, source="annotations")
    assert {clip.path.name for clip in dataset.clips} == {"b.WAV", "c.flac"}
    assert dataset.failures[0].path == root / "a.wav"
    assert dataset.failures[0].reason.startswith(reason)


def test_numbers_behind_labels_are_theirs_unless_all_are_probabilities(root: Path) -> None:
    for text, labels in (
        ("0\t1\ttype 1.20\n1\t2\tdog 0.75\n", [("type 1.20",), ("dog 0.75",)]),
        ("0\t1\tdog 0.75\n1\t2\towl\n", [("dog 0.75",), ("owl",)]),
        ("0\t1\tdog 0.75\n1\t2\towl 1.00\n", [("dog",), ("owl",)]),
        ("0\t1\tdog\n0\t1\towl\n0\t1\tdog\n", [("dog", "owl")]),  # both sound
    ):
        (root / "a.txt").write_text(text)
        found = read_dataset(root).clips
        assert [clip.labels for clip in found if clip.path.name == "a.wav"] == labels


def test_a_link_that_leads_nowhere_loses_its_recording_alone(root: Path) -> None:
    shutil.copy(root / "a.wav", root / "lost.wav")
    (root / "lost.txt").symlink_to("gone.txt")
    failures = {failure.path.name: failure.reason for failure in read_dataset(root).failures}
    assert failures["lost.wav"] == "can't read lost.txt: No such file or directory"


def test_two_files_of_labels_are_refused_for_their_recording(root: Path) -> None:
    (root / "a.selections.txt").write_text(RAVEN)
    assert read_dataset(root).failures[0].reason == "2 files of labels: a.selections.txt, a.txt; keep one"


def test_other_texts_are_no_labels(tmp_path: Path) -> None:
    """Transcripts beside recordings in folders of classes."""
    lay(tmp_path, "dog/a.wav", "owl/b.wav")
    for name in ("dog/a.txt", "owl/b.txt"):
        (tmp_path / name).write_text("what was said\n")
    assert read_dataset(tmp_path).source == "folder"
    with pytest.raises(DataError, match=r"no labels beside the 2 recordings in .*are not seconds"):
        read_dataset(tmp_path, source="annotations")
    (tmp_path / "dog" / "a.txt").write_text("0\t1\tdog\n")
    (tmp_path / "owl" / "b.txt").write_text("0\t1\towl\n")
    assert read_dataset(tmp_path).source == "annotations"
    assert read_dataset(tmp_path, source="folder").source == "folder"
