"""scikit-learn is the oracle."""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk

from earsight.errors import DataError
from earsight.score_lines import metrics_lines
from earsight.scores import intervals
from earsight.scores.calibration import fit_temperature, reliability, with_temperature
from earsight.scores.crossval import cross_scores
from earsight.scores.dispatch import measure, read_csv
from earsight.scores.intervals import jackknife_labels
from earsight.scores.multilabel import (
    MultiPredictions,
    check_labels,
    fit_thresholds,
)
from earsight.scores.predictions import concatenated
from earsight.scores.ranking import Ranking, average_precision


def drawn(seed: int, clips: int, labels: int, steps: int, share: float = 0.4) -> MultiPredictions:
    """steps: how many different probabilities there are, so that some are tied."""
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, steps + 1, size=(clips, labels)) / steps
    return MultiPredictions(
        tuple(f"label {n}" for n in range(labels)),
        tuple(f"{n}.wav" for n in range(clips)),
        rng.random((clips, labels)) < share,
        probabilities,
        probabilities >= rng.random(labels),
        tuple(f"g{n % 5}" for n in range(clips)),
    )


cases = st.builds(
    drawn,
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from([1, 3, 10, 10**6]),
    st.sampled_from([0.05, 0.4, 0.95]),
)


@settings(deadline=None, max_examples=40)
@given(cases)
def test_scores_are_those_of_scikit_learn(answers: MultiPredictions) -> None:
    truth, p, predicted = answers.truth, answers.probabilities, answers.predicted
    assume(truth.any())
    got, occurs = measure(answers), truth.any(axis=0)
    close = {"abs": 1e-9}
    assert got.map == pytest.approx(sk.average_precision_score(truth[:, occurs], p[:, occurs]), **close)
    assert got.micro_map == pytest.approx(sk.average_precision_score(truth.ravel(), p.ravel()), **close)
    with warnings.catch_warnings(action="ignore"):
        named = occurs | predicted.any(axis=0)
        per_label = [sk.f1_score(truth[:, n], predicted[:, n]) for n in np.flatnonzero(named)]
        assert got.macro_f1 == pytest.approx(np.mean(per_label), **close)
        flat = sk.precision_recall_fscore_support(truth.ravel(), predicted.ravel(), average="binary", zero_division=0)
        rows = zip(answers.labels, truth.T, predicted.T, p.T, got.per_class, strict=True)
        for label, of_truth, of_answer, score, row in rows:
            p1, r1, f1, _ = sk.precision_recall_fscore_support(of_truth, of_answer, average="binary", zero_division=0)
            assert (row.label, row.support) == (label, of_truth.sum())
            assert (row.precision, row.recall, row.f1) == pytest.approx((p1, r1, f1), **close)
            assert row.ap == pytest.approx(sk.average_precision_score(of_truth, score), **close)
    assert got.micro_f1 == pytest.approx(flat[2], **close)
    assert got.accuracy == pytest.approx((truth == predicted).all(axis=1).mean(), **close)
    loss = sk.log_loss(
        truth.ravel(), np.clip(p.ravel(), np.finfo(float).eps, 1 - np.finfo(float).eps), labels=[False, True]
    )
    assert got.cross_entropy == pytest.approx(loss, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(cases)
def test_thresholds_reach_the_best_f1_that_any_threshold_reaches(answers: MultiPredictions) -> None:
    for truth, p, threshold in zip(answers.truth.T, answers.probabilities.T, fit_thresholds(answers), strict=True):
        if truth.any():
            best = max(2 * (truth & (p >= cut)).sum() / (truth.sum() + (p >= cut).sum()) for cut in np.unique(p))
            assert sk.f1_score(truth, p >= threshold) == pytest.approx(best, abs=1e-12)
        else:
            assert threshold == 0.5


def test_a_threshold_lies_halfway_between_what_it_takes_and_what_it_leaves() -> None:
    truth, p = np.array([[True], [True], [False]]), np.array([[0.9], [0.6], [0.2]])
    answers = MultiPredictions(("a",), ("1", "2", "3"), truth, p, p >= 0.5, ("", "", ""))
    assert fit_thresholds(answers) == (0.4,)
    assert fit_thresholds(answers.take([0, 1])) == (0.3,)  # nothing below: halfway to zero


@settings(deadline=None, max_examples=40)
@given(cases)
def test_tables_give_back_what_was_written(answers: MultiPredictions) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        answers.write_csv(path)
        again = read_csv(path)
    assert isinstance(again, MultiPredictions)
    assert (again.labels, again.paths, again.groups) == (answers.labels, answers.paths, answers.groups)
    for name in MultiPredictions.ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(answers, name))


