"""Events that were found against annotated ones: small cases worked out by hand, and pairs against scipy's."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from earsight.scores.detection import Annotation, Detection, Scores, Tally, tally_events, tally_segments
from earsight.scores.intervals import Jackknife

LABELS = ("bee", "fly")


def spans(*facts: tuple[float, float, str]) -> list[Annotation]:
    return [Annotation(*one) for one in facts]


def test_a_label_is_there_in_every_segment_that_a_part_of_it_touches() -> None:
    annotated = spans((0.5, 2.0, "bee"), (3.1, 3.2, "fly"))  # bee in 0 and 1, fly in 3
    found = spans((1.0, 3.5, "bee"))  # bee in 1, 2 and 3
    tally = tally_segments(found, annotated, LABELS, 5.0, 1.0)
    assert tally.counts.tolist() == [[1, 0], [2, 1], [3, 0]]
    # second 0 misses a bee, second 2 makes one up, second 3 takes a fly for a bee
    assert tally.errors == (1, 1, 1)
    detection = Detection(LABELS, (tally,))
    assert detection.micro == Scores(1 / 3, 1 / 3, 2 / 6, 3, 3)
    assert detection.error_rate == 1.0
    assert detection.per_label == {"bee": Scores(1 / 3, 1 / 2, 2 / 5, 2, 3), "fly": Scores(None, 0.0, 0.0, 1, 0)}
    assert detection.macro_f1 == pytest.approx(0.2)


@pytest.mark.parametrize("segment_s", [0.1, 0.3, 0.7])
def test_an_edge_between_segments_belongs_to_one_of_them_whatever_its_last_digits(segment_s: float) -> None:
    for first in range(40):
        edges = spans((first * segment_s, (first + 1) * segment_s, "bee"))
        tally = tally_segments(edges, spans(), LABELS, 41 * segment_s, segment_s)
        assert tally.counts.tolist() == [[0, 0], [0, 0], [1, 0]]


def test_what_is_annotated_after_the_end_or_is_shorter_than_rounding_counts() -> None:
    tally = tally_segments([], spans((9.0, 12.0, "bee"), (1.0, 1.0, "fly")), LABELS, 10.0, 1.0)
    assert tally.counts[1].tolist() == [3, 1]


def test_events_are_right_by_what_they_share_of_what_both_cover() -> None:
    annotated = spans((0, 4, "bee"), (10, 14, "bee"), (20, 24, "fly"))
    found = spans((0, 2, "bee"), (10, 11.9, "bee"), (20, 24, "bee"))  # a half; less than that; another label
    assert tally_events(found, annotated, LABELS, 0.5).counts.tolist() == [[1, 0], [2, 1], [3, 0]]
    assert tally_events(found, annotated, LABELS, 0.47).counts[0].tolist() == [2, 0]
    assert tally_events(annotated, annotated, LABELS, 1.0).counts.tolist() == [[2, 1]] * 3


def test_each_event_counts_once_and_most_pairs_are_taken() -> None:
    twice = spans((0, 4, "bee"), (0, 4, "bee"))
    assert tally_events(spans((0, 4, "bee")), twice, LABELS, 0.5).counts[:, 0].tolist() == [1, 2, 1]
    # the first annotated may have either of two, the second only that which the first would take
    annotated, found = spans((0, 10, "bee"), (0, 4, "bee")), spans((0, 5, "bee"), (5, 10, "bee"))
    assert tally_events(found, annotated, LABELS, 0.5).counts[:, 0].tolist() == [2, 2, 2]


def test_pairs_are_as_many_as_an_optimal_assignment_has() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        annotated, found = (
            spans(*((start, start + length, "bee") for start, length in rng.uniform(0.5, 6, (rng.integers(1, 12), 2))))
            for _ in range(2)
        )
        shared = [
            [
                max(0.0, min(a.end_s, f.end_s) - max(a.start_s, f.start_s))
                >= 0.3 * (max(a.end_s, f.end_s) - min(a.start_s, f.start_s))
                for f in found
            ]
            for a in annotated
        ]
        rows, columns = linear_sum_assignment(-np.array(shared, dtype=float))
        expected = int(np.array(shared)[rows, columns].sum())
        assert tally_events(found, annotated, LABELS, 0.3).counts[0, 0] == expected


def test_nothing_annotated_and_nothing_found_is_no_score() -> None:
    empty = Detection(LABELS, (tally_segments([], [], LABELS, 3.0, 1.0),))
    assert empty.micro == Scores(None, None, None, 0, 0)
    assert (empty.macro_f1, empty.error_rate, empty.f1_interval) == (None, None, None)
    made_up = Detection(LABELS, (tally_segments(spans((0, 1, "bee")), [], LABELS, 3.0, 1.0),))
    assert made_up.micro == Scores(0.0, None, 0.0, 0, 1)
    assert made_up.error_rate is None


def test_the_interval_is_of_recordings_left_out() -> None:
    alike = Tally(np.array([[3, 0], [4, 0], [4, 0]]))
    other = Tally(np.array([[1, 0], [4, 0], [4, 0]]))
    assert Detection(LABELS, (alike, other)).f1_interval is None  # too few
    assert Detection(LABELS, (alike,) * 6).f1_interval is None  # alike, which tells nothing of others
    rights, found = (0, 4, 0, 4, 2, 2), (4, 6, 4, 4, 4, 8)
    mixed = tuple(Tally(np.array([[a, 0], [4, 0], [b, 0]])) for a, b in zip(rights, found, strict=True))
    left_out = [Detection(LABELS, mixed[:n] + mixed[n + 1 :]).micro.f1 for n in range(6)]
    whole = Detection(LABELS, mixed).micro.f1
    expected = Jackknife(6, {"": whole}, {"": np.array(left_out)}).interval("")
    assert Detection(LABELS, mixed).f1_interval == pytest.approx(expected, abs=1e-12)
