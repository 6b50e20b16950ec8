"""What becomes of logits without torch, as an exported file's answers do."""

import numpy as np
import pytest
import scipy.special

from earsight.audio.decode import Samples
from earsight.errors import SettingsError
from earsight.network.prediction import Answers, Prediction, Predictor, UnknownLimits, to_probabilities


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


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({}, "ok"),
        ({"fault": 0.2}, "fault"),
        ({"fault": 0.25}, "fault"),
        ({"fault": 0.26}, "ok"),
        ({"ok": 0.8}, "fault"),  # the likeliest is not answered below its threshold
        ({"fault": 0.2, "worn": 0.01}, "worn"),  # five times its own
        ({"fault": 0.3, "worn": 0.06}, "ok"),
        ({"fault": 0.0, "worn": 0.05}, "fault"),
    ],
)
def test_a_class_is_answered_from_its_threshold_on_and_nowhere_else(thresholds: dict[str, float], said: str) -> None:
    class Model(Predictor):
        labels, unknown, thresholds = ("ok", "fault", "worn"), UnknownLimits(), None

        def answers(self, crops: Samples) -> Answers:
            return Answers(np.array([[0.7, 0.25, 0.05]] * 2), np.ones(2), np.array([False, True]))

    model = Model()
    model.set_answer_thresholds(thresholds)
    found = list(model.predictions(np.zeros((2, 1, 4), dtype=np.float32)))
    assert [one.label for one in found] == [said, said]
    assert [one.answer for one in found] == [said, "unknown"]
    assert found[0].probability == found[0].probabilities[said]
    model.set_answer_thresholds({})
    assert [one.label for one in model.predictions(np.zeros((2, 1, 4), dtype=np.float32))] == ["ok", "ok"]
    for wrong, words in (
        ({"odd": 0.1}, "a threshold for 'odd', which the model does not know; its labels: ok, fault, worn"),
        ({"ok": 1.1}, "the threshold of 'ok' must be from 0 to 1, got 1.1"),
        ({"ok": float("nan")}, "must be from 0 to 1, got nan"),
        (dict.fromkeys(Model.labels, 0.1), "leave one out"),
    ):
        with pytest.raises(SettingsError, match=words):
            model.set_answer_thresholds(wrong)
    model.thresholds = (0.5,) * 3  # type: ignore[assignment]
    with pytest.raises(SettingsError, match="has a threshold for each"):
        model.set_answer_thresholds({"ok": 0.5})
