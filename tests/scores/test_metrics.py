import json

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from earsight.errors import DataError
from earsight.score_lines import metrics_lines
from earsight.scores.metrics import confusion_matrix, measure
from earsight.scores.predictions import Predictions

NUMBERS = ("accuracy", "uar", "macro_f1", "cross_entropy")


def predictions(truth: np.ndarray, probabilities: np.ndarray) -> Predictions:
    clips, classes = probabilities.shape
    return Predictions(
        tuple(f"c{n}" for n in range(classes)), tuple(map(str, range(clips))), truth, probabilities, ("",) * clips
    )


@given(seed=st.integers(0, 2**32 - 1), clips=st.integers(1, 60), classes=st.integers(2, 9))
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's remark on classes missing from the truth
def test_agrees_with_scikit_learn(seed: int, clips: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, clips)
    probabilities = rng.dirichlet(np.ones(classes), clips)
    answer = probabilities.argmax(1)
    ours = measure(predictions(truth, probabilities))
    expected = (
        oracle.accuracy_score(truth, answer),
        oracle.balanced_accuracy_score(truth, answer),
        oracle.f1_score(truth, answer, average="macro", zero_division=0),
        oracle.log_loss(truth, probabilities, labels=np.arange(classes)),
    )
    assert [getattr(ours, name) for name in NUMBERS] == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(ours.confusion, oracle.confusion_matrix(truth, answer, labels=np.arange(classes)))
    table = oracle.precision_recall_fscore_support(truth, answer, labels=np.arange(classes), zero_division=0)
    for row, p, r, f, s in zip(ours.per_class, *table, strict=True):
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx((p, r, f, s), abs=1e-9)
    for n, row in enumerate(ours.per_class):
        has, score = truth == n, probabilities[:, n]
        both = has.any() and not has.all()
        assert row.auc == (pytest.approx(oracle.roc_auc_score(has, score), abs=1e-9) if both else None)
        assert row.ap == (pytest.approx(oracle.average_precision_score(has, score), abs=1e-9) if has.any() else None)
    if clips > 1 and len(set(truth)) == classes:
        # scikit-learn takes two classes as one
        expected = oracle.roc_auc_score(truth, probabilities if classes > 2 else probabilities[:, 1], multi_class="ovr")
        assert ours.auc == pytest.approx(expected, abs=1e-9)


def test_of_two_classes_the_rarer_one_stands_beside_the_accuracy() -> None:
    fault = np.array([0.9, 0.6, 0.6, 0.2, *np.full(36, 0.1)])
    truth = np.array([0, 0, 1, 0, *np.full(36, 1)])
    found = measure(predictions(truth, np.stack([fault, 1 - fault], axis=1)))
    assert found.rarer == 0
    # of 3 × 37 pairs: a tie, and one fault below one of the others
    assert (found.auc, found.per_class[0].auc) == (pytest.approx(109.5 / 111), pytest.approx(109.5 / 111))
    assert found.per_class[0].ap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert list(metrics_lines(found, "Scored.", "in part"))[2:] == [
        "c0: ROC-AUC 0.986   average precision 0.806 (by chance 0.075)   2 of 3 found, 1 of 37 others taken for it"
        ", in part",
        "note: to say 'c1' of every clip would have an accuracy of 0.925",
    ]
    table = [line.split() for line in metrics_lines(found, "", "", table=True)]
    assert ["c0", "0.667", "0.667", "0.667", "0.986", "0.806", "3"] in table


def test_where_classes_are_as_many_or_more_than_two_nothing_is_rare() -> None:
    even = measure(predictions(np.array([0, 1]), np.eye(2)))
    assert (even.rarer, even.mostly) == (0, False)
    assert len(list(metrics_lines(even, "", ""))) == 3
    assert measure(predictions(np.array([0, 0]), np.eye(2))).rarer is None
    three = measure(predictions(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 2]), np.eye(3)[[0] * 10]))
    assert (three.rarer, three.mostly) == (None, True)
    assert len(list(metrics_lines(three, "", ""))) == 2


