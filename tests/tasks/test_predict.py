"""predict: what may be named, windows and events of long recordings, files, and a run that was killed."""

import contextlib
import csv
import functools
import http.server
import importlib.util
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import earsight as es
from earsight.audio.settings import AudioSettings
from earsight.errors import DataError, EarsightError, SettingsError
from earsight.scores.events import Rule
from earsight.tasks import predict as module
from earsight.tasks.answers import predict_file
from earsight.tasks.answers.journal import Journal
from earsight.tasks.answers.predict_file import Job, predict_to, unique_stems
from earsight.tasks.predict import Row, Sliding, predict
from earsight.tasks.recordings import Recording, list_recordings
from earsight.terminal import answer_line
from tests.conftest import called, learned, tone, whole_pictures, write_tones
from tests.tasks.test_train import recipe

RATE_HZ = 16000


def high(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """float64 [samples]: as the network was trained on, with a little noise."""
    noise = np.random.default_rng(1).standard_normal(round(seconds * rate_hz))
    return tone(3000, seconds, rate_hz) + 0.01 * noise


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "earsight", "predict", *map(str, arguments)]


def earsight(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_the_exported_file_and_the_run_say_the_same_of_every_window(home: Path, song: Path) -> None:
    found = [list(predict(model, [song], window_s=0.4, hop_s=0.1)) for model in (home / "run", home / "model.onnx")]
    assert len(found[0]) == len(found[1]) == math.ceil((7.13 - 0.4) / 0.1) + 1
    for ours, theirs in zip(*found, strict=True):
        assert (ours.start_s, ours.end_s, ours.last) == (theirs.start_s, theirs.end_s, theirs.last)
        assert list(ours.probabilities.values()) == pytest.approx(list(theirs.probabilities.values()), abs=1e-4)
    assert [row.last for row in found[0]].count(True) == 1
    assert found[0][-1].end_s == pytest.approx(7.13, abs=1e-4)


def test_a_loaded_model_answers_as_where_it_was_loaded_from(home: Path, song: Path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    for place in (home / "run", home / "model.onnx"):
        expected = list(predict(place, [song], window_s=0.4, threads=before + 1))
        assert torch.get_num_threads() == before
        loaded = es.load_model(place, threads=1)
        torch.set_num_threads(before)
        named = (path for path in [song])
        found = list(predict(loaded, named, window_s=0.4))
        assert [(row.label, row.start_s, row.last) for row in found] == [
            (row.label, row.start_s, row.last) for row in expected
        ]
        samples, rate_hz = soundfile.read(song, dtype="int16")
        alone = loaded.predict(samples.T, rate_hz=rate_hz)
        assert alone == loaded.predict(song.read_bytes())
        for answer in loaded.predict_many([song, (samples.T, rate_hz)]):
            assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        with pytest.raises(SettingsError, match=r"hop_s 0\.1 only works with windows; pass window_s too"):
            predict(loaded, [song], hop_s=0.1)
        with pytest.raises(SettingsError, match="has its device and threads from load_model"):
            predict(loaded, [song], device="mps")
        with pytest.raises(DataError, match="bytes is not the name of a recording; pass paths here"):
            predict(loaded, [b"RIFF"])  # type: ignore[list-item]
    with pytest.raises(SettingsError, match="int is not a model; pass a run folder"):
        predict(3, [song])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "message"), [("gpu", "no device 'gpu'"), ("cuda:99", "this machine has no cuda:99")]
)
def test_a_device_that_is_not_there_is_refused_by_both_that_load(home: Path, device: str, message: str) -> None:
    for load in (es.load_model, es.Classifier.load):
        with pytest.raises(SettingsError, match=message):
            load(home / "run", device)


def test_a_window_is_answered_as_a_file_that_holds_only_it(home: Path, song: Path, tmp_path: Path) -> None:
    sound, _ = soundfile.read(song, start=3 * 48000, stop=round(3.4 * 48000))
    soundfile.write(tmp_path / "part.wav", sound, 48000)
    (alone,) = predict(home / "model.onnx", [tmp_path / "part.wav"])
    window = next(row for row in predict(home / "model.onnx", [song], window_s=0.4, hop_s=0.2) if row.start_s == 3.0)
    # The resampler hears the neighbours of a window, and silence around a file.
    assert list(window.probabilities.values()) == pytest.approx(list(alone.probabilities.values()), abs=0.02)


