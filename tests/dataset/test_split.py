from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earsight.dataset.clip import Clip
from earsight.dataset.sources import read_dataset
from earsight.dataset.split import LUNA5, check_kind, split
from earsight.errors import SplitError


def clips(groups: int, labels: int = 3, each: int = 3) -> list[Clip]:
    return [
        Clip(Path(f"g{g:02}/{label}-{n}.wav"), f"label{label}", f"{g:02}" if groups > 1 else "")
        for g in range(groups)
        for label in range(labels)
        for n in range(each)
    ]


@given(groups=st.integers(1, 15), seed=st.integers(0, 99), data=st.data())
@settings(deadline=None)
def test_a_partition_without_shared_group_in_any_order(groups: int, seed: int, data: st.DataObject) -> None:
    known = clips(groups)
    if groups == 2:
        with pytest.raises(SplitError, match=r"too few groups.*2 in 18 clips"):
            split(known, "auto", seed=seed)
        return
    whole = split(known, "auto", seed=seed)
    assert sorted((*whole.train, *whole.valid, *whole.test)) == list(range(len(known)))
    assert all((whole.train, whole.valid, whole.test))
    if groups > 1:
        sides = [{known[i].group for i in part} for part in (whole.train, whole.valid, whole.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == groups
    assert {known[i].label for i in whole.train} == {clip.label for clip in known}
    shuffled = data.draw(st.permutations(known))
    again = split(shuffled, "auto", seed=seed)
    for part in ("train", "valid", "test"):
        assert {known[i].path for i in getattr(whole, part)} == {shuffled[i].path for i in getattr(again, part)}


def test_the_same_on_every_machine() -> None:
    assert sorted({clips(10)[i].group for i in split(clips(10), "group", seed=0).test}) == ["08", "09"]


def test_luna5_is_a_partition_of_24_actors() -> None:
    assert sorted(actor for test, _ in LUNA5 for actor in test) == list(range(1, 25))
    assert all(not test & valid for test, valid in LUNA5)


def test_luna5_on_ravdess(ravdess: Path) -> None:
    known = read_dataset(ravdess).clips
    fold = split(known, "luna5:0", group_name="speaker")
    assert (len(fold.train), len(fold.valid), len(fold.test)) == (17 * 60, 2 * 60, 5 * 60)
    assert {known[i].group for i in fold.test} == {"02", "05", "14", "15", "16"}
    assert {known[i].group for i in fold.valid} == {"03", "06"}
    assert "02, 05, 14, 15, 16" in fold.sentence
    assert fold.speaker_independent


def test_none_and_random_say_what_they_are() -> None:
    everything = split(clips(5), "none")
    assert everything.train == everything.test == tuple(range(45))
    assert everything.training_score
    random = split(clips(5), "random", group_name="speaker")
    assert "Speaker-dependent" in random.sentence
    assert not random.speaker_independent
    assert "Speaker-dependent" not in split(clips(1), "random").sentence


@pytest.mark.parametrize("kind", ["grup", "luna5", "luna5:5", "luna5:x", "", "random:0.2"])
def test_unknown_kinds_name_the_known_ones(kind: str) -> None:
    with pytest.raises(SplitError, match="use one of: auto, group"):
        check_kind(kind)


def test_what_cannot_be_split_says_the_way_out() -> None:
    with pytest.raises(SplitError, match="made of RAVDESS's actors; not in this data"):
        split(clips(5), "luna5:0")
    with pytest.raises(SplitError, match="class 'label0' has 2, 3 are needed"):
        split(clips(1, each=2), "random")
    with pytest.raises(SplitError, match="9 of 36 clips have no group"):
        split([*clips(3), *clips(1)], "group")
    one_sided = [Clip(Path(f"{g}-{n}.wav"), f"only{g}", str(g)) for g in range(3) for n in range(3)]
    with pytest.raises(SplitError, match="leaves no training clip of"):
        split(one_sided, "group")
