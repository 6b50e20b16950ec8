"""The epoch that is kept: the rule itself, without a training."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from earsight.scores.dispatch import measure, selection_score
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.predictions import Predictions
from earsight.tasks.training.history import Epoch, TrainingProgress, kept_epoch, write_history


def history(*scores: float, error: float = 0.0) -> list[Epoch]:
    return [
        Epoch(n, 1e-3, 1.0, 0.5, 1.0, 0.5, score, 1.0, 100.0, valid_error=error) for n, score in enumerate(scores, 1)
    ]


def test_a_later_epoch_within_the_error_of_the_best_is_kept() -> None:
    assert kept_epoch(history(0.5, 0.8, 0.7, 0.76, 0.6, error=0.05)) == 4
    assert kept_epoch(history(0.5, 0.8, 0.7, 0.76, 0.6, error=0.01)) == 2
    assert kept_epoch(history(0.5, 0.8, 0.8, 0.7)) == 3  # of equal ones the later
    assert kept_epoch(history(math.nan, math.nan)) == 2  # nothing is held out


def test_the_error_that_counts_is_that_of_the_best() -> None:
    rows = history(0.9, error=0.01) + history(0.8, error=0.5)
    rows[1] = Epoch(**{**vars(rows[1]), "epoch": 2})
    assert kept_epoch(rows) == 1


def test_of_several_labels_the_mean_average_precision_chooses() -> None:
    rows = [
        Epoch(n, 1e-3, 1.0, 0.5, 1.0, 0.5, math.nan, 1.0, 100.0, valid_map=score, valid_error=0.01)
        for n, score in enumerate((0.6, 0.9, 0.7), 1)
    ]
    assert TrainingProgress(rows).scores == [0.6, 0.9, 0.7]
    assert kept_epoch(rows) == 2


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3)), min_size=1, max_size=30))
def test_keeping_one_network_at_a_time_is_enough(drawn: list[tuple[float, float]]) -> None:
    rows = [
        Epoch(n, 1e-3, 1.0, 0.5, 1.0, 0.5, score, 1.0, 100.0, valid_error=error)
        for n, (score, error) in enumerate(drawn, 1)
    ]
    kept = 0
    for n in range(1, len(rows) + 1):
        if kept_epoch(rows[:n]) == n:
            kept = n
        assert kept == kept_epoch(rows[:n])


def test_the_error_of_the_mean_recall_is_what_chance_makes_of_it() -> None:
    """Against 20,000 draws of clips that are answered rightly with the recall of their class."""
    sizes, recalls = [400, 100, 250], [0.9, 0.5, 0.7]
    truth = np.repeat(np.arange(3), sizes)
    right = np.concatenate([np.arange(n) < n * r for n, r in zip(sizes, recalls, strict=True)])
    answers = np.where(right, truth, (truth + 1) % 3)
    names = tuple(map(str, range(750)))
    found = measure(Predictions(("a", "b", "c"), names, truth, np.eye(3)[answers], names))
    score, error = selection_score(found)
    recalled = [c.recall for c in found.per_class]
    rng = np.random.default_rng(0)
    draws = np.mean([rng.binomial(n, r, 20_000) / n for n, r in zip(sizes, recalled, strict=True)], axis=0)
    assert score == np.mean(recalled)
    assert abs(error / draws.std() - 1) < 0.03


def test_a_handful_of_right_answers_is_not_sure_to_stay_right() -> None:
    names = ("1", "2", "3")
    found = measure(Predictions(("a", "b", "c"), names, np.arange(3), np.eye(3), names))
    score, error = selection_score(found)
    assert score == 1.0
    assert error == math.sqrt(3 * (2 / 3 * 1 / 3)) / 3  # each class: 2 of 3, by Laplace's rule
    assert kept_epoch([*history(1.0, error=error), Epoch(2, 1e-3, 1, 1, 1, 1, 0.8, 1, 1)]) == 2


def test_labels_that_no_clip_has_count_neither_in_the_score_nor_in_its_error() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    p = np.array([[0.9, 0.6, 0.1], [0.2, 0.8, 0.2], [0.3, 0.1, 0.9], [0.1, 0.7, 0.5]])
    names = ("1", "2", "3", "4")
    with_it = selection_score(measure(MultiPredictions(("a", "b", "c"), names, truth, p, p > 0.5, names)))
    without = selection_score(
        measure(MultiPredictions(("a", "b"), names, truth[:, :2], p[:, :2], p[:, :2] > 0.5, names))
    )
    assert with_it == without
    assert with_it[1] > 0


def test_the_history_has_the_score_of_its_task_and_nothing_where_nothing_is_held_out(tmp_path: Path) -> None:
    one = Epoch(1, 1e-3, 1.23456789, 0.5, 1.0, 0.5, 0.25, 1.0, 100.0)
    several = replace(one, valid_uar=np.nan, valid_map=0.75)
    none = replace(one, valid_uar=np.nan, valid_loss=np.inf)
    scores = ({"valid_uar": "0.25"}, {"valid_map": "0.75"}, {"valid_uar": ""})
    for row, score, loss in zip((one, several, none), scores, ("1", "1", ""), strict=True):
        write_history(tmp_path / "history.csv", [row])
        (told,) = csv.DictReader((tmp_path / "history.csv").open())
        assert {name: told[name] for name in told if name in {"valid_uar", "valid_map"}} == score
        assert (told["train_loss"], told["valid_loss"], told["epoch"]) == ("1.23457", loss, "1")
