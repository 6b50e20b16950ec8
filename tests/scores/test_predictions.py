from pathlib import Path

import numpy as np
import pytest

from earsight.errors import DataError
from earsight.scores import dispatch
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.predictions import Predictions, concatenated, read_csv


def example() -> Predictions:
    probabilities = np.array([[0.7, 0.3], [0.1, 0.9], [1 / 3, 2 / 3], [0.95, 0.05]])
    return Predictions(
        ("a, b", "ü"),
        ("x.wav", 'y "2".wav', "z.wav", "w.wav"),
        np.array([0, 0, -1, 1]),
        probabilities,
        ("01", "", "02", "02"),
    )


def test_round_trip_is_exact(tmp_path: Path) -> None:
    example().write_csv(tmp_path / "p.csv")
    back = read_csv(tmp_path / "p.csv")
    assert (back.labels, back.paths, back.groups) == (example().labels, example().paths, example().groups)
    assert np.array_equal(back.truth, example().truth)
    assert np.array_equal(back.probabilities, example().probabilities)
    header, first = (tmp_path / "p.csv").read_text().splitlines()[:2]
    assert header == 'path,group,label,predicted,"prob:a, b",prob:ü'
    assert first == 'x.wav,01,"a, b","a, b",0.7,0.3'


def test_mistakes_most_confident_first_and_unknown_ones_are_none() -> None:
    assert example().mistakes(5) == [3, 1]
    assert example().mistakes(1) == [3]


def test_shapes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"probabilities of shape \(1, 3\), not \(1, 2\)"):
        Predictions(("a", "b"), ("x",), np.array([0]), np.zeros((1, 3)), ("",))
    with pytest.raises(DataError, match="a truth outside"):
        Predictions(("a", "b"), ("x",), np.array([2]), np.zeros((1, 2)), ("",))
    with pytest.raises(DataError, match="a truth outside"):
        Predictions(("a", "b"), ("x", "y"), np.array([1, -2]), np.zeros((2, 2)), ("", ""))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not a table of predictions"):
        read_csv(tmp_path / "other.csv")


def test_a_page_is_told_from_a_table_in_a_short_line(tmp_path: Path) -> None:
    for content in (f"<html>{'x' * 5000}\n", f"<html>{'x' * 200_000}\n"):
        (tmp_path / "report.html").write_text(content)
        for read in (read_csv, dispatch.read_csv):
            with pytest.raises(DataError, match=r"report\.html is not a table of predictions: ") as error:
                read(tmp_path / "report.html")
            assert len(str(error.value)) < len(str(tmp_path)) + 150


@pytest.mark.parametrize("name", ["a\rb.wav", "a\nb.wav", '"', " x ", "", "caf\udce9.wav"])
def test_odd_file_names_come_back(tmp_path: Path, name: str) -> None:
    Predictions(("a", "b"), (name,), np.array([0]), np.array([[0.1, 0.9]]), (name,)).write_csv(tmp_path / "p.csv")
    back = read_csv(tmp_path / "p.csv")
    assert (back.paths, back.groups) == ((name,), (name,))


def test_no_clips_come_back(tmp_path: Path) -> None:
    Predictions(("a", "b"), (), np.zeros(0, np.int64), np.zeros((0, 2)), ()).write_csv(tmp_path / "p.csv")
    assert read_csv(tmp_path / "p.csv").probabilities.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,a,a,0.5,0.5\ny,,a,a,0.5\n", "row 3: 5 cells under 6 columns"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,a,a,0.5,high\n", "row 2: a probability is not a number"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,c,a,0.5,0.5\n", "label 'c' has no column prob:c"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,a,a,0.5,nan\n", "row 2: a probability of nan, not from 0 to 1"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,a,a,7.5,0.5\n", "row 2: a probability of 7.5, not from 0 to 1"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,a,a,0.5,0.2\n", "row 2: probabilities of 0.700 in sum, not 1"),
        ("path,group,label,predicted,prob:a,prob:b\nx,,a,a,1,0\nx,,a,a,1,0\n", "row 3: x stands there twice"),
    ],
)
def test_a_broken_table_names_its_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "p.csv")


def test_labels_and_types_are_checked() -> None:
    with pytest.raises(DataError, match="named twice"):
        Predictions(("a", "a"), ("x",), np.array([1]), np.zeros((1, 2)), ("",))
    with pytest.raises(DataError, match="truth of type float64"):
        Predictions(("a", "b"), ("x",), np.array([1.0]), np.zeros((1, 2)), ("",))


def test_answers_are_put_together_where_all_are_of_one_kind_and_the_same_labels() -> None:
    one = example()
    both = concatenated([one, one.take([3, 1])])
    assert both.paths == (*one.paths, "w.wav", 'y "2".wav')
    assert both.groups == ("01", "", "02", "02", "02", "")
    assert both.truth.tolist() == [0, 0, -1, 1, 1, 0]
    assert np.array_equal(both.probabilities, one.probabilities[[0, 1, 2, 3, 3, 1]])
    other = Predictions(("ü", "a, b"), one.paths, one.truth, one.probabilities, one.groups)
    truth = np.ones((4, 2), dtype=bool)
    several = MultiPredictions(one.labels, one.paths, truth, one.probabilities, truth, one.groups)
    for strange in (other, several):
        with pytest.raises(DataError, match="the folds have different labels"):
            concatenated([one, one, strange])