@whole_pictures()
def test_events_begin_and_end_within_a_hop_of_the_truth(home: Path, song: Path, tmp_path: Path) -> None:
    job = Job.of(home / "model.onnx", [song], window_s=0.4, hop_s=0.1, rule=Rule(), timelines=tmp_path / "drawn")
    done = predict_to(job, tmp_path / "events.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "events.csv").read_text())))
    assert [row["label"] for row in rows] == ["low", "high", "low"]
    for row, (start_s, end_s) in zip(rows, ((0, 2), (2, 5), (5, 7.13)), strict=True):
        assert abs(float(row["start_s"]) - start_s) <= 0.1 + 1e-6
        assert abs(float(row["end_s"]) - end_s) <= 0.1 + 1e-6
        assert float(row["probability"]) > 0.5
    assert (done.rows, done.recordings, done.failures) == (3, 1, ())
    assert (tmp_path / "drawn" / "song.png").stat().st_size > 5000
    assert not (tmp_path / "events.csv.part").exists()


def test_every_format_holds_the_same_events(home: Path, song: Path, tmp_path: Path) -> None:
    job = Job.of(home / "model.onnx", [song], window_s=0.4, hop_s=0.1, rule=Rule())
    suffixes = {"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "audacity": ".txt", "rttm": ".rttm"}
    text = {}
    for name, suffix in (*suffixes.items(), ("raven", ".selections.txt")):
        place = tmp_path / f"out{suffix}"
        assert predict_to(job, place).places == (place,)
        text[name] = place.read_text() if name != "parquet" else ""
    truth = [json.loads(line) for line in text["jsonl"].splitlines()]
    spans = [(row["start_s"], row["end_s"], row["label"], row["probability"]) for row in truth]
    audacity = [line.split("\t") for line in text["audacity"].splitlines()]
    assert [(float(a), float(b), c) for a, b, c in audacity] == [(a, b, f"{c} {p:.2f}") for a, b, c, p in spans]
    rttm = [line.split(" ") for line in text["rttm"].splitlines()]
    assert [len(fields) for fields in rttm] == [10] * 3
    assert [(f[0], f[1], float(f[3]), float(f[4]), f[7]) for f in rttm] == [
        ("SPEAKER", "song", pytest.approx(a), pytest.approx(b - a), c) for a, b, c, _ in spans
    ]
    raven = list(csv.DictReader(io.StringIO(text["raven"]), delimiter="\t"))
    assert [(float(row["Begin Time (s)"]), float(row["End Time (s)"]), row["Label"]) for row in raven] == [
        (a, b, c) for a, b, c, _ in spans
    ]
    assert {(row["Low Freq (Hz)"], row["High Freq (Hz)"]) for row in raven} == {("0.0", "8000.0")}
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["start_s"], row["end_s"], row["label"], row["probability"]) for row in table] == spans


def test_answers_as_csv_and_parquet_have_a_column_for_every_class(home: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    job = Job.of(home / "model.onnx", [home / "tones" / "low", bad], unknown=False)
    done = predict_to(job, tmp_path / "a.csv")
    predict_to(job, tmp_path / "a.parquet")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert (len(rows), len(done.failures)) == (13, 1)
    assert {row["label"] for row in rows[:12]} == {"low"}
    for row in rows[:12]:
        assert float(row["prob:low"]) + float(row["prob:high"]) == pytest.approx(1)
        assert float(row["probability"]) == float(row["prob:low"])
    assert "not readable as sound" in rows[12]["error"]
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["path"] for row in table] == [row["path"] for row in rows]
    assert [row["prob:low"] for row in table[:12]] == [float(row["prob:low"]) for row in rows[:12]]
    assert table[12]["prob:low"] is None


