import numpy as np
import pytest
import sklearn.metrics as oracle

from earsight.errors import DataError
from earsight.score_lines import cross_lines
from earsight.scores.crossval import cross_scores, group_scores, join_folds
from earsight.scores.predictions import Predictions


def predictions(paths: list[str], truth: list[int], answers: list[int], groups: list[str]) -> Predictions:
    return Predictions(("a", "b"), tuple(paths), np.array(truth), np.eye(2)[answers], tuple(groups))


def test_folds_together_seeds_and_groups() -> None:
    found = {
        (0, "f:0"): predictions(["b", "a"], [0, 1], [0, 0], ["s1", "s2"]),
        (0, "f:1"): predictions(["c", "d"], [0, 1], [0, 1], ["s1", "s3"]),
        (1, "f:0"): predictions(["b", "a"], [0, 1], [0, 1], ["s1", "s2"]),
        (1, "f:1"): predictions(["c", "d"], [0, 1], [1, 1], ["s1", "s3"]),
    }
    scores = cross_scores(found)
    assert scores.seeds == (0, 1)
    assert [run.paths for run in scores.runs] == [("a", "b", "c", "d")] * 2
    accuracy = scores.scores["accuracy"]
    assert (accuracy.mean, accuracy.sd) == (0.75, 0.0)
    assert accuracy.fold_mean == 0.75  # each fold: 0.5 and 1 with the two seeds
    assert accuracy.fold_sd == 0.0
    uar = [oracle.balanced_accuracy_score([1, 0, 0, 1], answers) for answers in ([0, 0, 0, 1], [1, 0, 1, 1])]
    assert scores.scores["uar"].mean == pytest.approx(np.mean(uar))
    assert scores.scores["uar"].sd == pytest.approx(np.std(uar, ddof=1))
    assert [(one.group, one.clips, one.accuracy) for one in scores.groups] == [
        ("s2", 1, 0.5),
        ("s1", 2, 0.75),
        ("s3", 1, 1.0),
    ]
    assert accuracy.interval is not None
    *lines, rarer = list(cross_lines(scores, "", "", "group"))[-4:]
    assert all("95 % interval over 3 groups: 0." in line for line in lines)
    assert rarer.startswith(
        "a: ROC-AUC 0.750   average precision 0.688 (by chance 0.500)   3 of 4 found, 1 of 4 others"
    )
    two = {key: one.take([n for n, group in enumerate(one.groups) if group != "s3"]) for key, one in found.items()}
    lines = list(cross_lines(cross_scores(two), "", "", "group"))
    assert sum("no interval (2 groups: too few, or no difference between them)" in line for line in lines) == 3
    assert scores.every_answer.confusion.tolist() == [[3, 1], [1, 3]]
    told = scores.to_dict()
    assert told["ranking95"] == {}
    assert [(one["group"], one["auc"]) for one in told["groups"]] == [("s2", None), ("s1", None), ("s3", None)]
    assert told["accuracy"]["mean"] == 0.75
    assert [(one["fold"], one["seed"], one["accuracy"]) for one in told["folds"]] == [
        ("f:0", 0, 0.5),
        ("f:1", 0, 1.0),
        ("f:0", 1, 1.0),
        ("f:1", 1, 0.5),
    ]


def test_folds_that_each_seed_divides_anew_are_not_averaged() -> None:
    found = {
        (0, "f:0"): predictions(["a", "b"], [0, 1], [0, 1], ["s1", "s2"]),
        (0, "f:1"): predictions(["c", "d"], [0, 1], [0, 0], ["s3", "s4"]),
        (1, "f:0"): predictions(["a", "c"], [0, 0], [1, 1], ["s1", "s3"]),
        (1, "f:1"): predictions(["b", "d"], [1, 1], [1, 1], ["s2", "s4"]),
    }
    accuracy = cross_scores(found).scores["accuracy"]
    assert accuracy.fold_mean == np.mean([1, 0.5, 0, 1])
    assert accuracy.fold_sd == pytest.approx(np.std([1, 0.5, 0, 1], ddof=1))


def test_one_seed_has_no_spread_over_seeds() -> None:
    found = {
        (3, "f:0"): predictions(["a", "b"], [0, 1], [0, 1], ["s1", "s2"]),
        (3, "f:1"): predictions(["c", "d"], [0, 1], [0, 0], ["s3", "s4"]),
    }
    scores = cross_scores(found)
    accuracy = scores.scores["accuracy"]
    assert (scores.seeds, accuracy.mean, accuracy.sd) == ((3,), 0.75, None)
    assert (accuracy.fold_mean, accuracy.fold_sd) == (0.75, pytest.approx(np.std([1, 0.5], ddof=1)))
    assert scores.to_dict()["accuracy"]["sd_over_seeds"] is None
    alone = cross_scores({(3, "f:0"): found[3, "f:0"]}).scores["accuracy"]
    assert (alone.mean, alone.sd, alone.fold_mean, alone.fold_sd) == (1.0, None, 1.0, 0.0)


def test_a_clip_that_is_scored_twice_is_an_error() -> None:
    one = predictions(["a", "b"], [0, 1], [0, 1], ["s", "s"])
    with pytest.raises(DataError, match="2 clips are in the test part of two folds"):
        cross_scores({(0, "f:0"): one, (0, "f:1"): one})


def test_other_labels_are_not_joined() -> None:
    one = predictions(["a"], [0], [0], ["s"])
    other = Predictions(("a", "c"), ("b",), np.array([0]), np.eye(2)[[0]], ("s",))
    with pytest.raises(DataError, match="different labels"):
        join_folds([one, other])


def test_clips_without_a_group_or_a_truth_are_in_no_groups_score() -> None:
    one = predictions(["a", "b", "c", "d", "e"], [0, 1, -1, 0, 1], [0, 0, 0, 1, 1], ["s1", "s1", "s1", "", ""])
    two = predictions(["a", "b", "c", "d", "e"], [0, 1, -1, 0, 1], [0, 1, 1, 0, 0], ["s1", "s1", "s1", "", ""])
    assert [(found.group, found.clips, found.accuracy) for found in group_scores([one, two])] == [("s1", 2, 0.75)]


def test_two_classes_are_ranked_in_each_group_and_together() -> None:
    groups = [f"m{n // 4}" for n in range(24)]
    truth = [n % 4 == 0 for n in range(24)]
    rng = np.random.default_rng(0)
    fault = np.round(rng.random(24) * 0.7 + 0.3 * np.array(truth), 3)
    names = tuple(f"{n:02}" for n in range(24))
    whole = Predictions(
        ("ok", "fault"), names, np.array(truth, dtype=int), np.stack([1 - fault, fault], 1), tuple(groups)
    )
    scores = cross_scores({(0, "f:0"): whole.take(range(12)), (0, "f:1"): whole.take(range(12, 24))})
    expected = {f"m{n}": oracle.roc_auc_score(truth[4 * n : 4 * n + 4], fault[4 * n : 4 * n + 4]) for n in range(6)}
    assert {one.group: one.auc for one in scores.groups} == pytest.approx(expected)
    auc = oracle.roc_auc_score(truth, fault)
    assert scores.ranking["auc"].low < auc < scores.ranking["auc"].high
    lines = list(cross_lines(scores, "", "", "machine"))
    assert any(line.startswith(f"fault: ROC-AUC {auc:.3f}") for line in lines)
    assert any(line.startswith("average precision, 95 % interval over 6 machines: 0.") for line in lines)
