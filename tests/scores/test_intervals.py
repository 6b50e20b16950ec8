import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from earsight.errors import DataError
from earsight.scores.intervals import RATES, Resampled, per_group, rates, resample, student_quantile, what_is_drawn
from earsight.scores.metrics import measure
from earsight.scores.predictions import Predictions


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
    found = rates(per_group([scored])[0, 0])
    assert [found[name] for name in RATES] == pytest.approx([getattr(expected, name) for name in RATES], abs=1e-12)


def test_a_draw_is_the_score_of_the_groups_drawn() -> None:
    """By brute force: clips of the drawn groups, repeated as drawn, give the same scores."""
    rng = np.random.default_rng(3)
    truth, answers = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    groups = [f"speaker{n}" for n in rng.integers(0, 6, 50)]
    scored = predictions(truth, answers, groups)
    names = sorted(set(groups))
    found = resample([scored], draws=20, seed=9)
    times = np.random.default_rng(9).multinomial(6, np.full(6, 1 / 6), size=20)
    for draw in range(20):
        rows = [n for group, count in zip(names, times[draw], strict=True) for n in range(50) if groups[n] == group
                for _ in range(count)]  # fmt: skip
        expected = measure(predictions(truth[rows], answers[rows], ["g"] * len(rows)))
        for name in RATES:
            assert found.values[name][draw] == pytest.approx(getattr(expected, name), abs=1e-12)


def test_runs_are_averaged_in_each_draw() -> None:
    rng = np.random.default_rng(4)
    truth, groups = rng.integers(0, 4, 60), [f"s{n % 7}" for n in range(60)]
    runs = [predictions(truth, rng.integers(0, 4, 60), groups) for _ in range(3)]
    together = resample(runs, draws=100, seed=1)
    apart = [resample([run], draws=100, seed=1) for run in runs]
    for name in RATES:
        assert together.values[name] == pytest.approx(np.mean([one.values[name] for one in apart], axis=0), abs=1e-12)


def test_what_is_drawn_is_told_in_words() -> None:
    def told(*groups: str) -> str:
        truth = np.zeros(len(groups), dtype=np.int64)
        return what_is_drawn(predictions(truth, truth, list(groups)), "speaker")

    assert told("a", "b", "a") == "2 speakers"
    assert told("", "", "") == "3 clips"
    assert told("a", "", "") == "1 speaker and 2 clips without a speaker"


def test_of_groups_that_are_all_alike_a_score_has_no_interval() -> None:
    truth = np.array([0, 1] * 6)
    alike = resample([predictions(truth, truth, [f"s{n // 2}" for n in range(12)])], draws=20)
    assert alike.interval("accuracy") == (1.0, 1.0)
    assert alike.interval_of_score("accuracy") is None


def test_clips_without_a_group_are_groups_themselves() -> None:
    scored = predictions(np.array([0, 1, 2]), np.array([0, 1, 1]), ["", "", ""])
    assert resample([scored], draws=10).groups == 3
    assert resample([predictions(scored.truth, scored.predicted, ["1.wav", "", ""])], draws=10).groups == 3
    same = predictions(np.array([0, 1, 2]), np.array([0, 1, 1]), ["a", "a", "a"])
    one = resample([same], draws=10)
    assert one.groups == 1
    assert one.interval("accuracy") is None  # of one speaker nothing can be said


def test_fewer_than_five_groups_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    for groups in range(1, 8):
        scored = predictions(truth, answers, [f"s{n % groups}" for n in range(60)])
        assert (resample([scored], draws=50).interval("uar") is None) == (groups < 5)


def test_clips_of_unknown_truth_count_nowhere() -> None:
    rng = np.random.default_rng(5)
    truth, answers = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    groups = [f"s{n % 6}" if n < 58 else "nobody known" for n in range(60)]
    known = np.ones(60, dtype=bool)
    known[[0, 7, 30, 58, 59]] = False
    scored = predictions(np.where(known, truth, -1), answers, groups)
    found, expected = (resample([one], draws=300) for one in (scored, scored.take(np.flatnonzero(known))))
    assert (found.groups, len(found.values["uar"])) == (6, 300)
    assert all(np.array_equal(found.values[name], expected.values[name]) for name in RATES)


@pytest.mark.parametrize(("groups", "level"), [(5, 0.95), (10, 0.8), (40, 0.95)])
def test_an_interval_reaches_as_far_as_hesterberg_says(groups: int, level: float) -> None:
    tail = scipy.stats.norm.cdf(-np.sqrt(groups / (groups - 1)) * scipy.stats.t.ppf((1 + level) / 2, groups - 1))
    found = Resampled(groups, {"uar": np.linspace(0, 1, 10_001)}, level).interval("uar")
    assert found == pytest.approx((tail, 1 - tail), rel=0.03)
    rng = np.random.default_rng(groups)
    scored = predictions(rng.integers(0, 4, 80), rng.integers(0, 4, 80), [f"s{n % groups}" for n in range(80)])
    assert resample([scored], draws=10, level=level).level == level


def test_what_does_not_belong_together_is_refused() -> None:
    one = predictions(np.array([0, 1]), np.array([0, 1]), ["a", "b"])
    other = predictions(np.array([0, 1]), np.array([0, 1]), ["a", "c"])
    with pytest.raises(DataError, match="did not score the same clips"):
        resample([one, other])
    with pytest.raises(DataError, match="none of 2 clips has a known label"):
        resample([predictions(np.array([-1, -1]), np.array([0, 1]), ["a", "b"])])


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 23, 200])
@pytest.mark.parametrize("probability", [0.95, 0.975, 0.99])
def test_student_quantile_agrees_with_scipy(degrees: int, probability: float) -> None:
    expected = scipy.stats.t.ppf(probability, degrees)
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(("speakers", "spread"), [(24, 0.6), (10, 0.4), (24, 0.0)])
def test_the_interval_covers_the_truth_as_often_as_it_says(speakers: int, spread: float) -> None:
    """500 studies of simulated speakers, each right at a rate of its own: the rate of their kind lies in the 95 %
    interval in 93 to 97 % of them."""
    rng = np.random.default_rng(0)
    clips, covered = 40, 0
    kind = 1 / (1 + np.exp(-(0.9 + spread * rng.standard_normal(400_000))))
    expected = kind.mean()
    for _ in range(500):
        ability = 1 / (1 + np.exp(-(0.9 + spread * rng.standard_normal(speakers))))
        right = rng.random((speakers, clips)) < ability[:, None]
        truth = np.tile(np.arange(clips) % 4, speakers)
        answers = np.where(right.ravel(), truth, (truth + 1) % 4)
        groups = np.repeat([f"s{n}" for n in range(speakers)], clips).tolist()
        interval = resample([predictions(truth, answers, groups)], draws=1000, seed=1).interval("accuracy")
        assert interval is not None
        covered += interval.low <= expected <= interval.high
    assert 0.93 <= covered / 500 <= 0.97
