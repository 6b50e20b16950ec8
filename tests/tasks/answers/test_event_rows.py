from dataclasses import replace

from earsight.scores.events import Rule
from earsight.tasks.answers.event_rows import EventRow, EventRows
from earsight.tasks.predict import Row


def heard(**changes: object) -> Row:
    return replace(Row("a.wav", "low", {"low": 0.75, "high": 0.25}, start_s=10.0, end_s=11.0), **changes)


def test_events_of_a_span_have_the_times_of_the_recording() -> None:
    found = EventRows(("low", "high"), 0.5, Rule())
    rows = [heard(last=False), heard(start_s=10.5, end_s=11.5)]
    assert [one.to_dict() for row in rows for one in found.push(row)] == [
        {"path": "a.wav", "start_s": 10.0, "end_s": 11.5, "label": "low", "probability": 0.75}
    ]
    assert [one.start_s for one in found.push(heard(start_s=2.0, end_s=3.0))] == [2.0]  # the next recording


def test_no_event_of_what_is_unknown() -> None:
    found = EventRows(("low", "high"), 0.5, Rule())
    assert list(found.push(heard(label="unknown", likeliest="low"))) == []


def test_times_of_events_have_no_digits_of_rounding() -> None:
    event = EventRow("a.wav", 0.1 + 0.2, 1.1 + 2.2, "low", 0.5).to_dict()
    assert (event["start_s"], event["end_s"]) == (0.3, 3.3)
