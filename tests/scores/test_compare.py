from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from earsight.errors import DataError
from earsight.score_lines import comparison_lines
from earsight.scores.compare import compare, mcnemar
from earsight.scores.intervals import RATES, Jackknife, jackknife
from earsight.scores.metrics import measure
from earsight.scores.predictions import Predictions


def predictions(right: np.ndarray, speakers: int, names: str = "c") -> Predictions:
    """Clips of two classes in turn, ``right`` of them answered so."""
    clips = len(right)
    truth = np.arange(clips) % 2
    answers = np.where(right, truth, 1 - truth)
    groups = tuple(f"s{n * speakers // clips}" for n in range(clips))
    return Predictions(("a", "b"), tuple(f"{names}{n:04}" for n in range(clips)), truth, np.eye(2)[answers], groups)


@given(only_a=st.integers(0, 60), only_b=st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    expected = scipy.stats.binomtest(only_a, n, 0.5).pvalue if n else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected, abs=1e-9)


def test_a_difference_that_all_speakers_share_is_sure_and_one_speaker_alone_is_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(960) < 0.6
    better = base | (rng.random(960) < 0.3)
    for_all = compare([predictions(base, 24)], [predictions(better, 24)])
    found = for_all.scores["accuracy"]
    assert found.difference == pytest.approx(better.mean() - base.mean())
    assert found.sure
    assert found.interval is not None
    assert found.interval.low < found.difference < found.interval.high
    assert (for_all.only_a, for_all.only_b) == (0, int((better & ~base).sum()))
    starred = [line for line in comparison_lines(for_all) if line.endswith("*")]
    assert [line.split()[0] for line in starred] == ["accuracy", "UAR", "macro-F1"]  # and no class
    assert any(one.sure for one in for_all.recall.values())
    one_speaker = base.copy()
    one_speaker[:40] = True
    for_one = compare([predictions(base, 24)], [predictions(one_speaker, 24)])
    assert for_one.p < 0.05  # McNemar's test takes these clips for independent …
    (tested,) = [line for line in comparison_lines(for_one) if "McNemar" in line]
    assert tested.endswith(", assuming independent clips, which those of one group are not")
    assert not for_one.scores["accuracy"].sure  # … the speakers say otherwise


@pytest.mark.parametrize(("speakers", "told"), [(1, "1 group is"), (2, "2 groups are"), (3, "B has the higher")])
def test_few_speakers_settle_nothing(speakers: int, told: str) -> None:
    """However large the difference, and alike in all of them."""
    right = np.arange(200) % 2 == 0
    found = compare([predictions(right, speakers)], [predictions(np.ones(200, dtype=bool), speakers)])
    assert found.scores["accuracy"].difference == 0.5
    assert found.scores["accuracy"].sure == (speakers >= 3)
    lines = list(comparison_lines(found))
    assert lines[-1].startswith(told)
    assert any("95 %" in line for line in lines) == (speakers >= 3)
    low = found.to_dict()["scores"]["accuracy"]["low95"]
    assert (low is None) == (speakers < 3)


def test_the_numbers_are_those_of_the_two_runs() -> None:
    rng = np.random.default_rng(1)
    one, two = predictions(rng.random(100) < 0.5, 10), predictions(rng.random(100) < 0.7, 10)
    shuffled = list(rng.permutation(100))
    other_order = Predictions(
        two.labels,
        tuple(two.paths[n] for n in shuffled),
        two.truth[shuffled],
        two.probabilities[shuffled],
        tuple(two.groups[n] for n in shuffled),
    )
    found, before, after = compare([one], [other_order]), measure(one), measure(two)
    assert (found.scores["uar"].a, found.scores["uar"].b) == pytest.approx((before.uar, after.uar))
    assert [found.recall[label].b for label in "ab"] == pytest.approx([row.recall for row in after.per_class])
    assert (found.clips, found.groups) == (100, 10)
    told = found.to_dict()["scores"]["accuracy"]
    assert told["difference"] == pytest.approx(after.accuracy - before.accuracy)
    assert (told["low95"], told["high95"]) == found.scores["accuracy"].interval
    assert compare([one], [two]) == found


def test_only_common_clips_are_compared_and_their_truth_must_agree() -> None:
    one, two = predictions(np.ones(20, dtype=bool), 4), predictions(np.ones(10, dtype=bool), 2)
    assert compare([one], [two]).clips == 10
    with pytest.raises(DataError, match=r"no clip in common: 20 clips, such as \S+, and 20 clips, such as d0\S*, were"):
        compare([one], [predictions(np.ones(20, dtype=bool), 4, names="d")])
    flipped = Predictions(one.labels, one.paths, 1 - one.truth, one.probabilities, one.groups)
    with pytest.raises(DataError, match="the same clips have different labels"):
        compare([one], [flipped])
    with pytest.raises(DataError, match="different labels: a, b and a, z"):
        compare([one], [Predictions(("a", "z"), one.paths, one.truth, one.probabilities, one.groups)])


