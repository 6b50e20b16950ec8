from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from earsight.dataset.clip import Clip
from earsight.dataset.leaks import find_copies, find_leaks, resolve_leaks
from earsight.dataset.split import Split
from earsight.errors import DataError, SettingsError


def clip(name: str, group: str = "", start_s: float | None = None, end_s: float | None = None) -> Clip:
    return Clip(Path(name), "label", group, start_s=start_s, end_s=end_s)


def sides(
    train: tuple[int, ...], valid: tuple[int, ...], test: tuple[int, ...], kind: str = "by hand", caveat: str = ""
) -> Split:
    return Split(train, valid, test, kind, "By hand.", caveat)


def test_a_clean_split_has_no_leak() -> None:
    clips = [clip("a.wav", "1"), clip("b.wav", "1"), clip("c.wav", "2"), clip("d.wav", "3")]
    way = sides((0, 1), (2,), (3,))
    assert find_leaks(clips, way) == []
    assert find_copies(way, {0: "x", 1: "x", 2: "y", 3: "z"}) == []  # copies on one side


def test_a_shared_group_is_one_leak_with_all_its_clips() -> None:
    clips = [clip(f"{n}.wav", group) for n, group in enumerate(("1", "1", "2", "1", "3", "2"))]
    first, second = find_leaks(clips, sides((0, 1, 2), (4,), (3, 5)), "speaker")
    assert (first.earlier, first.later, first.sides) == ((0, 1), (3,), ("train", "test"))
    assert first.why == "the same speaker, 1"
    assert (second.earlier, second.later) == ((2,), (5,))
    for asked_for in ("random", "random:0.3", "fsdd"):
        assert find_leaks(clips, sides((0, 1, 2), (4,), (3, 5), asked_for, "speaker-dependent")) == []
    for own in ("fold", "fold:2", "column:part"):  # nobody said that they may share speakers
        assert len(find_leaks(clips, sides((0, 1, 2), (4,), (3, 5), own, "speaker-dependent"))) == 2


def test_clips_without_a_group_share_none() -> None:
    assert find_leaks([clip("a.wav"), clip("b.wav"), clip("c.wav")], sides((0,), (1,), (2,))) == []


@pytest.mark.parametrize(
    ("spans", "why"),
    [
        (((0, 2), (2, 4)), "pieces of a recording"),
        (((0, 2.5), (2, 4)), "overlapping spans of a recording"),
        (((0, 9), (2, 4)), "overlapping spans of a recording"),
        (((None, None), (2, 4)), "overlapping spans of a recording"),
        (((3, None), (2, 4)), "overlapping spans of a recording"),
        (((5, None), (2, 4)), "pieces of a recording"),
        (((0, 0.05), (None, 2)), "overlapping spans of a recording"),
        (((None, 0.04), (0.05, 0.06)), "pieces of a recording"),
    ],
)
def test_spans_of_one_recording_on_both_sides(spans: tuple[tuple[float | None, float | None], ...], why: str) -> None:
    clips = [clip("long.wav", "", *span) for span in spans] + [clip("other.wav")]
    (leak,) = find_leaks(clips, sides((0,), (2,), (1,)))
    assert (leak.earlier, leak.later, leak.why) == ((0,), (1,), why)


def test_a_split_by_chance_over_recordings_may_share_recordings_but_not_overlap() -> None:
    pieces = [clip("long.wav", "long.wav", 0, 2), clip("long.wav", "long.wav", 2, 4), clip("x.wav", "x.wav")]
    way = sides((0,), (2,), (1,), "random", "recording-dependent")
    assert find_leaks(pieces, way, "recording") == []
    overlapping = [pieces[0], pieces[1]._replace(start_s=1.5), pieces[2]]
    (leak,) = find_leaks(overlapping, way, "recording")
    assert leak.why == "overlapping spans of a recording"


def test_an_overlap_is_seen_across_a_short_span_between() -> None:
    clips = [clip("a.wav", "", 0, 10), clip("a.wav", "", 1, 2), clip("a.wav", "", 5, 6), clip("b.wav")]
    leaks = find_leaks(clips, sides((0, 1), (3,), (2,)))
    assert [(leak.earlier, leak.later) for leak in leaks] == [((0,), (2,))]


def test_identical_audio_under_two_names() -> None:
    leaks = find_copies(sides((0, 1), (2,), (3, 4)), {0: "x", 1: "x", 2: "y", 3: "x", 4: "y"})
    assert [(leak.earlier, leak.later, leak.sides) for leak in leaks] == [
        ((0, 1), (3,), ("train", "test")),
        ((2,), (4,), ("valid", "test")),
    ]


