"""Windows that overlap → steps → events, against small cases worked out by hand."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earsight.errors import SettingsError
from earsight.scores.events import Event, EventFinder, Rule, Step, Track


def steps_of(windows: list[tuple[float, float, list[float]]], hop_s: float, known: bool = True) -> list[Step]:
    track = Track(hop_s)
    found = [step for start, end, row in windows for step in track.push(start, end, np.array(row), known)]
    return [*found, *track.close()]


def events_of(rows: list[list[float]], rule: Rule, thresholds: list[float] | None = None) -> list[Event]:
    """One row a second."""
    finder = EventFinder(("a", "b", "c"), rule, thresholds)
    found = []
    for second, row in enumerate(rows):
        found += finder.push(Step(second, second + 1, np.array(row), 1.0))
    return [*found, *finder.close()]


def test_a_step_is_the_mean_of_the_windows_over_its_middle() -> None:
    found = steps_of([(0, 3, [0.0]), (1, 4, [0.3]), (2, 5, [0.6]), (3, 6, [0.9])], 1.0)
    assert [(step.start_s, step.end_s) for step in found] == [(n, n + 1) for n in range(6)]
    expected = [0.0, 0.15, 0.3, 0.6, 0.75, 0.9]
    assert [step.probabilities[0] for step in found] == pytest.approx(expected)


def test_the_last_step_ends_with_the_last_window_and_a_tail_that_overlaps_more_counts_there() -> None:
    found = steps_of([(0, 3, [0.0]), (1, 4, [0.0]), (1.5, 4.5, [0.6])], 1.0)
    assert (found[-1].start_s, found[-1].end_s) == (4, 4.5)
    # middles at 0.5, 1.5, 2.5, 3.5, 4.25
    assert [step.probabilities[0] for step in found] == pytest.approx([0.0, 0.2, 0.2, 0.3, 0.6])


@given(count=st.integers(1, 40), hops_a_window=st.integers(1, 6), hop_ms=st.integers(7, 900))
@settings(max_examples=100, deadline=None)
def test_steps_follow_each_other_from_the_start_to_the_end(count: int, hops_a_window: int, hop_ms: int) -> None:
    hop_s = hop_ms / 1000
    windows = [(n * hop_s, (n + hops_a_window) * hop_s, [0.5]) for n in range(count)]
    found = steps_of(windows, hop_s)
    assert len(found) == count + hops_a_window - 1
    assert found[0].start_s == 0
    assert found[-1].end_s == pytest.approx(windows[-1][1])
    for one, two in itertools.pairwise(found):
        assert one.end_s == pytest.approx(two.start_s)


def test_steps_come_as_soon_as_no_later_window_reaches_them() -> None:
    track = Track(1.0)
    assert list(track.push(0, 3, np.array([0.2]), True)) == []
    assert [step.start_s for step in track.push(1, 4, np.array([0.4]), True)] == [0]
    assert [step.start_s for step in track.push(2, 5, np.array([0.4]), False)] == [1]
    assert [step.known for step in track.close()] == pytest.approx([2 / 3, 0.5, 0])


def test_an_event_begins_at_one_probability_and_stays_down_to_another() -> None:
    rows = [[0.4, 0, 0], [0.6, 0, 0], [0.4, 0, 0], [0.36, 0, 0], [0.34, 0, 0], [0.4, 0, 0], [0.5, 0, 0]]
    found = events_of(rows, Rule(start_at=0.5, stay_at=0.35))
    assert [(event.start_s, event.end_s, event.label) for event in found] == [(1, 4, "a"), (6, 7, "a")]
    assert found[0].probability == pytest.approx((0.6 + 0.4 + 0.36) / 3)


def test_an_event_begins_at_0_3_and_goes_on_down_to_0_7_of_that_and_steps_count_by_their_length() -> None:
    assert [(event.start_s, event.end_s) for event in events_of([[0.29, 0, 0], [0.3, 0, 0], [0.22, 0, 0]], Rule())] == [
        (1, 3)
    ]
    assert [event.end_s for event in events_of([[0.3, 0, 0], [0.2, 0, 0]], Rule())] == [1]
    finder = EventFinder(("a", "b"), Rule())
    steps = (Step(0, 1, np.array([0.9, 0.0]), 1.0), Step(1, 1.5, np.array([0.3, 0.0]), 1.0))
    assert [event for step in steps for event in finder.push(step)] == []
    assert list(finder.close()) == [Event(0, 1.5, "a", pytest.approx((0.9 + 0.5 * 0.3) / 1.5))]
    assert list(finder.close()) == []


def test_a_span_of_a_recording_has_its_own_beginning() -> None:
    track = Track(1.0, 5.0)
    found = [*track.push(5.0, 8.0, np.array([0.2]), True), *track.push(6.0, 8.5, np.array([0.4]), True), *track.close()]
    assert [(step.start_s, step.end_s) for step in found] == [(5, 6), (6, 7), (7, 8), (8, 8.5)]
    assert [step.probabilities[0] for step in found] == pytest.approx([0.2, 0.3, 0.3, 0.4])
    assert list(Track(1.0, 5.0).close()) == []


def test_with_one_label_the_likeliest_that_begins_ends_the_one_before() -> None:
    rows = [[0.7, 0.3, 0], [0.45, 0.45, 0.1], [0.4, 0.55, 0], [0.42, 0.4, 0.1], [0.1, 0.2, 0.7]]
    found = events_of(rows, Rule(start_at=0.5))
    assert [(event.label, event.start_s, event.end_s) for event in found] == [("a", 0, 2), ("b", 2, 4), ("c", 4, 5)]


def test_with_several_labels_events_overlap_and_each_has_its_threshold() -> None:
    rows = [[0.9, 0.25, 0.5], [0.9, 0.18, 0.59], [0.1, 0.1, 0.7]]
    found = events_of(rows, Rule(), [0.5, 0.2, 0.6])
    spans = sorted((event.label, event.start_s, event.end_s) for event in found)
    assert spans == [("a", 0, 2), ("b", 0, 2), ("c", 2, 3)]


def test_short_events_are_left_out_and_those_of_just_the_length_are_kept() -> None:
    rows = [[0.9, 0, 0], [0, 0, 0], [0.9, 0, 0], [0.9, 0, 0], [0, 0, 0], [0.9, 0, 0], [0, 0, 0]]
    assert [event.start_s for event in events_of(rows, Rule(shortest_s=2))] == [2]


def test_nothing_is_heard_where_half_of_the_windows_are_unknown() -> None:
    finder = EventFinder(("a", "b"), Rule())
    found = []
    for second, known in enumerate((1.0, 0.6, 0.5, 1.0)):
        found += finder.push(Step(second, second + 1, np.array([0.9, 0.1]), known))
    found += finder.close()
    assert [(event.start_s, event.end_s) for event in found] == [(0, 2), (3, 4)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start_at": 0}, "--start-at is a probability"),
        ({"stay_at": 1.5}, "--stay-at is a probability"),
        ({"start_at": 0.3, "stay_at": 0.4}, "--stay-at 0.4 is above --start-at 0.3"),
        ({"shortest_s": -1}, "--shortest must be 0 s or more"),
        ({"shortest_s": float("nan")}, "--shortest must be 0 s or more"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Rule(**arguments)


def test_an_event_can_not_end_above_where_it_begins_by_itself() -> None:
    assert Rule(stay_at=0.3).starts(("a", "b"), None) == pytest.approx([0.3, 0.3])
    assert Rule(start_at=0.6, stay_at=0.5).starts(("a", "b"), [0.2, 0.7]) == pytest.approx([0.6, 0.6])
    with pytest.raises(SettingsError, match=r"^--stay-at 0\.31 is above 0\.3, where events begin; lower it"):
        Rule(stay_at=0.31).starts(("a", "b"), None)
    with pytest.raises(SettingsError, match=r"above 0\.2, where events of 'b' begin"):
        Rule(stay_at=0.4).starts(("a", "b"), [0.5, 0.2])


def test_an_event_of_hours_takes_the_memory_of_a_short_one() -> None:
    finder, shares = EventFinder([str(n) for n in range(500)], Rule()), np.full(500, 0.0005)
    shares[3] = 0.75
    tracemalloc.start()
    for second in range(3600):
        assert list(finder.push(Step(second, second + 1, shares.copy(), 1.0))) == []
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(finder.close()) == [Event(0, 3600, "3", pytest.approx(0.75))]
    assert grown < 1e6  # 14.4 MB with all that was pushed


@pytest.mark.parametrize(("window_s", "hop_s", "over"), [(3.0, 1.2, 2), (0.75, 0.3, 2), (1.0, 0.4, 2), (1.5, 1.0, 1)])
def test_the_last_digits_of_times_decide_nothing(window_s: float, hop_s: float, over: int) -> None:
    """Windows that end just where the middle of a step is are no part of it, wherever in a long recording it lies."""
    track, count = Track(hop_s), 2000
    weights = np.arange(count) % 7
    found = [
        step
        for n in range(count)
        for step in track.push(n * hop_s, n * hop_s + window_s, np.array([float(weights[n])]), True)
    ]
    for n in range(over, len(found)):
        assert found[n].probabilities[0] == pytest.approx(weights[n - over + 1 : n + 1].mean())
    assert len(found) > count - 3