def test_groups_come_from_whichever_knows_them_and_must_agree() -> None:
    rng = np.random.default_rng(2)
    one, two = predictions(rng.random(120) < 0.5, 6), predictions(rng.random(120) < 0.6, 6)
    nameless = replace(one, groups=("",) * 120)
    found = compare([one], [two])
    assert compare([nameless], [two]) == found == compare([one], [replace(two, groups=("",) * 120)])
    assert found.named
    lines = list(comparison_lines(compare([nameless], [replace(two, groups=("",) * 120)])))
    assert lines[0] == "120 clips scored by both, from 120 single clips"
    assert lines[1].startswith("note: the groups (speakers, recordings …) of some clips are not known")
    assert "with other clips like these" in lines[-1]
    assert list(comparison_lines(compare([one], [one])))[-1] == "Both are right on the same clips."
    assert (found.groups, compare([two], [nameless]).groups) == (6, 6)
    without = replace(one, groups=tuple("" if group == "s0" else group for group in one.groups))
    assert compare([without], [two]) == found  # "" is no other name of s0
    renamed = replace(two, groups=tuple(f"speaker {group}" for group in two.groups))
    assert compare([one], [renamed]) == found
    half = replace(renamed, groups=tuple("" if group == "speaker s0" else group for group in renamed.groups))
    with pytest.raises(DataError, match="is of group s1 and speaker s1 in the two"):
        compare([one], [half])  # who knows only some is not taken to have other names for all
    merged = replace(two, groups=tuple("speaker" if group in {"s0", "s1"} else group * 2 for group in two.groups))
    with pytest.raises(DataError, match="is of group s0 and speaker in the two"):
        compare([one], [merged])  # two groups of one are one of the other
    backwards = replace(two, groups=tuple(f"speaker {9 - int(group[1:])}" for group in two.groups))
    assert compare([one], [backwards]) == found
    with pytest.raises(DataError, match=r"c0000 is of group s0 and s5 and speaker s0 in the two"):
        compare([one], [renamed, replace(two, groups=("s5", *two.groups[1:]))])  # renamed, and another group
    with pytest.raises(DataError, match=r"c0000 is of group other and s0 in the two; score them with one list"):
        compare([one], [replace(two, groups=("other", *two.groups[1:]))])


def test_seeds_are_averaged_in_every_score_and_every_interval() -> None:
    """Two and three runs of two networks: points against ``measure``, intervals against groups left out by hand."""
    rng, names = np.random.default_rng(6), tuple(f"{n}.wav" for n in range(60))
    truth, groups = rng.integers(0, 3, 60), tuple(f"s{n % 6}" for n in range(60))
    truth[0] = 3  # the only one of its class
    a, b = (
        [
            Predictions(
                tuple("abcd"), names, truth, rng.dirichlet(np.ones(4), 60) / 2 + np.eye(4)[truth] * kept, groups
            )
            for _ in range(runs)
        ]
        for runs, kept in ((2, 0.2), (3, 0.3))
    )
    found = compare(a, b)
    for name in RATES:
        one, other = ([getattr(measure(run), name) for run in runs] for runs in (a, b))
        assert (found.scores[name].a, found.scores[name].b) == pytest.approx((np.mean(one), np.mean(other)), abs=1e-12)
        apart = [jackknife(runs) for runs in (a, b)]
        difference = found.scores[name].difference
        expected = Jackknife(6, {name: difference}, {name: apart[1].left_out[name] - apart[0].left_out[name]})
        assert found.scores[name].interval == pytest.approx(expected.interval_of_difference(name), abs=1e-12)
    kept = np.arange(60) % 6 != np.arange(6)[:, None]  # [groups, clips]
    for place, label in enumerate("abcd"):
        of_class = kept * (truth == place)
        recalls = [
            np.mean([(of_class * run.right).sum(axis=1) / np.maximum(of_class.sum(axis=1), 1) for run in runs], axis=0)
            for runs in (a, b)
        ]
        of_label = Jackknife(6, {"": found.recall[label].difference}, {"": recalls[1] - recalls[0]})
        assert found.recall[label].interval == pytest.approx(of_label.interval_of_difference(""), abs=1e-12)
        points = [np.mean([measure(run).per_class[place].recall for run in runs]) for runs in (a, b)]
        assert (found.recall[label].a, found.recall[label].b) == pytest.approx(points, abs=1e-12)
    right_a, right_b = (np.mean([run.probabilities for run in runs], axis=0).argmax(axis=1) == truth for runs in (a, b))
    assert (found.only_a, found.only_b) == (int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()))


def test_no_difference_is_not_sure() -> None:
    """Zero at the edge of the interval is not outside of it."""
    one = predictions(np.arange(60) % 3 > 0, 6)
    same = compare([one], [one]).scores["accuracy"]
    assert same.interval == (0, 0)
    assert not same.sure


def test_groups_are_named_where_all_of_them_are() -> None:
    one = predictions(np.arange(60) % 3 > 0, 6)
    assert compare([one], [one]).named
    some = replace(one, groups=("", *one.groups[1:]))
    assert not compare([some], [some]).named


def test_clips_of_unknown_truth_count_nowhere() -> None:
    one, two = predictions(np.arange(60) % 3 > 0, 6), predictions(np.arange(60) % 4 > 0, 6)
    known = np.arange(60) % 5 > 0
    some = [replace(run, truth=np.where(known, run.truth, -1)) for run in (one, two)]
    alone = [run.take(np.flatnonzero(known)) for run in (one, two)]
    assert compare([some[0]], [some[1]]) == compare([alone[0]], [alone[1]])


def test_what_is_compared_is_of_all_seeds() -> None:
    one, fewer = predictions(np.ones(20, dtype=bool), 4), predictions(np.ones(10, dtype=bool), 2)
    turned, flipped = replace(one, labels=("b", "a")), replace(one, truth=1 - one.truth)
    for a, b in (([one], [one, fewer]), ([one, fewer], [one])):
        assert compare(a, b).clips == 10
    for other, words in ((turned, "different labels: "), (flipped, "the same clips have different labels")):
        for a, b in (([one], [one, other]), ([one, other], [one])):
            with pytest.raises(DataError, match=words):
                compare(a, b)
