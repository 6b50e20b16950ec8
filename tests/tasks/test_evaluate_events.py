"""evaluate --events: recordings that are annotated beside, and a network that knows low tones and high ones."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from earsight.errors import DataError, SettingsError
from earsight.scores.detection import Scores
from earsight.scores.events import Rule
from earsight.tasks.evaluate import ScoringOptions
from earsight.tasks.evaluate_events import Measure, evaluate_events
from tests.conftest import called, tone, whole_pictures

SONG = "0\t2\tlow\n2\t5\thigh\n5\t7.13\tlow\n"
WINDOWS = {"window_s": 0.4, "hop_s": 0.1}
ONE_THREAD = ScoringOptions(threads=1)


@pytest.fixture
def field(tmp_path: Path, song: Path) -> Path:
    """song.wav, and its labels beside it."""
    (tmp_path / "field").mkdir()
    shutil.copy(song, tmp_path / "field")
    (tmp_path / "field" / "song.txt").write_text(SONG)
    return tmp_path / "field"


@whole_pictures()
def test_what_is_annotated_is_found(home: Path, field: Path, tmp_path: Path) -> None:
    done = evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD, timelines=tmp_path / "drawn")
    # 8 segments, of which none has both: the ends of events are a tenth of a second away at most
    assert done.by_segment.micro.annotated == 8
    assert done.by_segment.micro.recall == 1.0
    assert done.by_event.per_label == {"high": Scores(1.0, 1.0, 1.0, 1, 1), "low": Scores(1.0, 1.0, 1.0, 2, 2)}
    assert (done.recordings, done.by_event.f1_interval) == (1, None)
    assert done.duration_s == pytest.approx(7.13, abs=1e-3)
    assert done.other_starts[0.3] == (done.by_segment.micro.f1, 1.0)
    assert done.sentence == (
        f"Scored on clips of {field}; whether the network heard their speakers or recordings is not known."
    )
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["song.png"]
    with pytest.raises(SettingsError, match=r"song\.png exists; pass --overwrite"):
        evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD, timelines=tmp_path / "drawn")


def test_what_is_annotated_elsewhere_is_not_right(home: Path, field: Path) -> None:
    (field / "song.txt").write_text("0\t2\thigh\n2\t5\tlow\n5\t6\thigh\n")
    done = evaluate_events(
        home / "run", field, **WINDOWS, options=ONE_THREAD, rule=Rule(start_at=0.6), measure=Measure(0.1, 0.9)
    )
    assert done.by_segment.micro.precision == pytest.approx(0, abs=0.05)
    assert done.by_event.micro == Scores(0.0, 0.0, 0.0, 3, 3)
    # 6 s of the 7.13 say the other label, the rest is made up
    assert done.by_segment.error_rate == pytest.approx(7.13 / 6, abs=0.05)


def test_what_is_found_where_nothing_is_annotated_is_made_up(home: Path, field: Path) -> None:
    alone = evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD)
    soundfile.write(field / "quiet.wav", tone(300, 3.0), 16000)
    (field / "quiet.txt").write_text("")  # somebody listened, and there was nothing
    with_it = evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD)
    assert (alone.recordings, with_it.recordings) == (1, 2)
    assert with_it.duration_s == pytest.approx(alone.duration_s + 3, abs=1e-3)
    assert with_it.by_event.per_label["low"] == Scores(2 / 3, 1.0, 0.8, 2, 3)
    assert with_it.by_segment.micro.found == alone.by_segment.micro.found + 3


def test_a_background_label_ends_others_and_is_itself_no_event(home: Path, field: Path, tmp_path: Path) -> None:
    (field / "song.txt").write_text("2\t5\thigh\n")  # the fault alone, as who listens for faults annotates
    loud, quiet = (evaluate_events(home / "run", field, **WINDOWS, rule=Rule(background=of)) for of in ((), ("low",)))
    assert loud.by_event.micro == Scores(1 / 3, 1.0, 0.5, 1, 3)
    assert quiet.by_event.micro == Scores(1.0, 1.0, 1.0, 1, 1)
    assert quiet.by_event.per_label["high"] == loud.by_event.per_label["high"]
    assert quiet.other_starts[0.3][1] == 1.0
    assert (loud.false_an_hour, quiet.false_an_hour) == (pytest.approx(2 * 3600 / 7.13, abs=0.2), 0.0)
    assert loud.to_dict()["by_event"]["false_an_hour"] == loud.false_an_hour
    (field / "song.txt").write_text(SONG)  # annotated too, it is neither missed nor found
    assert evaluate_events(home / "run", field, **WINDOWS, rule=Rule(background=("low",))).by_event.micro.annotated == 1
    asked = ["--window", "0.4", "--hop", "0.1", "--events", "--background", "low", "--json"]
    said = called("predict", home / "model.onnx", field / "song.wav", *asked).stdout.splitlines()
    assert [json.loads(line)["label"] for line in said] == ["high"]
    with pytest.raises(SettingsError, match="--background Low: the model does not know it; its labels: high, low"):
        evaluate_events(home / "run", field, **WINDOWS, rule=Rule(background=("Low",)))


def test_labels_that_the_model_does_not_know_are_told_and_not_looked_for(home: Path, field: Path) -> None:
    (field / "song.txt").write_text("0\t2\tlow\n2\t5\thigh\n2\t3\tdog\n5\t7.13\tlow\n")
    done = evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD)
    assert done.by_event.micro.annotated == 3
    assert done.by_event.micro.f1 == 1.0
    assert done.warning == "annotated labels that the model does not know were ignored: dog"
    assert done.starts_at == (0.3, 0.3)
    (field / "song.txt").write_text("0\t2\tLow\n")
    with pytest.raises(DataError, match="the model does not know Low; its labels: high, low"):
        evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD)


def test_a_recording_that_cannot_be_read_to_its_end_is_left_out_and_told(home: Path, field: Path) -> None:
    whole = (field / "song.wav").read_bytes()
    (field / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (field / "cut.txt").write_text("0\t1\tlow\n1\t2\tlow\n")
    soundfile.write(field / "late.wav", tone(300, 2.0), 16000)
    (field / "late.txt").write_text("0\t1\tlow\n1\t9\tlow\n")
    done = evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD)
    assert done.recordings == 1
    told = {failure.path.name: failure.reason for failure in done.failures}
    assert sorted(told) == ["cut.wav", "late.wav"]
    assert "truncated: 3.5" in told["cut.wav"]
    assert "a span of it was to end at 9 s" in told["late.wav"]
    for name in ("song.wav", "song.txt"):
        (field / name).unlink()
    with pytest.raises(DataError, match="none of 1 recording could be used; truncated"):
        evaluate_events(home / "run", field, **WINDOWS, options=ONE_THREAD)


def test_recordings_of_which_a_part_was_heard_are_refused_or_left_out(home: Path, field: Path) -> None:
    heard = next(row for row in csv.DictReader((home / "run" / "clips.csv").open()) if row["part"] == "train")
    rows = [(field / "song.wav", "low", 0, 2), (field / "song.wav", "high", 2, 5), (heard["path"], "low", 0, 0.3)]
    with (field / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "start", "end"), *rows])
    with pytest.raises(DataError, match=r"1 leak between .* overlapping spans of a recording"):
        evaluate_events(home / "run", field / "table.csv", **WINDOWS, options=ONE_THREAD)
    without = evaluate_events(home / "run", field / "table.csv", **WINDOWS, options=replace(ONE_THREAD, leaks="drop"))
    assert (without.recordings, without.by_event.micro.annotated) == (1, 2)
    assert [str(failure.path) for failure in without.dropped] == [heard["path"]]
    with_it = evaluate_events(home / "run", field / "table.csv", **WINDOWS, options=replace(ONE_THREAD, leaks="allow"))
    assert (with_it.recordings, with_it.by_event.micro.annotated) == (2, 3)
    assert with_it.caveat == "with leaks"


def test_test_clips_whose_recordings_were_heard_in_training_are_no_test_of_events(
    home: Path, field: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    rows = [("part", "path", "label", "group", "fold", "start", "end", "digest")]
    rows += [
        ("train", field / "song.wav", "low", "", "", 0, 2, "x"),
        ("test", field / "song.wav", "high", "", "", 2, 5, "y"),
    ]
    with (tmp_path / "run" / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError, match=r"other pieces of 1 recording with test clips of .* were heard in training"):
        evaluate_events(tmp_path / "run", **WINDOWS, options=ONE_THREAD)


def test_the_command_prints_both_measures_or_json(home: Path, field: Path) -> None:
    arguments = ("evaluate", home / "run", field, "--events", "--window", "0.4", "--hop", "0.1", "--threads", "1")
    told = called(*arguments)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[1] == "1 recording, 0.1 min, 3 annotated events"
    assert lines[2].startswith("by 1 s segments          F1 ")
    assert lines[3].startswith("by events, overlap 0.5   F1 1.000   precision 1.000   recall 1.000   macro-F1 1.000")
    values = json.loads(called(*arguments, "--json").stdout)
    assert values["by_event"]["labels"]["low"] == {
        "precision": 1.0, "recall": 1.0, "f1": 1.0, "annotated": 2, "found": 2
    }  # fmt: skip
    assert values["by_segment"]["segment_s"] == 1.0
    assert [one["start_at"] for one in values["other_starts"]][:2] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--events"], "--events needs windows; pass --window SECONDS too"),
        (["--window", "0.4"], "only work with events; pass --events too"),
        (["--segment", "2"], "only work with events; pass --events too"),
        (["--start-at", "0.2"], "only work with events; pass --events too"),
        (["--events", "--window", "9"], "--window 9 is longer than the 0.4 s that the network hears"),
        (["--events", "--window", "0.4", "--segment", "0"], "--segment must be 0.01 s or more, got 0"),
        (["--events", "--window", "0.4", "--overlap", "1.5"], "--overlap is a share above 0 and up to 1, got 1.5"),
        (["--events", "--window", "0.4", "--timelines", __file__], "is a file; name a folder"),
    ],
)
def test_what_makes_no_sense_is_refused(home: Path, field: Path, arguments: list[str], message: str) -> None:
    refused = called("evaluate", home / "run", field, *arguments)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert message in refused.stderr
