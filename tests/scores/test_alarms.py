import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earsight.scores.alarms import alarm_thresholds, lowest_threshold, tally
from earsight.scores.predictions import Predictions


def predictions(truth: list[int], fault: list[float]) -> Predictions:
    p = np.array(fault)
    names = tuple(map(str, range(len(truth))))
    return Predictions(("fault", "ok"), names, np.array(truth), np.stack([p, 1 - p], axis=1), ("",) * len(truth))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.1, 0.5]))
def test_no_lower_threshold_keeps_the_false_alarms(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    truth, score = rng.random(120) < 0.2, rng.integers(0, 40, 120) / 40  # with ties
    threshold = lowest_threshold(truth, score, share)
    assert threshold is not None or share * (~truth).sum() < 1
    if threshold is not None:
        assert (score[~truth] >= threshold).mean() <= share
        lower = score[score < threshold].max()
        assert (score[~truth] >= lower).mean() > share


def test_by_hand() -> None:
    valid = predictions([0, 0, *[1] * 20], [0.9, 0.3, 0.6, 0.4, *[0.1] * 18])
    test = predictions([0, 0, 0, 1, 1, -1], [0.7, 0.5, 0.2, 0.6, 0.1, 0.9])
    found = alarm_thresholds(valid, test)
    # 1 % of 20 clips is less than one of them
    assert [(one.label, one.at_most, one.threshold) for one in found] == [
        ("fault", 0.05, pytest.approx(0.5)),
        ("fault", 0.1, pytest.approx(0.2)),
    ]
    first = json.loads(json.dumps(found[0].to_dict()))
    assert first["fitted"] == {"found": 1, "of": 2, "alarms": 1, "others": 20}
    assert first["tested"] == {"found": 2, "of": 3, "alarms": 1, "others": 2}
    assert (found[0].tested.recall, found[0].tested.false_alarms) == (pytest.approx(2 / 3), 0.5)


def test_scores_that_no_clip_exceeds_still_have_a_threshold() -> None:
    truth = np.array([False] * 10)
    assert lowest_threshold(truth, np.full(10, 1.0), 0.1) is None  # nothing is above certainty
    sure = 1 - np.array([2e-9, 3e-7, *[1e-3] * 8])
    assert lowest_threshold(truth, sure, 0.1) == 0.9999998
    assert lowest_threshold(truth, np.array([2e-9, *[1e-12] * 9]), 0.1) == 1e-9
    assert lowest_threshold(truth, np.full(10, 0.5), 0.1) == 0.75


def test_one_class_alone_has_no_thresholds_and_no_share() -> None:
    alone, both = predictions([1] * 30, [0.1] * 30), predictions([0, *[1] * 29], [0.9] + [0.1] * 29)
    assert alarm_thresholds(alone, both) == ()
    assert [one.tested.recall for one in alarm_thresholds(both, alone)] == [None, None]
    assert tally(predictions([0], [0.9]), 0, 0.5).false_alarms is None