def test_by_hand() -> None:
    ours = measure(
        predictions(np.array([0, 0, 0, 1, -1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5], [0, 1]]))
    )
    assert ours.clips == 4
    assert ours.accuracy == 0.5
    assert ours.uar == pytest.approx((2 / 3 + 0) / 2)
    assert ours.confusion.tolist() == [[2, 1], [1, 0]]
    assert ours.to_dict()["per_class"][0] == {
        "label": "c0",
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1": 2 / 3,
        "support": 3,
        "auc": pytest.approx(2 / 3),
        "ap": pytest.approx((1 + 1 + 3 / 4) / 3),
    }


def test_rows_are_the_truth() -> None:
    assert confusion_matrix(np.array([0, 0, 1]), np.array([2, 2, 0]), 3).tolist() == [[0, 0, 2], [1, 0, 0], [0, 0, 0]]


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="none of 2 clips has a known label"):
        measure(predictions(np.array([-1, -1]), np.full((2, 2), 0.5)))


def test_numbers_outside_of_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"answers from 0 to 3, outside of 0 … 2"):
        confusion_matrix(np.array([0, 1]), np.array([0, 3]), 3)
    with pytest.raises(DataError, match=r"truths from -1 to 1, outside of 0 … 2"):
        confusion_matrix(np.array([-1, 1]), np.array([0, 0]), 3)


def test_a_probability_that_is_no_number_is_named() -> None:
    with pytest.raises(DataError, match="1 clips have a probability that is not a number, the first is 1"):
        measure(predictions(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]])))


def test_numbers_survive_json() -> None:
    ours = measure(predictions(np.array([0, 1]), np.array([[0.0, 1.0], [0.25, 0.75]])))
    back = json.loads(json.dumps(ours.to_dict(), allow_nan=False))
    assert (back["clips"], back["accuracy"], back["confusion"]) == (2, 0.5, [[0, 1], [0, 1]])
    assert back["cross_entropy"] == ours.cross_entropy


def test_of_many_classes_what_is_taken_for_what_most_often_is_told_in_place_of_a_matrix() -> None:
    truth = np.repeat(np.arange(26), 4)
    answers = truth.copy()
    answers[:3], answers[4:6], answers[103] = 1, 0, 7
    found = measure(predictions(truth, np.eye(26)[answers]))
    assert found.mistakes == [(0, 1, 3, 4), (1, 0, 2, 4), (25, 7, 1, 4)]
    lines = list(metrics_lines(found, "Scored.", "", table=True))
    assert [line.split() for line in lines[-3:]] == [
        ["c0", "heard", "as", "c1", "3", "of", "4"],
        ["c1", "heard", "as", "c0", "2", "of", "4"],
        ["c25", "heard", "as", "c7", "1", "of", "4"],
    ]
    assert max(map(len, lines)) < 80
    few = measure(predictions(truth[:100], np.eye(25)[truth[:100]]))
    assert list(metrics_lines(few, "Scored.", "", table=True))[-1].split() == ["25", "c24", *["·"] * 24, "4"]
    assert few.mistakes == []


def test_classes_that_no_scored_clip_has_are_told() -> None:
    found = measure(predictions(np.array([0, 0, 2]), np.eye(4)[[0, 1, 2]]))
    lines = list(metrics_lines(found, "Scored.", ""))
    assert lines[2:] == ["note: the scored clips have only 2 of 4 classes; not c1, c3"]
    assert next(metrics_lines(found, "a\x1b[2J.wav", "")) == r"a\x1b[2J.wav"  # a file name steers no terminal
    all_there = measure(predictions(np.arange(4), np.eye(4)))
    assert len(list(metrics_lines(all_there, "Scored.", ""))) == 2


def test_without_ranking_all_other_scores_are_the_same() -> None:
    rng = np.random.default_rng(0)
    answers = Predictions(
        tuple("abc"), tuple(map(str, range(30))), rng.integers(0, 3, 30), rng.dirichlet(np.ones(3), 30), ("",) * 30
    )
    ranked, bare = measure(answers), measure(answers, ranked=False)
    assert (bare.auc, [row.auc for row in bare.per_class], [row.ap for row in bare.per_class]) == (
        None,
        [None] * 3,
        [None] * 3,
    )
    assert ranked.auc is not None
    for name in ("clips", "accuracy", "uar", "macro_f1", "cross_entropy"):
        assert getattr(bare, name) == getattr(ranked, name)
    assert np.array_equal(bare.confusion, ranked.confusion)
