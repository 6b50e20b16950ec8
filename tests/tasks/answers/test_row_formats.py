"""Cell by cell what other programs read."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from earsight.tasks.answers import row_formats
from earsight.tasks.answers.row_formats import FORMATS, FormatContext, find_format, json_line, write_rows

FACTS = FormatContext(("low", "high"), 50.0, 4000.0, events=False)


def test_every_answer_has_its_cells_in_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    shares = {"low": 0.0, "high": 1.0}
    rows = [
        {"path": "a.wav", "start_s": 0.0, "end_s": 0.5, "label": "high", "probabilities": shares},
        {"path": "b.wav", "label": "unknown", "unknown": True, "likeliest": "low", "probabilities": shares},
        {"path": "c.wav", "labels": ["low", "high"], "probabilities": shares},
        {"path": "d.wav", "label": "low", "probabilities": shares, "truncated": "cut off: d.wav"},
        {"path": "e.wav", "label": None, "probabilities": None, "error": "no sound: e.wav"},
    ]
    monkeypatch.setattr(row_formats, "_PARQUET_ROWS", 2)
    for name in ("csv", "parquet"):
        write_rows(tmp_path / name, rows, FORMATS[name], FACTS)
    names = ["path", "start_s", "end_s", "label", "probability", "unknown", "error", "prob:low", "prob:high"]
    expected = [
        ["a.wav", 0.0, 0.5, "high", 1.0, False, None, 0.0, 1.0],
        ["b.wav", None, None, "unknown", 0.0, True, None, 0.0, 1.0],
        ["c.wav", None, None, "low;high", None, False, None, 0.0, 1.0],
        ["d.wav", None, None, "low", 0.0, False, "cut off: d.wav", 0.0, 1.0],
        ["e.wav", None, None, None, None, False, "no sound: e.wav", None, None],
    ]
    table = pyarrow.parquet.read_table(tmp_path / "parquet")
    assert table.column_names == names
    assert [list(row.values()) for row in table.to_pylist()] == expected
    text = [["" if cell is None else str(cell) for cell in row] for row in expected]
    assert list(csv.reader(io.StringIO((tmp_path / "csv").read_text()))) == [names, *text]


def test_events_stand_in_each_format_as_its_readers_want_them() -> None:
    event = {"start_s": 1.0, "end_s": 2.5, "label": "my\tlabel", "probability": 0.126}
    rows = [
        {"path": "day 1/x y.wav", **event},
        {"path": "e.wav", "start_s": 3.0, "end_s": 3.0, "label": None, "probabilities": None, "error": "no sound"},
        {"path": "day\\2/x y.wav", **event, "label": " "},
    ]
    lines = {
        name: list(FORMATS[name].lines(rows, replace(FACTS, events=True))) for name in ("audacity", "rttm", "raven")
    }
    assert lines["audacity"] == ["1.000000\t2.500000\tmy label 0.13", "1.000000\t2.500000\t 0.13"]
    assert lines["rttm"] == [
        "SPEAKER x_y 1 1.000 1.500 <NA> <NA> my_label 0.1260 <NA>",
        "SPEAKER day_2_x_y.wav 1 1.000 1.500 <NA> <NA> _ 0.1260 <NA>",
    ]
    assert [line.split("\t") for line in lines["raven"][1:]] == [
        [number, "Spectrogram 1", "1", "1.000000", "2.500000", "50.0", "4000.0", path, "1.000000", label, "0.1260"]
        for number, path, label in (("1", "day 1/x y.wav", "my label"), ("2", "day\\2/x y.wav", ""))
    ]
    names = next(csv.reader(FORMATS["csv"].lines([], replace(FACTS, events=True))))
    assert names == ["path", "start_s", "end_s", "label", "probability", "unknown", "error"]


def test_a_format_is_told_by_the_whole_ending(tmp_path: Path) -> None:
    names = ("x.selections.txt", "x.txt", "X.CSV", "x.jsonl")
    assert [find_format(None, Path(name)).name for name in names] == ["raven", "audacity", "csv", "jsonl"]
    assert find_format(None, tmp_path).name == find_format(None, None).name == "jsonl"
    assert find_format("rttm", Path("x.csv")).name == "rttm"


def test_json_has_letters_as_they_are_but_for_those_that_are_none() -> None:
    assert json_line({"path": "übung.wav"}) == '{"path": "übung.wav"}'
    assert json_line({"path": "caf\udce9.wav"}) == '{"path": "caf\\udce9.wav"}'