def test_audacity_gets_a_file_for_each_recording(home: Path, song: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "song.wav"
    twin.write_bytes(song.read_bytes())
    job = Job.of(home / "model.onnx", [song, twin], window_s=0.4, rule=Rule())
    done = predict_to(job, tmp_path / "labels", format_name="audacity")
    assert [place.name for place in done.places] == ["song.txt", "song-2.txt"]
    assert done.places[0].read_text() == done.places[1].read_text() != ""


def test_a_folder_that_was_being_written_is_gone_on_with(home: Path, song: Path, tmp_path: Path) -> None:
    from earsight.tasks.answers import predict_file

    job = Job.of(home / "model.onnx", [song, home / "tones"], window_s=0.2, rule=Rule())
    write, folder = predict_file.write_rows, tmp_path / "labels"

    def stopped(path: Path, *rest: object) -> None:
        if path.name != "song.txt":
            raise KeyboardInterrupt
        write(path, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_file, "write_rows", stopped)
        with pytest.raises(KeyboardInterrupt):
            predict_to(job, folder, format_name="audacity")
    assert [path.name for path in folder.iterdir()] == ["song.txt"]
    done = predict_to(job, folder, format_name="audacity", resume=True)
    assert (done.resumed, len(list(folder.iterdir()))) == (25, 25)
    with pytest.raises(SettingsError, match="exists; pass --overwrite"):
        predict_to(job, folder, format_name="audacity", resume=True)


def test_this_folder_takes_a_file_for_each_recording_too(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    options = ["--window", "0.2", "--events", "--format", "audacity", "--out", ".", "--overwrite"]
    done = called("predict", home / "model.onnx", home / "tones" / "low", *options, cwd=folder)
    assert (done.returncode, done.stderr, len(list(folder.iterdir()))) == (0, "", 12)
    assert list(tmp_path.iterdir()) == [folder]


@whole_pictures()
def test_pictures_are_replaced_where_that_is_asked_for(home: Path, song: Path, tmp_path: Path) -> None:
    options = ["--window", "0.4", "--hop", "0.4", "--timelines", "drawn"]
    picture = tmp_path / "drawn" / "song.png"
    picture.parent.mkdir()
    picture.write_text("mine")
    for more in ([], ["--out", "x.csv"]):
        done = called("predict", home / "model.onnx", song, *options, *more, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "drawn/song.png exists; pass --overwrite" in done.stderr
    assert (picture.read_text(), list(tmp_path.iterdir())) == ("mine", [picture.parent])
    assert called("predict", home / "model.onnx", song, *options, "--overwrite", cwd=tmp_path).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_parquet_takes_names_that_are_no_text(home: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    path.write_text("no sound")
    predict_to(Job.of(home / "model.onnx", [path]), tmp_path / "x.parquet")
    (row,) = pyarrow.parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert row["path"].endswith("caf\\udce9.wav")
    assert "caf\\udce9.wav" in row["error"]


def test_a_name_is_taken_once() -> None:
    paths = ("a/x.wav", "b/x.wav", "c/x.flac", "https://h/y.wav", "-")
    assert unique_stems(paths) == ["x", "x-2", "x-3", "y", "recording"]


@whole_pictures()
def test_pictures_keep_their_names_when_a_stopped_run_goes_on(home: Path, song: Path, tmp_path: Path) -> None:
    twin = tmp_path / "other" / song.name
    twin.parent.mkdir()
    twin.write_bytes(song.read_bytes())
    job = Job.of(home / "model.onnx", [song, twin], window_s=0.4, rule=Rule(), timelines=tmp_path / "drawn")
    answers = job.answers()
    next(row for row, _ in answers if row.last)  # the first recording is over: its picture is there
    assert [place.name for place in (tmp_path / "drawn").iterdir()] == ["song.png"]
    first = (tmp_path / "drawn" / "song.png").read_bytes()
    assert sum(row.last for row, _ in job.answers(skip=1)) == 1
    assert sorted(place.name for place in (tmp_path / "drawn").iterdir()) == ["song-2.png", "song.png"]
    assert (tmp_path / "drawn" / "song.png").read_bytes() == first != (tmp_path / "drawn" / "song-2.png").read_bytes()


def test_killed_in_the_middle_it_goes_on_with_the_rows_of_an_undisturbed_run(home: Path, tmp_path: Path) -> None:
    """A real SIGKILL, at a moment that nobody chooses, twice."""
    rng = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    for number in range(1000):
        hz = 300 if rng.random() < 0.5 else 3000
        soundfile.write(tmp_path / "many" / f"{number:04}.wav", tone(hz * rng.uniform(0.9, 1.1), 0.2), RATE_HZ)
    (tmp_path / "many" / "0500.wav").write_text("no sound")
    given = [home / "model.onnx", tmp_path / "many", "--window", "0.1", "--hop", "0.05", "--threads", "1", "--out"]
    whole = earsight(*given, tmp_path / "whole.jsonl")
    assert whole.returncode == 2
    assert "1 recording could not be read completely; the first: " in whole.stderr
    out, part = tmp_path / "killed.jsonl", tmp_path / "killed.jsonl.part"
    for kilobytes in (20, 120):
        running = subprocess.Popen(command(*given, out, "--resume"), stderr=subprocess.DEVNULL)
        while not (part.exists() and part.stat().st_size > kilobytes * 1000) and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert not out.exists()
    with part.open("ab") as file:
        file.write(b'{"row": {"path": "torn')
    refused = earsight(*given, out)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "pass --resume" in refused.stderr
    done = earsight(*given, out, "--resume")
    assert done.returncode == 2
    assert " from before): " in done.stdout
    rows = out.read_text().splitlines()
    assert len(rows) == len(set(rows)) == 3 * 999 + 1
    # Batches of other neighbours may end in another last digit.
    for ours, theirs in zip(map(json.loads, rows), map(json.loads, (tmp_path / "whole.jsonl").open()), strict=True):
        first, second = ours.pop("probabilities"), theirs.pop("probabilities")
        assert ours == theirs
        if first is not None:
            assert list(first.values()) == pytest.approx(list(second.values()), abs=1e-6)
    assert not part.exists()


def test_other_work_is_not_gone_on_with(home: Path, song: Path, tmp_path: Path) -> None:
    part = tmp_path / "x.jsonl.part"

    def interrupted(*_: object, **__: object) -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    job = Job.of(home / "model.onnx", [song], window_s=0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("earsight.tasks.answers.predict_file.answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_to(job, tmp_path / "x.jsonl")
    assert part.exists()
    other = Job.of(home / "model.onnx", [song], window_s=0.4, hop_s=0.05)
    with pytest.raises(DataError, match="windows differ"):
        predict_to(other, tmp_path / "x.jsonl", resume=True)
    assert predict_to(job, tmp_path / "x.jsonl", resume=True).resumed == 0
    with pytest.raises(SettingsError, match="exists; pass --overwrite"):
        predict_to(job, tmp_path / "x.jsonl")


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_a_truncated_recording_is_answered_and_marked(home: Path, tmp_path: Path, ending: str) -> None:
    soundfile.write(tmp_path / f"whole.{ending}", high(20), RATE_HZ)
    data = (tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"x.{ending}"
    path.write_bytes(data[: len(data) // 2])
    (row,) = predict(home / "model.onnx", [path])
    assert row.label == "high"
    assert row.truncated is not None
    assert row.failed
    assert row.to_dict()["truncated"] == row.truncated
    rows = list(predict(home / "model.onnx", [path], window_s=0.4, hop_s=0.4))
    assert {row.label for row in rows[:-1]} == {"high"}
    assert 5 < rows[-2].end_s < 15
    assert (rows[-1].label, rows[-1].start_s, rows[-1].last) == (None, rows[-2].end_s, True)
    assert "truncated" in rows[-1].error or "damaged after" in rows[-1].error


def test_neither_the_model_nor_a_recording_is_written_over(home: Path, song: Path, tmp_path: Path) -> None:
    path, model = tmp_path / "x.wav", tmp_path / "m.onnx"
    path.write_bytes(song.read_bytes())
    model.write_bytes((home / "model.onnx").read_bytes())
    (tmp_path / "link.csv").symlink_to(path)
    table = tmp_path / "t.csv"
    table.write_text("path\nx.wav\n")
    job = Job.of(model, [path, table])
    one = "one of the recordings"
    outs = ((path, one), (tmp_path / "link.csv", one), (model, "the model"), (table, "one of the input tables"))
    for out, words in outs:
        with pytest.raises(SettingsError, match=f"is {words}.*; name another file"):
            predict_to(job, out, format_name="csv", overwrite=True)
    assert path.read_bytes() == song.read_bytes()
    assert model.read_bytes() == (home / "model.onnx").read_bytes()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["link.csv", "m.onnx", "t.csv", "x.wav"]
    assert table.read_text() == "path\nx.wav\n"


def test_names_that_break_lines_stay_one_cell(home: Path, song: Path, tmp_path: Path) -> None:
    names = ["a\nb.wav", "c\rd.wav", 'e"f.wav', "g,h.wav"]
    for name in names:
        (tmp_path / name).write_bytes(song.read_bytes())
    predict_to(Job.of(home / "model.onnx", [tmp_path / name for name in names]), tmp_path / "x.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "x.csv").read_bytes().decode(), newline="")))
    assert [row[0] for row in rows[1:]] == [str(tmp_path / name) for name in names]
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"earsight journal": 1}\n'])
def test_a_file_of_that_name_that_is_no_journal_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    part = tmp_path / "x.csv.part"
    part.write_bytes(content)
    with pytest.raises(DataError, match="is from a different command"):
        Journal(part, {"work": 1}, resume=True)
    assert part.read_bytes() == content
    for cut in (b"", b'{"earsight journal": 1, "wo'):
        part.write_bytes(cut)
        with Journal(part, {"work": 1}, resume=True) as journal:
            assert journal.done == 0
        assert part.read_bytes() == b'{"earsight journal": 1, "work": 1}\n'


def test_recordings_of_one_name_are_told_apart_in_rttm(home: Path, song: Path, tmp_path: Path) -> None:
    paths = [tmp_path / day / "a b.wav" for day in ("day1", "day2")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(song.read_bytes())
    job = Job.of(home / "model.onnx", paths, window_s=0.4, hop_s=0.1, rule=Rule())
    predict_to(job, tmp_path / "x.rttm")
    fields = [line.split(" ") for line in (tmp_path / "x.rttm").read_text().splitlines()]
    assert {len(row) for row in fields} == {10}
    names = [row[1] for row in fields]
    assert names[0] == "a_b"
    assert names[-1].endswith("_day2_a_b.wav")
    assert names.count(names[0]) == names.count(names[-1]) == len(names) / 2


def test_two_processes_do_not_write_one_file(home: Path, song: Path, tmp_path: Path) -> None:
    part = tmp_path / "x.csv.part"
    with Journal(part, {"work": 1}, resume=False) as journal:
        journal.write({"path": "a"})
        journal.finish_item()
        held = part.read_bytes()
        done = earsight(home / "model.onnx", song, "--out", tmp_path / "x.csv", "--resume")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "is being written by another process" in done.stderr
        assert part.read_bytes() == held
    with Journal(part, {"work": 1}, resume=True) as journal:
        assert journal.done == 1


def test_a_recording_of_hours_is_not_read_as_a_whole(home: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(8000 * 3601, dtype=np.uint8).view(np.int8).astype(np.int16), 8000)
    (row,) = predict(home / "model.onnx", [tmp_path / "x.wav"])
    assert "longer than 60 minutes" in row.error
    assert "--window 0.4" in row.error


def test_what_was_not_heard_of_a_long_recording_is_told(home: Path, song: Path, tmp_path: Path) -> None:
    for options in ((), ("--out", tmp_path / "rows.csv")):
        done = earsight(home / "model.onnx", song, *options)
        assert done.returncode == 0
        assert "only 0.4 s of 1 recording was used" in done.stderr
        assert "pass --window 0.4" in done.stderr
        assert len(done.stdout.splitlines()) == 1


def test_folders_patterns_tables_and_repeats_are_listed(home: Path, tmp_path: Path, song: Path) -> None:
    low = home / "tones" / "low"
    table = tmp_path / "clips.csv"
    table.write_text(f"path,start,end,note\n{song},0.5,1.5,x\n{low / 'low00.wav'},,,y\n")
    found = list_recordings([low, f"{low}/low0[01].wav", table, song, song])
    assert len(found) == 12 + 1 + 1
    assert found[12] == Recording(str(song), 0.5, 1.5)
    assert found[13] == Recording(str(song))
    odd = tmp_path / "odd[1].wav"
    odd.write_bytes(song.read_bytes())
    assert list_recordings([odd]) == [Recording(str(odd))]
    assert list_recordings([tmp_path / "*.wav"]) == [Recording(str(odd))]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert list_recordings(["odd[1].wav", "./odd[1].wav", odd]) == [Recording("odd[1].wav")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\nx.wav,a\n", "no column 'path'"),
        ("path,start,end\nx.wav,3,2\n", "end must be after start"),
        ("path,start\nx.wav,soon\n", "'soon' is not a number of seconds"),
        ("path,start\n,1\n", "line 2: no path"),
    ],
)
def test_a_table_that_names_no_recordings_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        list_recordings([tmp_path / "x.csv"])


def test_a_span_of_a_table_is_heard_alone(home: Path, song: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"path,start,end\n{song},0.5,1.5\n{song},2.5,4.5\n")
    rows = list(predict(home / "model.onnx", [tmp_path / "x.csv"]))
    assert [(row.label, row.start_s, row.end_s) for row in rows] == [("low", 0.5, 1.5), ("high", 2.5, 4.5)]
    rows = list(predict(home / "model.onnx", [tmp_path / "x.csv"], window_s=0.4, hop_s=0.4))
    assert [row.start_s for row in rows] == pytest.approx([0.5, 0.9, 1.1, 2.5, 2.9, 3.3, 3.7, 4.1])
    assert [row.last for row in rows] == [False, False, True, False, False, False, False, True]


def test_a_span_that_ends_after_its_recording_says_so(home: Path, song: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"path,start,end\n{song},6.0,9.0\n{song},6.0,7.2\n{song},8.0,9.0\n")
    cut, rounded, outside = predict(home / "model.onnx", [tmp_path / "x.csv"])
    assert (cut.label, rounded.label, outside.label) == ("low", "low", None)
    assert cut.truncated == f"ends after 7.13 s, a span of it was to end at 9 s: {song}"
    assert rounded.truncated is None  # by less than a tenth of a second, as tables made by hand have it
    assert "no samples after 8 s" in (outside.error or "")
    *heard, last = predict(home / "model.onnx", [tmp_path / "x.csv"], window_s=0.4, hop_s=0.4)
    assert last.error == outside.error
    assert [row.error for row in heard if row.label is None] == [cut.truncated]


def test_a_span_behind_the_end_of_a_recording_that_was_cut_off_loses_no_other(home: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(300, 4.0), 16000)
    content = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(content[:-64000])  # two of four seconds
    (tmp_path / "x.csv").write_text("path,start,end\nx.wav,3,4\nx.wav,0.5,1.5\n")
    behind, whole = predict(home / "model.onnx", [tmp_path / "x.csv"])
    assert (behind.label, whole.label) == (None, "low")
    assert "2.00 s of 4.00 s are there" in (behind.error or "")


@pytest.mark.parametrize("rate_hz", [16000, 22050, 44100])
def test_the_shortest_hop_is_taken_at_any_rate(rate_hz: int) -> None:
    audio = AudioSettings(rate_hz=rate_hz)
    assert 0.001 <= Sliding(1.0, 0.001).of(audio).hop_s < 0.0011
    assert Sliding.every(0.002, None).of(audio).hop_s >= 0.001


def test_a_recording_comes_from_standard_input(home: Path, song: Path) -> None:
    done = earsight(home / "model.onnx", "-", "--window", "0.4", input=None, stdin=song.open("rb"))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {row["path"] for row in rows} == {"-"}
    assert rows[-1]["end_s"] == pytest.approx(7.13, abs=1e-4)


def test_addresses_are_fetched_and_their_failures_are_rows(home: Path, song: Path) -> None:
    """A real server on the loopback."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(home))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        found, absent = predict(home / "model.onnx", [f"{base}/song.wav", f"{base}/absent.wav"])
    finally:
        server.shutdown()
    (local,) = predict(home / "model.onnx", [song])
    assert (found.path, found.label) == (f"{base}/song.wav", local.label)
    assert found.probabilities == pytest.approx(local.probabilities)
    assert absent.label is None
    assert f"can't fetch {base}/absent.wav" in absent.error


@pytest.mark.parametrize(
    "name", ["file:///etc/passwd", "reference://a.wav::file:///r.json", "http://h/x.wav::file:///y"]
)
def test_a_table_opens_no_address_but_plain_ones(tmp_path: Path, name: str) -> None:
    """fsspec would open whatever somebody else's table names, and run what it refers to."""
    (tmp_path / "t.csv").write_text(f"path\nhttps://h/a.wav\n{name}\n")
    with pytest.raises(DataError, match=r"t\.csv, line 3: an address in a table begins with one of .*https.* no chain"):
        list_recordings(tmp_path / "t.csv")
    assert [one.name for one in list_recordings(name)] == [name]  # of the user's own word


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_an_address_that_needs_a_package_says_how_to_install_it(home: Path) -> None:
    wanted = "this needs s3fs, which is not installed; run: pip install s3fs"
    (row,) = predict(home / "model.onnx", ["s3://bucket/a.wav"])
    assert row.error == f"can't fetch s3://bucket/a.wav: {wanted}"
    with pytest.raises(DataError, match=re.escape(f"can't list s3://bucket/*.wav: {wanted}")):
        list_recordings("s3://bucket/*.wav")


@contextlib.contextmanager
def served(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a real server on the loopback."""
    kind = type("Handler", (http.server.BaseHTTPRequestHandler,), {"do_GET": answer, "do_HEAD": answer})
    kind.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_download_that_breaks_off_is_not_taken_for_a_whole_recording(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4_000_000), RATE_HZ, format="WAV")
    content = file.getvalue()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD":
            request.send_response(200)
            part = content
        else:
            first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
            part = content[first : last + 1] if first < 2**22 else b""
            request.send_response(206 if part else 500)
            request.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(part)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(part)

    with served(answer) as address:
        (row,) = predict(home / "model.onnx", [f"{address}/a.wav"], unknown=False)
        *_, last = predict(home / "model.onnx", [f"{address}/a.wav"], window_s=0.4, hop_s=0.4)
    assert row.label is not None
    for told in (row.truncated, last.error):
        assert told is not None
        assert re.match(rf"broke off after 1\d\d\.\d\d s: {address}/a.wav \(500, .*; download it again", told), told
    assert "Traceback" not in capfd.readouterr().err


def test_what_an_address_refuses_is_told_in_one_line(home: Path) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_error(403)

    with served(answer) as address:
        (row,) = predict(home / "model.onnx", [f"{address}/a.wav"])
        assert (row.error or "").startswith(f"can't fetch {address}/a.wav: 403, message='Forbidden'")
        with pytest.raises(DataError, match=f"^can't list {address}/day/: 403, message='Forbidden'"):
            list_recordings([f"{address}/day/"])


@pytest.mark.parametrize("window", [{}, {"window_s": 0.4}])
def test_a_recording_of_one_sample_is_one_row_that_says_so(
    window: dict[str, float], home: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "x.wav", np.full(1, 0.5), 48000)
    (row,) = predict(home / "model.onnx", [tmp_path / "x.wav"], **window)
    assert (row.last, row.error) == (True, f"too short: no sample is left at 16000 Hz: {tmp_path / 'x.wav'}")


def test_bad_recordings_are_rows_and_lose_no_other(home: Path, tmp_path: Path) -> None:
    good = home / "tones" / "high" / "high00.wav"
    sounds = {"stereo16": (np.zeros((8000, 16)) + high(0.5)[:, None], "PCM_16", 16000)}
    sounds |= {name: (high(0.5, 8000), name, 8000) for name in ("PCM_U8", "PCM_24", "ULAW", "ALAW", "IMA_ADPCM")}
    sounds["fast"] = (high(0.5, 192000), "PCM_16", 192000)
    for name, (sound, subtype, rate_hz) in sounds.items():
        soundfile.write(tmp_path / f"ok-{name}.wav", sound, rate_hz, subtype=subtype)
    for name, value in (("nan", math.nan), ("inf", math.inf)):
        soundfile.write(tmp_path / f"bad-{name}.wav", np.array([0.1, value, 0.1]), 16000, subtype="FLOAT")
    (tmp_path / "bad-text.wav").write_text("hello")
    (tmp_path / "bad-empty.wav").touch()
    soundfile.write(tmp_path / "bad-none.wav", np.zeros(0), 16000)
    (tmp_path / "bad-link.wav").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "bad-pipe.wav")
    names = sorted(path for path in tmp_path.iterdir())
    for window_s in (None, 0.4):
        rows = list(predict(home / "model.onnx", [*names, tmp_path / "absent.wav", good], window_s=window_s))
        of = {Path(row.path).name: row for row in rows}
        assert {name for name, row in of.items() if row.error} == {
            "absent.wav",
            *(path.name for path in names if path.name.startswith("bad")),
        }
        assert all("\n" not in row.error for row in rows if row.error)
        assert {row.label for row in rows if not row.error} <= {"high", "unknown"}
        assert of["high00.wav"].label == "high"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window", "0"], "--window must be above 0 s"),
        (["--window", "0.4", "--hop", "0.5"], "--hop must be from 0.001 s to --window 0.4"),
        (["--window", "nan"], "--window must be above 0 s"),
        (["--window", "3"], "--window 3 is longer than the 0.4 s that the network hears"),
        (["--hop", "1"], "--hop 1 only works with windows; pass --window too"),
        (["--events"], "pass --window SECONDS too"),
        (["--timelines", "x"], "pass --window SECONDS too"),
        (["--start-at", "0.3"], "pass --events too"),
        (["--window", "0.4", "--events", "--start-at", "2"], "--start-at is a probability"),
        (["--window", "0.4", "--events", "--stay-at", "0.5"], "--stay-at 0.5 is above 0.3, where events begin"),
        (["--format", "rttm"], "--format rttm needs events; pass --events"),
        (["--json", "--format", "csv"], "leave out one of --json and --format csv"),
        (["--format", "parquet"], "pass --out FILE.parquet"),
        (["--resume"], "--resume only works with a file; pass --out FILE too"),
        (["--out", "x.doc"], "is of no known format"),
        (["--out", "absent/x.csv"], "no folder absent"),
        (["--out", "."], "is a folder; give the name of a file"),
        (["--threads", "-1"], "threads"),
        (["--threads", "1000"], "--threads 1000 is too many for"),
        (["--threshold", "high"], "--threshold is LABEL=PROBABILITY, such as anomaly=0.2, got 'high'"),
        (["--threshold", "=0.2"], "--threshold is LABEL=PROBABILITY"),
        (["--threshold", "odd=0.2"], "a threshold for 'odd', which the model does not know; its labels: high, low"),
        (["--threshold", "high=0.2", "--window", "0.4", "--events"], "--threshold is for answers"),
        (["--windw", "2"], "no option '--windw', and no recording with this name; did you mean --window?"),
        (["--qqq"], "earsight predict --help lists the options"),
        (["--window", "0.4", "--timelines", __file__], "is a file; name a folder"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    home: Path, song: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    done = called("predict", home / "model.onnx", song, *options, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_label_is_answered_from_its_threshold_by_run_and_file(home: Path, tmp_path: Path) -> None:
    plain = list(predict(home / "model.onnx", home / "tones", unknown=False))
    least = sorted(row.probabilities["high"] for row in plain if row.probabilities)[2]  # of ten low tones the third
    assert [row.label for row in plain].count("high") < len(plain) - 2
    for model in (home / "run", home / "model.onnx"):
        asked = ["--no-unknown", "--threshold", f"high={(1 + 1e-3) * least}"]
        rows = [json.loads(line) for line in earsight(model, home / "tones", *asked).stdout.splitlines()]
        assert [row["label"] for row in rows].count("low") == 3
        for row in rows:
            assert (row["label"] == "high") is (row["probabilities"]["high"] >= (1 + 1e-3) * least)
    shown = answer_line(Row("a.wav", "high", {"high": 0.2, "low": 0.8}, likeliest="high"), 5)
    assert " ".join(shown.split()) == "a.wav high 0.20 (low 0.80)"


def test_other_thresholds_are_other_work(home: Path, song: Path, tmp_path: Path) -> None:
    one, other = (Job.of(home / "model.onnx", [song], window_s=0.4, thresholds=of) for of in ({"high": 0.2}, {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("earsight.tasks.answers.predict_file.answer", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_to(one, tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="thresholds differ"):
        predict_to(other, tmp_path / "x.jsonl", resume=True)


def test_several_crops_of_a_clip_make_no_difference_to_a_window(tmp_path: Path, song: Path) -> None:
    settings = recipe(epochs=1, audio={"crop_s": 0.4, "score_crops": 3})
    learned(write_tones(tmp_path / "tones"), settings, tmp_path / "run")
    rows = list(predict(tmp_path / "run", [song], window_s=0.4, hop_s=0.4))
    classifier = es.Classifier.load(tmp_path / "run")
    window = next(iter(module.windows(song, classifier.audio, 0.4, 0.4)))
    expected = classifier.probabilities(np.repeat(window.samples[None], 3, axis=0))[0]
    assert list(rows[0].probabilities.values()) == pytest.approx(list(expected), abs=1e-6)


def test_predict_is_lazy_and_refuses_at_once(home: Path, tmp_path: Path) -> None:
    with pytest.raises(EarsightError, match="no such run folder"):
        predict("absent", ["x.wav"])
    with pytest.raises(DataError, match="no recordings given"):
        predict(home / "model.onnx", [])
    rows = predict(home / "model.onnx", [tmp_path / "late.wav"])
    soundfile.write(tmp_path / "late.wav", tone(300, 0.5), 16000)  # nothing has been read yet
    assert next(rows).label == "low"


def test_one_recording_needs_no_list(home: Path, song: Path) -> None:
    (row,) = predict(home / "run", str(song))
    assert row == next(predict(home / "run", [song]))
    assert [one.name for one in list_recordings(song)] == [str(song)]


def test_a_table_of_windows_bytes_and_numbers_is_read_as_training_reads_it(song: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.wav").write_bytes(song.read_bytes())
    table = tmp_path / "t.jsonl"
    rows = [{"path": "d\\a.wav", "label": "x", "start": 1.0, "end": float("nan")}, {"path": "d/a.wav", "label": "x"}]
    table.write_text("\n".join(map(json.dumps, rows)))
    expected = [(str(tmp_path / "d/a.wav"), 1.0, None), (str(tmp_path / "d/a.wav"), 0.0, None)]
    assert [(one.name, one.start_s, one.end_s) for one in list_recordings(table)] == expected


def test_a_device_that_a_file_can_not_use_is_refused_by_load_model_too(home: Path) -> None:
    for device, words in (("cuda", "an exported file runs on the CPU"), ("gpu9", "no device 'gpu9'")):
        with pytest.raises(SettingsError, match=words):
            es.load_model(home / "model.onnx", device=device)


class Stopped(Exception):
    """Nobody catches it."""


def test_only_work_that_is_the_same_in_all_is_gone_on_with(
    home: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise Stopped

    job = replace(Job.of(home / "model.onnx", [song], window_s=0.4, rule=Rule()), run=home / "run")
    monkeypatch.setattr(predict_file, "answer", interrupted)
    with pytest.raises(Stopped):
        predict_to(job, tmp_path / "x.jsonl")
    for name in ("model.json", "model.safetensors"):
        shutil.copytree(home / "run", tmp_path / name)
        (tmp_path / name / name).write_bytes((home / "run" / name).read_bytes() + b" ")
    (recording,) = job.recordings
    for name, change in (
        ("model", {"run": tmp_path / "model.json"}),
        ("model", {"run": tmp_path / "model.safetensors"}),
        ("recordings", {"recordings": (replace(recording, name="other.wav"),)}),
        ("recordings", {"recordings": (replace(recording, start_s=0.5),)}),
        ("recordings", {"recordings": (replace(recording, end_s=0.5),)}),
        ("windows", {"sliding": Sliding(0.3, 0.1)}),
        ("windows", {"sliding": None}),
        ("events", {"rule": Rule(start_at=0.5)}),
        ("events", {"rule": Rule(stay_at=0.1)}),
        ("events", {"rule": Rule(shortest_s=0.1)}),
        ("events", {"rule": None}),
        ("unknown", {"unknown": False}),
    ):
        with pytest.raises(DataError, match=rf"is from a different command \({name} differ\)"):
            predict_to(replace(job, **change), tmp_path / "x.jsonl", resume=True)
    with pytest.raises(Stopped):  # the same: it goes on
        predict_to(job, tmp_path / "x.jsonl", resume=True)


@pytest.mark.parametrize(("error", "what"), [("no sound", "error"), ("cut off", "truncated")])
def test_what_was_not_read_to_its_end_is_a_failure_too(
    error: str, what: str, home: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("a.wav", "low", {"low": 1.0, "high": 0.0}, **{what: error})
    monkeypatch.setattr(predict_file, "answer", lambda *_, **__: iter([row]))
    assert predict_to(Job.of(home / "model.onnx", [song]), tmp_path / "x.jsonl").failures == (error,)


def test_a_windows_path_has_a_name_without_its_folders() -> None:
    assert unique_stems([r"c:\day 1\x.wav", "day2/x.wav/"]) == ["x", "x-2"]
    assert unique_stems(["a/tram", "b/bus", "c/tram.wav", "-", ".x", "tram-2"]) == [
        "tram", "bus", "tram-2", "recording", "x", "tram-2-2"
    ]  # fmt: skip