def test_bad_tables_name_the_row(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("path,group,labels,predicted,prob:a,prob:b\nx,,a;c,b,0.1,0.9\n")
    with pytest.raises(DataError, match=r"p\.csv, row 2: label 'c' has no column prob:c"):
        read_csv(path)
    path.write_text("path,group,labels,predicted,prob:a,prob:b\nx,,a,b,0.1,0.9\ny,,a\n")
    with pytest.raises(DataError, match="row 3: 3 cells under 6 columns"):
        read_csv(path)


def test_what_can_not_be_scored_is_refused() -> None:
    answers = drawn(0, 4, 2, 10)
    none = replace(answers, truth=np.zeros((4, 2), dtype=bool))
    with pytest.raises(DataError, match="none of 4 clips has a label"):
        measure(none)
    broken = answers.probabilities.copy()
    broken[2, 0] = np.nan
    lost = replace(answers, truth=answers.truth | True, probabilities=broken)
    with pytest.raises(DataError, match=r"1 clips have a probability that is not a number, the first is 2\.wav"):
        measure(lost)
    with pytest.raises(DataError, match=r"truth of shape \(4, 1\)"):
        replace(answers, truth=answers.truth[:, :1])
    with pytest.raises(DataError, match="the label 'a;b' has a ; in it"):
        check_labels(["a;b", "c"])


def test_the_worst_mistake_is_the_surest_wrong_answer() -> None:
    truth = np.array([[True, False], [False, False], [True, True]])
    p = np.array([[0.4, 0.1], [0.2, 0.97], [0.9, 0.9]])
    answers = MultiPredictions(("dog", "cat"), ("x", "y", "z"), truth, p, p >= 0.5, ("", "", ""))
    assert answers.mistakes(5) == [1, 0]
    assert answers.describe(1) == ("none", "cat", 0.97)
    assert answers.describe(0) == ("dog", "none", 0.6)
    assert answers.right.tolist() == [False, False, True]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_temperature_is_the_likeliest_by_the_binary_cross_entropy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(30, 3)) * 3
    truth = rng.random((30, 3)) < 1 / (1 + np.exp(-logits / 2))
    p = 1 / (1 + np.exp(-logits))
    answers = MultiPredictions(("a", "b", "c"), tuple(map(str, range(30))), truth, p, p >= 0.5, ("",) * 30)

    def loss(temperature: float) -> float:
        entropy = np.logaddexp(0, -np.where(truth, 1, -1) * logits / temperature).mean()
        return float(30 * entropy + np.log2(temperature) ** 2 / 2)  # 30 clips, each a group of its own

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(answers)
    assert loss(found) == pytest.approx(best.fun, abs=1e-8)
    cooled = with_temperature(answers, found)
    np.testing.assert_allclose(cooled.probabilities, 1 / (1 + np.exp(-logits / found)), atol=1e-12)
    bins = reliability(cooled)
    assert bins.clips.sum() == 90
    assert np.nansum(bins.accuracy * bins.clips) == pytest.approx(truth.sum())


