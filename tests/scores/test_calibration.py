from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from earsight.errors import DataError, SettingsError
from earsight.scores.calibration import fit_temperature, reliability, risk_coverage, with_temperature
from earsight.scores.predictions import Predictions


def predictions(truth: np.ndarray, probabilities: np.ndarray) -> Predictions:
    clips, classes = probabilities.shape
    names = tuple(f"c{n}" for n in range(classes))
    return Predictions(names, tuple(map(str, range(clips))), truth, probabilities, ("",) * clips)


def drawn(seed: int, clips: int = 400, classes: int = 5, sharpness: float = 1.0) -> Predictions:
    """Truth drawn from softmax(logits); the network says softmax(sharpness · logits)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((clips, classes))
    truth = np.array([rng.choice(classes, p=row) for row in scipy.special.softmax(logits, axis=1)])
    return predictions(truth, scipy.special.softmax(sharpness * logits, axis=1))


@given(seed=st.integers(0, 10_000), sharpness=st.floats(0.3, 4))
@settings(deadline=None, max_examples=30)
def test_temperature_is_where_another_optimiser_finds_it(seed: int, sharpness: float) -> None:
    scored = drawn(seed, clips=60, sharpness=sharpness)
    logits = np.log(scored.probabilities)

    for groups in (("",) * 60, ("a", "b") * 30, ("a",) * 40 + ("",) * 20):
        observed = {("",) * 60: 60, ("a", "b") * 30: 2}.get(groups, 21)

        def loss(temperature: float, observed: int = observed) -> float:
            logs = scipy.special.log_softmax(logits / temperature, axis=1)
            prior = scipy.stats.norm(0, np.log(2)).logpdf
            return float(-observed * logs[np.arange(60), scored.truth].mean() - prior(np.log(temperature)) + prior(0.0))

        found = fit_temperature(replace(scored, groups=groups))
        expected = scipy.optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
        assert loss(found) == pytest.approx(expected.fun, abs=1e-9)


def test_clips_of_unknown_truth_say_nothing_of_the_temperature() -> None:
    scored = drawn(4, clips=80, sharpness=2.0)
    some = replace(scored, truth=np.where(np.arange(80) % 4, scored.truth, -1), groups=("a", "b", "c", "d") * 20)
    known = some.take(np.flatnonzero(some.known))
    assert fit_temperature(some) == pytest.approx(fit_temperature(known), abs=1e-6)
    assert fit_temperature(some) > 1.1
    assert reliability(some).error == reliability(known).error
    assert np.array_equal(risk_coverage(some).risk, risk_coverage(known).risk)


def test_two_speakers_move_the_temperature_less_than_as_many_clips_of_many() -> None:
    for sharpness in (3.0, 0.3):
        scored = drawn(2, clips=200, sharpness=sharpness)
        many, two = fit_temperature(scored), fit_temperature(replace(scored, groups=("a", "b") * 100))
        assert abs(np.log(two)) < 0.8 * abs(np.log(many))
        assert (two > 1) == (many > 1) == (sharpness > 1)


def test_temperature_undoes_what_made_the_network_too_sure() -> None:
    too_sure = drawn(1, clips=4000, sharpness=3.0)
    temperature = fit_temperature(too_sure)
    assert temperature == pytest.approx(3.0, rel=0.1)
    fixed = with_temperature(too_sure, temperature)
    assert np.array_equal(fixed.predicted, too_sure.predicted)
    assert reliability(too_sure).error > 0.1
    assert reliability(fixed).error < 0.03
    assert np.allclose(with_temperature(too_sure, 1.0).probabilities, too_sure.probabilities)


def test_probabilities_of_zero_and_one_stay_numbers() -> None:
    sure = predictions(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]])
    temperature = fit_temperature(sure)
    assert temperature == pytest.approx(20.0)  # one is wrong and was sure: as far as it goes
    assert np.isfinite(with_temperature(sure, temperature).probabilities).all()
    with pytest.raises(SettingsError, match="above 0"):
        with_temperature(sure, 0.0)


def test_calibration_is_told_in_fifteen_bins() -> None:
    found = reliability(drawn(0))
    assert (len(found.clips), len(found.accuracy), len(found.confidence)) == (15, 15, 15)
    assert found.clips.sum() == 400


@given(seed=st.integers(0, 10_000), bins=st.integers(1, 30))
@settings(deadline=None, max_examples=50)
def test_calibration_error_agrees_with_a_plain_loop(seed: int, bins: int) -> None:
    scored = drawn(seed, clips=70)
    expected = 0.0
    for n in range(bins):
        low, high = n / bins, (n + 1) / bins
        inside = [i for i, c in enumerate(scored.confidence) if low < c <= high]
        if inside:
            accuracy = np.mean([scored.predicted[i] == scored.truth[i] for i in inside])
            expected += len(inside) / 70 * abs(accuracy - np.mean([scored.confidence[i] for i in inside]))
    assert reliability(scored, bins).error == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("clips", [40, 300])
def test_probabilities_that_are_worth_what_they_say_show_about_the_error_of_chance(clips: int) -> None:
    found = [reliability(drawn(seed, clips)) for seed in range(40)]
    errors, by_chance = ([getattr(one, name) for one in found] for name in ("error", "by_chance"))
    assert np.mean(by_chance) == pytest.approx(np.mean(errors), rel=0.1)


def test_risk_and_coverage_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.8, 0.6])
    scored = predictions(np.array([0, 0, 1, 1]), np.stack([confidence, 1 - confidence], axis=1))  # all answered "0"
    curve = risk_coverage(scored)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert curve.area == pytest.approx(0.5 / 3 + 0.25 / 2)
    assert (curve.for_risk(0.0), curve.for_risk(0.4), curve.for_risk(0.5)) == (0.9, 0.8, 0.6)
    all_wrong = predictions(np.array([1]), np.array([[0.7, 0.3]]))
    assert risk_coverage(all_wrong).for_risk(0.1) is None
    assert risk_coverage(all_wrong).area == 1.0
    for share in (-0.1, 1.0):
        with pytest.raises(SettingsError, match="a risk lies between 0 and 1, got"):
            curve.for_risk(share)


def test_nothing_known_is_an_error() -> None:
    unknown = predictions(np.array([-1]), np.array([[0.5, 0.5]]))
    assert fit_temperature(unknown) == 1.0
    with pytest.raises(DataError, match="none of 1 clips has a known label"):
        reliability(unknown)
