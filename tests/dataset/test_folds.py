from pathlib import Path

import pytest

from earsight.dataset.clip import Clip
from earsight.dataset.folds import expand_folds
from earsight.dataset.split import split
from earsight.errors import SplitError


def actors(count: int = 24) -> list[Clip]:
    return [
        Clip(Path(f"Actor_{a:02}/{label}{n}.wav"), label, group=f"{a:02}")
        for a in range(1, count + 1)
        for label in ("calm", "angry")
        for n in range(3)
    ]


@pytest.mark.parametrize(
    ("protocol", "count"), [("luna5", 5), ("emobox6", 6), ("loso", 24), ("group:4", 4), ("group", 5)]
)
def test_every_clip_is_in_the_test_of_one_fold(protocol: str, count: int) -> None:
    clips = actors()
    kinds = expand_folds(protocol, clips)
    assert len(kinds) == count
    tested = [i for kind in kinds for i in split(clips, kind).test]
    assert sorted(tested) == list(range(len(clips)))


def test_folds_that_the_data_names() -> None:
    clips = [Clip(Path(f"{n}.wav"), "ab"[n % 2], fold=str(n % 5 + 1), tags={"site": f"s{n % 3}"}) for n in range(60)]
    assert expand_folds("esc50", clips) == tuple(f"esc50:{n}" for n in range(1, 6))
    assert expand_folds("fold", clips) == tuple(f"fold:{n}" for n in range(1, 6))
    assert expand_folds("column:site", clips) == ("column:site:s0", "column:site:s1", "column:site:s2")
    grouped = [clip._replace(group=f"g{n % 2}") for n, clip in enumerate(clips)]
    assert expand_folds("column:group", grouped) == ("column:group:g0", "column:group:g1")
    assert expand_folds("loso", actors(3)) == ("loso:01", "loso:02", "loso:03")
    with pytest.raises(SplitError, match=r"unknown split 'esc50:6'"):
        expand_folds("esc50", [clip._replace(fold=str(n % 6 + 1)) for n, clip in enumerate(clips)])
    with pytest.raises(SplitError, match=r"names parts .* not folds: train once with --split fold"):
        expand_folds("fold", [clip._replace(fold="train") for clip in clips])


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("luna6", "unknown folds 'luna6'; use one of: luna5, emobox6"),
        ("luna5:0", "unknown folds"),
        ("random", "unknown folds"),
        ("group:x", "unknown folds"),
        ("group:1", "has 1 fold in this data, and two or more are needed; choose other --folds, such as group:5"),
        ("fold", "fold has 0 folds in this data"),
    ],
)
def test_what_is_no_protocol_is_refused(protocol: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        expand_folds(protocol, actors(3))
