import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from earsight.errors import DataError
from earsight.scores import intervals
from earsight.scores.intervals import (
    RATES,
    Jackknife,
    counted_groups,
    group_tallies,
    jackknife,
    ranking_intervals,
    rates,
    student_quantile,
)
from earsight.scores.metrics import measure
from earsight.scores.predictions import Predictions
from earsight.scores.ranking import Ranking


def predictions(truth: np.ndarray, answers: np.ndarray, groups: list[str], classes: int = 4) -> Predictions:
    return Predictions(
        tuple(f"c{n}" for n in range(classes)),
        tuple(f"{n}.wav" for n in range(len(truth))),
        truth,
        np.eye(classes)[answers],
        tuple(groups),
    )


@given(seed=st.integers(0, 2**32 - 1), clips=st.integers(1, 80), classes=st.integers(2, 6))
def test_rates_of_a_confusion_matrix_are_those_of_measure(seed: int, clips: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scored = predictions(rng.integers(0, classes, clips), rng.integers(0, classes, clips), ["g"] * clips, classes)
    expected = measure(scored)
    found = rates(group_tallies([scored]).counts[0, 0])
    assert [found[name] for name in RATES] == pytest.approx([getattr(expected, name) for name in RATES], abs=1e-12)


def test_a_group_left_out_is_the_score_of_all_others() -> None:
    rng = np.random.default_rng(3)
    truth, answers = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    truth[0], groups = 4, [f"speaker{n}" for n in rng.integers(0, 6, 50)]  # the only clip of its class
    scored = predictions(truth, answers, groups, classes=5)
    found = jackknife([scored])
    assert found.groups == 6
    for name in RATES:
        assert found.scores[name] == pytest.approx(getattr(measure(scored), name), abs=1e-12)
        others = [scored.take([n for n in range(50) if groups[n] != group]) for group in sorted(set(groups))]
        assert found.left_out[name] == pytest.approx([getattr(measure(one), name) for one in others], abs=1e-12)


def test_runs_are_averaged_with_each_group_left_out() -> None:
    rng = np.random.default_rng(4)
    truth, groups = rng.integers(0, 4, 60), [f"s{n % 7}" for n in range(60)]
    runs = [predictions(truth, rng.integers(0, 4, 60), groups) for _ in range(3)]
    together, apart = jackknife(runs), [jackknife([run]) for run in runs]
    for name in RATES:
        assert together.scores[name] == pytest.approx(np.mean([one.scores[name] for one in apart]), abs=1e-12)
        assert together.left_out[name] == pytest.approx(np.mean([one.left_out[name] for one in apart], axis=0))


def test_of_many_groups_some_are_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval is nearly the one of groups left out one by one, and which stand together is no matter of order."""
    rng = np.random.default_rng(8)
    truth = np.sort(rng.integers(0, 4, 2000))  # classes side by side
    answers = np.where(rng.random(2000) < 0.5 + truth / 10, truth, (truth + 1) % 4)
    scored = predictions(truth, answers, [f"{n // 2:04}" for n in range(2000)])
    alone = jackknife([scored])
    monkeypatch.setattr(intervals, "MOST_PARTS", 200)
    together = jackknife([scored])
    assert (alone.groups, together.groups) == (1000, 1000)
    assert (len(alone.left_out["uar"]), len(together.left_out["uar"])) == (1000, 200)
    counts = group_tallies([scored]).counts[0]
    assert set(counts[:, 1].sum(axis=-1)) == {10}  # clips of five groups each
    assert (counts[:, 1].max(axis=-1) < 10).sum() > 190  # of several classes, though five neighbours are of one
    assert together.interval("uar") == pytest.approx(alone.interval("uar"), abs=0.004)


def test_groups_are_told_in_words() -> None:
    def told(*groups: str) -> str:
        truth = np.zeros(len(groups), dtype=np.int64)
        return counted_groups(predictions(truth, truth, list(groups)), "speaker")

    assert told("a", "b", "a") == "2 speakers"
    assert told("", "", "") == "3 clips"
    assert told("a", "", "") == "1 speaker and 2 clips without a speaker"


@pytest.mark.parametrize("right", [0, 1, 2])
def test_of_groups_that_are_all_alike_a_score_has_no_interval(right: int) -> None:
    truth = np.array([0, 1] * 6)
    answers = np.where(np.arange(12) % 2 < right, truth, 2)
    alike = jackknife([predictions(truth, answers, [f"s{n // 2}" for n in range(12)])])
    assert alike.scores["accuracy"] == right / 2
    assert alike.interval("accuracy") is None
    assert alike.interval_of_difference("accuracy") == (right / 2, right / 2)  # of a difference it is what it is


def test_clips_without_a_group_are_groups_themselves() -> None:
    scored = predictions(np.array([0, 1, 2]), np.array([0, 1, 1]), ["", "", ""])
    assert jackknife([scored]).groups == 3
    assert jackknife([predictions(scored.truth, scored.predicted, ["1.wav", "", ""])]).groups == 3
    same = predictions(np.array([0, 1, 2]), np.array([0, 1, 1]), ["a", "a", "a"])
    one = jackknife([same])
    assert one.groups == 1
    assert one.interval("accuracy") is None  # of one speaker nothing can be said


def test_fewer_than_three_groups_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    for groups in range(1, 8):
        scored = predictions(truth, answers, [f"s{n % groups}" for n in range(60)])
        assert (jackknife([scored]).interval("uar") is None) == (groups < 3)
        assert (jackknife([scored]).interval_of_difference("uar") is None) == (groups < 3)


def test_clips_of_unknown_truth_count_nowhere() -> None:
    rng = np.random.default_rng(5)
    truth, answers = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    groups = [f"s{n % 6}" if n < 58 else "nobody known" for n in range(60)]
    known = np.ones(60, dtype=bool)
    known[[0, 7, 30, 58, 59]] = False
    scored = predictions(np.where(known, truth, -1), answers, groups)
    found, expected = (jackknife([one]) for one in (scored, scored.take(np.flatnonzero(known))))
    assert (found.groups, found.scores) == (6, expected.scores)
    assert all(np.array_equal(found.left_out[name], expected.left_out[name]) for name in RATES)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_of_groups_of_one_size_the_difference_is_that_of_students_t(level: float) -> None:
    """Accuracy is then the mean of what the groups have, whose interval scipy knows."""
    rng = np.random.default_rng(1)
    truth = np.zeros(240, dtype=np.int64)
    right = rng.random(240) < np.repeat(rng.uniform(0.4, 0.9, 8), 30)
    scored = predictions(truth, np.where(right, 0, 1), [f"s{n // 30}" for n in range(240)])
    each = right.reshape(8, 30).mean(axis=1)
    low, high = scipy.stats.t.interval(level, 7, each.mean(), scipy.stats.sem(each))
    found = jackknife([scored], level=level)
    assert found.interval_of_difference("accuracy") == pytest.approx((low, high), rel=5e-3)
    interval = found.interval("accuracy")
    assert interval is not None
    logit = scipy.special.logit
    slope = each.mean() * (1 - each.mean())
    assert logit(interval) == pytest.approx(
        logit(each.mean()) + (np.array([low, high]) - each.mean()) / slope, rel=5e-3
    )


@pytest.mark.parametrize("score", [1e-4, 0.5, 1 - 1e-4])
def test_an_interval_of_a_score_lies_between_0_and_1_and_around_it(score: float) -> None:
    left_out = np.clip(score + np.array([-1e-4, 0, 1e-4, 2e-3, -2e-3]), 0, 1)
    low, high = Jackknife(5, {"uar": score}, {"uar": left_out}).interval("uar") or (0, 0)
    assert 0 <= low < score < high <= 1
    wrong = Jackknife(5, {"uar": 1 - score}, {"uar": 1 - left_out}).interval("uar")
    assert wrong == pytest.approx((1 - high, 1 - low), abs=1e-12)  # of mistakes it is the mirror image


def test_what_does_not_belong_together_is_refused() -> None:
    one = predictions(np.array([0, 1]), np.array([0, 1]), ["a", "b"])
    other = predictions(np.array([0, 1]), np.array([0, 1]), ["a", "c"])
    with pytest.raises(DataError, match="did not score the same clips"):
        jackknife([one, other])
    with pytest.raises(DataError, match="none of 2 clips has a known label"):
        jackknife([predictions(np.array([-1, -1]), np.array([0, 1]), ["a", "b"])])


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 23, 200])
@pytest.mark.parametrize("probability", [0.95, 0.975, 0.99])
def test_student_quantile_agrees_with_scipy(degrees: int, probability: float) -> None:
    expected = scipy.stats.t.ppf(probability, degrees)
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(
    ("speakers", "spread", "middle"), [(3, 0.4, 0.9), (5, 0.6, 0.9), (10, 0.4, 0.9), (24, 0.6, 0.9), (24, 0.6, 3.0)]
)
def test_the_interval_covers_the_truth_as_often_as_it_says(speakers: int, spread: float, middle: float) -> None:
    """500 studies of simulated speakers, each right at a rate of its own: the rate of their kind lies in the 95 %
    interval in 93 to 97 % of them."""
    rng = np.random.default_rng(0)
    clips, covered = 40, 0
    kind = 1 / (1 + np.exp(-(middle + spread * rng.standard_normal(400_000))))
    expected = kind.mean()
    for _ in range(500):
        ability = 1 / (1 + np.exp(-(middle + spread * rng.standard_normal(speakers))))
        right = rng.random((speakers, clips)) < ability[:, None]
        truth = np.tile(np.arange(clips) % 4, speakers)
        answers = np.where(right.ravel(), truth, (truth + 1) % 4)
        groups = np.repeat([f"s{n}" for n in range(speakers)], clips).tolist()
        interval = jackknife([predictions(truth, answers, groups)]).interval("accuracy")
        covered += interval is not None and interval.low <= expected <= interval.high
    assert 0.93 <= covered / 500 <= 0.97


def machines(rng: np.random.Generator, faulty: int, apart: float = 1.0) -> Predictions:
    """12 machines of 20 clips; two faults in each of the first ``faulty``."""
    truth = np.array([int(m < faulty and n < 2) for m in range(12) for n in range(20)])
    p = 1 / (1 + np.exp(-(rng.standard_normal(240) + apart * truth - 2)))
    groups = tuple(f"m{n // 20}" for n in range(240))
    return Predictions(("normal", "fault"), tuple(map(str, range(240))), truth, np.stack([1 - p, p], axis=1), groups)


def test_how_classes_are_ranked_has_an_interval_where_three_groups_have_both() -> None:
    run = machines(np.random.default_rng(1), faulty=3)
    found, row = ranking_intervals(run, 1), measure(run).per_class[1]
    assert set(found) == {"auc", "ap"}
    assert found["auc"].low < row.auc < found["auc"].high
    assert found["ap"].low < row.ap < found["ap"].high
    others = run.take([n for n, group in enumerate(run.groups) if group != "m1"])
    whole, left_out = (sklearn.metrics.roc_auc_score(one.truth, one.probabilities[:, 1]) for one in (run, others))
    parts = [run.take([n for n, group in enumerate(run.groups) if group != f"m{m}"]) for m in range(12)]
    aucs = [sklearn.metrics.roc_auc_score(one.truth, one.probabilities[:, 1]) for one in parts]
    assert aucs[1] == left_out
    assert found["auc"] == pytest.approx(Jackknife(12, {"": whole}, {"": np.array(aucs)}).interval(""), abs=1e-12)
    assert ranking_intervals(machines(np.random.default_rng(1), faulty=2), 1) == {}  # 12 machines, and faults of two
    assert (
        ranking_intervals(machines(np.random.default_rng(1), faulty=12, apart=99), 1) == {}
    )  # whoever is left out, it is 1


@pytest.mark.parametrize("seed", range(3))
def test_the_auc_of_drawn_clips_is_that_of_the_clips_repeated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, score = rng.random(30) < 0.3, rng.integers(0, 6, 30) / 6  # with ties
    times = rng.integers(0, 3, (5, 30))
    expected = [sklearn.metrics.roc_auc_score(np.repeat(truth, n), np.repeat(score, n)) for n in times]
    assert Ranking.of(truth, score).auc(times) == pytest.approx(expected, abs=1e-12)
    fpr, tpr, _ = sklearn.metrics.roc_curve(truth, score, drop_intermediate=False)
    assert Ranking.of(truth, score).alarms() == pytest.approx(fpr[1:])
    assert Ranking.of(truth, score).curve()[0] == pytest.approx(tpr[1:])