def test_copies_that_are_in_no_part_leak_nowhere() -> None:
    """As of clips that were dropped: the copy in training goes, and what is left out already is not found again."""
    clips, digests = [clip(f"{n}.wav") for n in range(5)], {0: "x", 1: "y", 2: "z", 3: "x", 4: "x"}
    assert find_copies(sides((0, 1), (2,), ()), digests) == []
    way, failures = resolve_leaks(clips, sides((0, 1), (2,), (3,)), lambda way: find_copies(way, digests), "drop")
    assert (way.train, way.valid, way.test) == ((1,), (2,), (3,))
    assert [failure.path.name for failure in failures] == ["0.wav"]


def test_the_pieces_of_one_recording_are_one_leak_though_they_are_a_group_too() -> None:
    pieces = [clip("long.wav", "long.wav", 0, 2), clip("long.wav", "long.wav", 2, 4), clip("x.wav", "x.wav")]
    leaks = find_leaks(pieces, sides((0,), (2,), (1,), "fold"), "recording")
    assert [leak.why for leak in leaks] == ["pieces of a recording"]


CLIPS = [clip("a.wav", "1"), clip("b.wav", "2"), clip("c.wav", "3"), clip("d.wav", "1")]
LEAKY = sides((0, 1), (2,), (3,))
FIND = partial(find_leaks, CLIPS, group_name="speaker")


def test_a_leak_is_refused_with_both_names() -> None:
    message = (
        r"1 leak between .*a\.wav \(train\) and d\.wav \(test\), the same speaker, 1\. .*--leaks drop .*--leaks allow"
    )
    with pytest.raises(DataError, match=message):
        resolve_leaks(CLIPS, LEAKY, FIND, "refuse")


def test_dropping_leaves_the_later_side_whole_or_the_earlier() -> None:
    way, failures = resolve_leaks(CLIPS, LEAKY, FIND, "drop")
    assert (way.train, way.valid, way.test) == ((1,), (2,), (3,))
    assert [str(failure.path) for failure in failures] == ["a.wav"]
    assert failures[0].reason == "left out of train: the same speaker, 1, as d.wav in test"
    way, failures = resolve_leaks(CLIPS, LEAKY, FIND, "drop", "later")
    assert (way.train, way.valid, way.test) == ((0, 1), (2,), ())
    assert failures[0].reason == "left out of test: the same speaker, 1, as a.wav in train"


def test_dropping_goes_on_until_no_leak_is_left() -> None:
    clips = [clip(f"{n}.wav", "1") for n in range(3)] + [clip("x.wav", "2")]
    way, failures = resolve_leaks(clips, sides((0, 3), (1,), (2,)), partial(find_leaks, clips), "drop")
    assert (way.train, way.valid, way.test) == ((3,), (), (2,))
    assert len(failures) == 2


def test_leaks_of_two_kinds_are_one_caveat() -> None:
    before = replace(LEAKY, caveat="speaker-dependent")
    named, _ = resolve_leaks(CLIPS, before, FIND, "allow")
    both, _ = resolve_leaks(CLIPS, named, lambda way: find_copies(way, {0: "x", 3: "x"}), "allow")
    assert both.caveat == "speaker-dependent, with leaks"
    assert both.sentence.count("With leaks: 1 found and allowed") == 2


def test_allowing_says_so() -> None:
    way, failures = resolve_leaks(CLIPS, replace(LEAKY, speaker_independent=True), FIND, "allow")
    assert (way.train, failures) == ((0, 1), [])
    assert not way.speaker_independent
    assert way.caveat == "with leaks"
    assert way.sentence == (
        "By hand. With leaks: 1 found and allowed, such as a.wav (train) and d.wav (test), the same speaker, 1."
    )


def test_many_leaks_are_counted_and_a_few_named() -> None:
    clips = [clip(f"{n}.wav", str(n % 20)) for n in range(40)] + [clip("v.wav", "v")]
    way = sides(tuple(range(20)), (40,), tuple(range(20, 40)))
    with pytest.raises(DataError, match=r"20 leaks .*4\.wav \(train\).*; and 15 more\."):
        resolve_leaks(clips, way, partial(find_leaks, clips), "refuse")


def test_a_policy_that_is_none_is_refused_and_leaves_nothing_out() -> None:
    for policy in ("warn", "Allow", ""):
        with pytest.raises(SettingsError, match="use refuse, drop, allow"):
            resolve_leaks(CLIPS, LEAKY, FIND, policy)  # type: ignore[arg-type]
