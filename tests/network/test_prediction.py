"""What becomes of logits without torch, as an exported file's answers do."""

import numpy as np
import pytest
import scipy.special

from earsight.network.prediction import Prediction, to_probabilities


@pytest.mark.parametrize("temperature", [0.05, 1.0, 2.5])
def test_shares_are_the_softmax_or_the_sigmoid_of_logits_over_the_temperature(temperature: float) -> None:
    logits = np.array([[2.0, -1.0, 0.5], [900.0, -900.0, 899.0], [-800.0, -800.0, -801.0]], dtype=np.float32)
    one, several = (to_probabilities(logits, temperature, several=kind) for kind in (False, True))
    assert one.dtype == several.dtype == np.float64
    assert one == pytest.approx(scipy.special.softmax(logits.astype(float) / temperature, axis=1), abs=1e-12)
    assert one.sum(axis=1) == pytest.approx(1)
    assert several == pytest.approx(scipy.special.expit(logits.astype(float) / temperature), abs=1e-12)


def test_a_prediction_is_known_unless_it_is_said_not_to_be() -> None:
    plain = Prediction("a", {"a": 0.4, "b": 0.6})
    assert (plain.answer, plain.probability, plain.labels, plain.familiarity) == ("a", 0.4, None, 1.0)
    assert Prediction("a", {"a": 0.4, "b": 0.6}, unknown=True).answer == "unknown"