@settings(deadline=None, max_examples=40)
@given(cases, st.integers(0, 1000))
def test_average_precision_of_drawn_clips_is_that_of_the_clips_repeated(answers: MultiPredictions, seed: int) -> None:
    truth, p = answers.truth[:, 0], answers.probabilities[:, 0]
    times = np.random.default_rng(seed).integers(0, 3, size=(4, len(truth)))
    found = Ranking.of(truth, p).average_precision(times)
    for count, one in zip(times, found, strict=True):
        again = np.repeat(truth, count)
        assert (
            np.isnan(one)
            if not again.any()
            else one == pytest.approx(average_precision(again, np.repeat(p, count)), abs=1e-12)
        )


def test_cross_scores_are_those_of_all_clips_together_with_intervals_around_them() -> None:
    whole = drawn(3, 60, 3, 10**6)
    folds = {(0, "one"): whole.take(range(30)), (0, "two"): whole.take(range(30, 60))}
    scores = cross_scores(folds)
    assert scores.scores["map"].mean == pytest.approx(measure(whole).map)
    assert set(scores.scores) == {"map", "macro_f1", "micro_f1"}
    for name, spread in scores.scores.items():
        assert spread.interval is not None
        assert spread.interval.low < spread.mean < spread.interval.high, name
    again = {group.group: group.accuracy for group in scores.groups}
    rows = [n for n, group in enumerate(whole.groups) if group == "g0"]
    assert again["g0"] == pytest.approx(whole.right[rows].mean())


@pytest.mark.parametrize("labels", [1, 4])
def test_a_group_left_out_is_the_score_of_all_others(labels: int) -> None:
    """Of a label that no other clip has, and nobody answered, nothing is said; where no other has any, it is 0."""
    whole = drawn(5, 30, labels, 10**6, share=0.1)
    found = jackknife_labels([whole], level=0.8)
    assert (found.groups, found.level) == (5, 0.8)
    assert list(found.scores.values()) == pytest.approx([getattr(measure(whole), name) for name in found.scores])
    for group in range(5):
        others = whole.take([n for n in range(30) if n % 5 != group])
        expected = [getattr(measure(others), name) if others.truth.any() else 0.0 for name in found.scores]
        assert [found.left_out[name][group] for name in found.scores] == pytest.approx(expected)


def test_runs_of_several_labels_are_averaged_with_each_group_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [drawn(3, 40, 3, 10**6)]
    runs += [replace(runs[0], probabilities=p, predicted=p > 0.5) for p in np.random.default_rng(1).random((2, 40, 3))]
    apart = [jackknife_labels([run]) for run in runs]
    monkeypatch.setattr(intervals, "_AT_ONCE", 2)  # of five groups
    together = jackknife_labels(runs)
    for name, values in together.left_out.items():
        np.testing.assert_allclose(values, np.mean([one.left_out[name] for one in apart], axis=0), atol=1e-12)
        assert together.scores[name] == pytest.approx(np.mean([one.scores[name] for one in apart]), abs=1e-12)
    with pytest.raises(DataError, match="did not score the same clips"):
        jackknife_labels([runs[0], replace(runs[1], groups=("other",) * 40)])


def test_folds_of_other_labels_are_not_put_together() -> None:
    with pytest.raises(DataError, match="different labels"):
        concatenated([drawn(0, 4, 2, 10), drawn(0, 4, 3, 10)])


def test_what_no_clip_has_is_no_number_in_json() -> None:
    truth, p = np.array([[True, False], [True, False]]), np.array([[0.9, 0.1], [0.8, 0.7]])
    answers = MultiPredictions(("dog", "owl"), ("a.wav", "b.wav"), truth, p, p >= 0.5, ("", ""))
    dog, owl = measure(answers).to_dict()["per_class"]
    assert (dog["ap"], dog["recall"], dog["support"]) == (1.0, 1.0, 2)
    assert (owl["ap"], owl["recall"], owl["precision"], owl["support"]) == (None, None, 0.0, 0)
    assert [line for line in metrics_lines(measure(answers), "", "", table=True) if line.startswith("owl")] == [
        "owl      –      0.000       –  0.000        0"
    ]
