from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earsight.dataset.clip import Clip
from earsight.dataset.group_folds import group_folds
from earsight.dataset.leaks import find_leaks
from earsight.dataset.sources import read_dataset
from earsight.dataset.split import EMOBOX6, LUNA5, check_kind, split
from earsight.errors import SplitError


def clips(groups: int, labels: int = 3, each: int = 3) -> list[Clip]:
    return [
        Clip(Path(f"g{g:02}/{label}-{n}.wav"), f"label{label}", f"{g:02}" if groups > 1 else "")
        for g in range(groups)
        for label in range(labels)
        for n in range(each)
    ]


def with_folds(folds: tuple[str, ...], each: int = 4) -> list[Clip]:
    """Two recordings a fold and class, each cut into ``each`` clips."""
    return [
        Clip(Path(f"{fold}-{label}{r}-{n}.wav"), label, f"{fold}{label}{r}", fold)
        for fold in folds
        for label in ("bell", "rain")
        for r in range(2)
        for n in range(each)
    ]


@st.composite
def ragged(draw: st.DrawFn) -> list[Clip]:
    """Groups of any size and any share of two to four classes; some groups have one class only."""
    labels = draw(st.integers(2, 4))
    found = []
    for g in range(draw(st.integers(3, 14))):
        for label in draw(st.sets(st.integers(0, labels - 1), min_size=1)):
            for n in range(draw(st.integers(1, 6))):
                found.append(Clip(Path(f"{g}/{label}-{n}.wav"), f"label{label}", f"g{g}"))
    return found


def possible(known: list[Clip], kind: str, seed: int) -> bool:
    try:
        split(known, kind, seed=seed)
    except SplitError:
        return False
    return True


@given(known=ragged(), kind=st.sampled_from(["auto", "group", "group:3", "group:3:1", "loso:g0"]), data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_partition_without_shared_group_in_any_order(known: list[Clip], kind: str, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 9))
    shuffled = data.draw(st.permutations(known))
    if not possible(known, kind, seed):
        with pytest.raises(SplitError, match="leaves no training clip of"):
            split(shuffled, kind, seed=seed)
        return
    whole = split(known, kind, seed=seed)
    parts = (whole.train, whole.valid, whole.test)
    assert sorted(i for part in parts for i in part) == list(range(len(known)))
    assert all(parts)
    sides = [{known[i].group for i in part} for part in parts]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert {known[i].label for i in whole.train} == {clip.label for clip in known}
    assert whole.speaker_independent
    assert whole.caveat == ""
    again = split(shuffled, kind, seed=seed)
    for part in ("train", "valid", "test"):
        assert {known[i].path for i in getattr(whole, part)} == {shuffled[i].path for i in getattr(again, part)}


@given(known=ragged(), share=st.floats(0.05, 0.9), seed=st.integers(0, 9), data=st.data())
@settings(deadline=None)
def test_random_is_a_partition_of_every_class_in_any_order(
    known: list[Clip], share: float, seed: int, data: st.DataObject
) -> None:
    counts = Counter(clip.label for clip in known)
    if min(counts.values()) < 3:
        with pytest.raises(SplitError, match="3 are needed"):
            split(known, f"random:{share:.3f}", seed=seed)
        return
    whole = split(known, f"random:{share:.3f}", seed=seed)
    assert sorted((*whole.train, *whole.valid, *whole.test)) == list(range(len(known)))
    for part in (whole.train, whole.valid, whole.test):
        assert {known[i].label for i in part} == counts.keys()
    shuffled = data.draw(st.permutations(known))
    again = split(shuffled, f"random:{share:.3f}", seed=seed)
    assert {known[i].path for i in whole.test} == {shuffled[i].path for i in again.test}


def test_group_folds_test_every_clip_once_and_share_the_classes() -> None:
    known = clips(20, labels=4, each=2)
    tests = [split(known, f"group:5:{fold}") for fold in range(5)]
    assert sorted(i for fold in tests for i in fold.test) == list(range(len(known)))
    for fold in tests:
        assert Counter(known[i].label for i in fold.test) == {f"label{n}": 8 for n in range(4)}


def test_groups_of_very_different_size_are_spread_evenly() -> None:
    sizes = (40, 20, 20, 10, 10, 10, 10)
    known = [Clip(Path(f"{g}-{n}.wav"), f"{n % 2}", f"g{g}") for g, size in enumerate(sizes) for n in range(size)]
    assert sorted(len(split(known, f"group:3:{fold}").test) for fold in range(3)) == [40, 40, 40]


def test_the_same_on_every_machine() -> None:
    known = clips(10)
    drawn = split(known, "group", seed=0)
    assert sorted({known[i].group for i in drawn.test}) == ["05", "08"]
    assert sorted({known[i].group for i in drawn.valid}) == ["07", "09"]
    assert [known[i].path.name for i in split(clips(1), "random", seed=3).test] == ["0-1.wav", "1-2.wav", "2-2.wav"]


def test_ragged_groups_are_divided_the_same_everywhere() -> None:
    """By the share of every class: the six clips of d weigh as much as the 47 of b."""
    counts = {(g, n): (7 * g + 3 * n * n + g * g * n) % 6 for g in range(13) for n in range(3)}
    counts |= {(g, 3): 1 + g % 3 for g in (1, 5, 9)}
    known = [
        Clip(Path(f"{g}/{label}-{n}.wav"), "abcd"[label], f"g{g:02}")
        for (g, label), count in sorted(counts.items())
        for n in range(count)
    ]
    members = {f"g{g:02}": [i for i, clip in enumerate(known) if clip.group == f"g{g:02}"] for g in range(13)}
    folds = group_folds(known, members, 4, 0)
    assert [" ".join(sorted(fold)) for fold in folds] == [
        "g00 g05 g06 g08",
        "g01 g11 g12",
        "g03 g09 g10",
        "g02 g04 g07",
    ]
    drawn = split(known, "group:4:1", seed=2)
    assert sorted({known[i].group for i in drawn.test}) == ["g01", "g06", "g11"]
    assert sorted({known[i].group for i in drawn.valid}) == ["g05", "g07"]
    lone = [Clip(Path(f"{label}{n}.wav"), label, label) for label in "abc" for n in range(4 + ord(label) % 4)]
    apart = {label: [i for i, clip in enumerate(lone) if clip.label == label] for label in "abc"}
    # all folds cost the same: into the emptiest
    assert sorted(map(sorted, group_folds(lone, apart, 3, 0))) == [["a"], ["b"], ["c"]]


def test_a_moved_data_set_keeps_its_split_and_equal_file_names_do_not_confuse_it() -> None:
    known = [Clip(Path(f"/here/{a}/deep/{b}.wav"), f"{b % 2}") for a in range(8) for b in range(6)]
    moved = [clip._replace(path=Path("/there/else") / clip.path.relative_to("/here")) for clip in known]
    assert split(moved, "random").test == split(known, "random").test
    backwards = split(known[::-1], "random")
    assert {known[::-1][i].path for i in backwards.test} == {known[i].path for i in split(known, "random").test}


def test_luna5_and_emobox6_are_partitions_of_24_actors() -> None:
    assert sorted(actor for test, _ in LUNA5 for actor in test) == list(range(1, 25))
    assert all(not test & valid for test, valid in LUNA5)
    assert sorted(actor for test in EMOBOX6 for actor in test) == list(range(1, 25))


def test_published_folds_are_carried_out_on_actors() -> None:
    known = [clip._replace(group=f"{int(clip.group) + 1:02}") for clip in clips(24)]

    def actors(part: tuple[int, ...]) -> set[int]:
        return {int(known[i].group) for i in part}

    for fold, (test, valid) in enumerate(LUNA5):
        drawn = split(known, f"luna5:{fold}")
        assert (actors(drawn.test), actors(drawn.valid)) == (test, valid)
        assert actors(drawn.train) == set(range(1, 25)) - test - valid
        assert sorted((*drawn.train, *drawn.valid, *drawn.test)) == list(range(len(known)))
    for fold, test in enumerate(EMOBOX6, 1):
        drawn = split(known, f"emobox6:{fold}")
        assert actors(drawn.test) == test
        assert len(actors(drawn.valid)) == 4
        assert actors(drawn.train) == set(range(1, 25)) - test - actors(drawn.valid)


def test_published_folds_on_ravdess(ravdess: Path) -> None:
    known = read_dataset(ravdess).clips
    fold = split(known, "luna5:0", group_name="speaker")
    assert (len(fold.train), len(fold.valid), len(fold.test)) == (17 * 60, 2 * 60, 5 * 60)
    assert {known[i].group for i in fold.test} == {"02", "05", "14", "15", "16"}
    assert {known[i].group for i in fold.valid} == {"03", "06"}
    assert "5 speakers (02, 05, 14, 15, 16) whom the network never heard" in fold.sentence
    assert fold.speaker_independent
    emobox = split(known, "emobox6:2", group_name="speaker")
    assert {known[i].group for i in emobox.test} == {"04", "10", "12", "14"}
    assert (len(emobox.train), len(emobox.valid), len(emobox.test)) == (16 * 60, 4 * 60, 4 * 60)


def test_esc10_by_its_own_folds(esc10: Path) -> None:
    dataset = read_dataset(esc10)
    whole = split(dataset.clips, "auto", official=dataset.split)
    assert whole.kind == "esc50:1"
    assert {dataset.clips[i].fold for i in whole.test} == {"1"}
    assert len(whole.test) == 80
    assert {dataset.clips[i].fold for i in (*whole.train, *whole.valid)} == {"2", "3", "4", "5"}
    assert whole.speaker_independent


def test_folds_by_number_word_and_column() -> None:
    numbered = with_folds(("1", "2", "10"))
    assert split(numbered, "auto").kind == "fold:1"
    assert {numbered[i].fold for i in split(numbered, "fold:10").test} == {"10"}
    words = with_folds(("train", "valid", "test"))
    parts = split(words, "auto")
    assert parts.kind == "fold"
    for part in ("train", "valid", "test"):
        assert {words[i].fold for i in getattr(parts, part)} == {part}
    without_valid = with_folds(("train", "test"))
    parts = split(without_valid, "auto")
    assert {without_valid[i].fold for i in (*parts.train, *parts.valid)} == {"train"}
    assert {without_valid[i].fold for i in parts.test} == {"test"}
    assert parts.valid
    tagged = [clip._replace(fold="", tags={"city": clip.fold}) for clip in numbered]
    assert split(tagged, "column:city:2").test == split(numbered, "fold:2").test


def test_one_fold_alone_divides_nothing() -> None:
    for fold in ("1", "train"):
        assert split([clip._replace(fold=fold) for clip in clips(5)], "auto").kind == "group"
        assert split([clip._replace(fold=fold) for clip in clips(1)], "auto").kind == "random"
    some = [clip._replace(fold="12"[n % 2] if n else "") for n, clip in enumerate(clips(5))]
    assert split(some, "auto").kind == "group"  # nor do folds that a clip lacks


def test_what_is_not_honest_says_so() -> None:
    everything = split(clips(5), "none")
    assert everything.train == everything.test == tuple(range(45))
    assert (everything.training_score, everything.caveat) == (True, "training score")
    random = split(clips(5), "random", group_name="speaker")
    assert "Speaker-dependent: 4 of 4 speakers" in random.sentence
    assert random.caveat == "speaker-dependent"
    assert not random.speaker_independent
    ungrouped = split(clips(1), "random")
    assert "dependent" not in ungrouped.sentence
    assert (ungrouped.caveat, ungrouped.speaker_independent) == ("", False)
    takes = [clip._replace(fold="test" if clip.path.stem.endswith("0") else "train") for clip in clips(5)]
    assert split(takes, "fsdd", group_name="speaker").caveat == "speaker-dependent"


def test_independent_of_speakers_is_said_where_each_clip_has_one_and_none_is_on_two_sides() -> None:
    known = clips(10)
    drawn = split(known, "group:5:0", group_name="speaker")
    test, valid = (sorted({known[i].group for i in part}) for part in (drawn.test, drawn.valid))
    assert drawn.sentence == (
        f"Scored on 2 speakers ({', '.join(test)}) whom the network never heard; trained on 6, the epoch chosen on "
        f"2 others ({', '.join(valid)}). Split: group:5:0."
    )
    assert drawn.speaker_independent
    parts = [clip._replace(fold="test" if clip.group < "03" else "train") for clip in known]
    assert split(parts, "fold").speaker_independent
    nameless = [clip._replace(group="") if n == 80 else clip for n, clip in enumerate(parts)]
    unsure = split(nameless, "fold")
    assert not unsure.speaker_independent
    assert unsure.sentence.startswith("Scored on clips held out by the data's own parts; whether the network heard")
    shared = [clip._replace(group="00") if n == 80 else clip for n, clip in enumerate(parts)]
    assert not split(shared, "fold").speaker_independent


@pytest.mark.parametrize(
    "kind",
    [
        "grup",
        "luna5",
        "luna5:5",
        "luna5:x",
        "",
        "random:0",
        "random:1.5",
        "random:",
        "group:1",
        "group:5:5",
        "group:5:",
        "loso",
        "column",
        "emobox6:0",
        "esc50:6",
        "speech_commands:1",
        "none:1",
        "auto:2",
    ],
)
def test_unknown_kinds_name_the_known_ones(kind: str) -> None:
    with pytest.raises(SplitError, match="use one of: auto, group"):
        check_kind(kind)


@pytest.mark.parametrize(
    ("known", "kind", "message"),
    [
        (clips(5), "luna5:0", "made of RAVDESS's actors; not in this data: 05, 06"),
        (clips(5), "loso:7", "made of groups; not in this data: 7"),
        (clips(1, each=2), "random", "class 'label0' has 2, 3 are needed"),
        ([*clips(3), *clips(1)], "group", "9 of 36 clips have no group"),
        ([*clips(3), *clips(1)], "loso:00", "9 of 36 clips have no group"),
        (clips(2), "auto", "too few groups.*2 in 18 clips"),
        (clips(4), "group:5", "there are only 4; lower the number"),
        (clips(2), "loso:00", "leaves only one group"),
        (clips(4), "fold:1", "this data has none"),
        (with_folds(("1", "2")), "fold:3", "no clip is in '3'; there are: 1, 2"),
        (with_folds(("1", "2")), "fold", "wants the words train, valid and test; there are: 1, 2"),
        (with_folds(("a", "b")), "esc50:1", "the folds of this data are a, b"),
        (with_folds(("1", "2")), "column:city", "no clip has a column 'city'"),
        ([*with_folds(("1", "2")), Clip(Path("x.wav"), "rain", "x")], "fold:1", r"1 of 33 clips have no fold.*x\.wav"),
        (
            [Clip(Path(f"{g}-{n}.wav"), f"only{g}", str(g)) for g in range(3) for n in range(3)],
            "group",
            "leaves no training clip of",
        ),
    ],
)
def test_what_cannot_be_split_says_why(known: list[Clip], kind: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        split(known, kind)


def by_folds(*folds: str) -> list[Clip]:
    return [Clip(Path(f"{n}.wav"), "ab"[n // 2 % 2], fold=folds[n % len(folds)]) for n in range(60)]


def test_where_no_clip_is_of_test_it_is_held_out_of_train_and_the_sentence_says_so() -> None:
    clips = by_folds("train", "train", "valid")
    drawn = split(clips, "auto")
    assert drawn.kind == "fold"
    assert {clips[i].fold for i in (*drawn.train, *drawn.test)} == {"train"}
    assert sorted(drawn.valid) == [i for i, clip in enumerate(clips) if clip.fold == "valid"]
    assert (len(drawn.train), len(drawn.test)) == (32, 8)
    assert drawn.sentence == (
        "Scored on clips held out at random; whether the network heard their speakers or recordings is not known. "
        "The data names no test part: this one is a fifth of its train part. "
        "Split: fold."
    )
    grouped = [clip._replace(group=f"s{n // 6}") for n, clip in enumerate(clips)]
    held = split([clip for clip in grouped if clip.fold == "train" or clip.group == "s9"], "auto")
    kept = [clip for clip in grouped if clip.fold == "train" or clip.group == "s9"]
    assert not {kept[i].group for i in held.train} & {kept[i].group for i in held.test}
    tagged = [clip._replace(fold="", tags={"part": clip.fold}) for clip in clips]
    assert split(tagged, "column:part").test == drawn.test


def test_clips_without_a_group_do_not_break_the_groups_of_others() -> None:
    some = [
        Clip(Path(f"/d/{n:03}.wav"), "ab"[n % 2], f"s{n % 10}" if n % 7 else "", str(1 + n % 10 % 5))
        for n in range(200)
    ]
    for kind in ("fold:1", "fold:4"):
        drawn = split(some, kind, group_name="speaker")
        assert find_leaks(some, drawn, "speaker") == []
        assert len(drawn.valid) == pytest.approx(160 / 5, abs=4)
    one = [clip._replace(group="s0" if clip.group == "s0" else "") for clip in some]
    assert find_leaks(one, split(one, "fold:2"), "speaker") == []


def test_other_words_beside_the_parts_are_named() -> None:
    for kind in ("auto", "fold"):
        with pytest.raises(
            SplitError, match="fold: there are other parts than train, valid and test: 3, unused; remove their clips"
        ):
            split(by_folds("train", "test", "unused", "3"), kind)
    with pytest.raises(SplitError, match="fold wants the words train, valid and test; there are: valid, test"):
        split(by_folds("test", "valid"), "auto")
    with pytest.raises(SplitError, match=r"speech_commands wants the words .*; there are: train, valid$"):
        split(by_folds("train", "valid"), "speech_commands")
    assert split(by_folds("train", "valid"), "fold:val").kind == "fold:val"
    with pytest.raises(SplitError, match="1 of 61 clips have no fold"):
        split([*by_folds("train", "test"), Clip(Path("x.wav"), "a")], "auto")


def test_columns_are_found_in_any_case_and_by_other_words_for_the_parts() -> None:
    words = ("Training", "training", "Val", "Testing")
    clips = [
        Clip(Path(f"{n}.wav"), "ab"[n // 4 % 2], group=f"s{n // 10}", tags={"part": words[n % 4]}) for n in range(80)
    ]
    drawn = split(clips, "column:Part")
    assert {clips[i].tags["part"] for i in drawn.train} == {"Training", "training"}
    assert {clips[i].tags["part"] for i in drawn.valid} == {"Val"}
    assert {clips[i].tags["part"] for i in drawn.test} == {"Testing"}
    assert {clips[i].group for i in split(clips, "column:speaker:s3").test} == {"s3"}
    assert {clips[i].group for i in split(clips, "column:Room:s3", group_name="room").test} == {"s3"}
    assert {clips[i].tags["part"] for i in split(clips, "column:part:Val").test} == {"Val"}
    assert {clips[i].tags["part"] for i in split(clips, "column:part:valid").test} == {"Val"}
    with pytest.raises(SplitError, match="column:label:a leaves no training clip of: a"):
        split(clips, "column:label:a")
    with pytest.raises(SplitError, match="no clip has a column 'Parts'; there are: label, group, fold, part"):
        split(clips, "column:Parts")


def test_a_number_of_folds_that_no_machine_reads_is_refused() -> None:
    for kind in ("group:" + "9" * 5000, "group:5:" + "0" * 5000):
        with pytest.raises(SplitError, match=r"^unknown split 'group:\S{73}…'; use one of") as caught:
            check_kind(kind)
        assert len(str(caught.value)) < 500
    clips = by_folds("9" * 5000, "2", "10")
    assert split(clips, "auto").kind == "fold:2"


def test_a_group_on_two_sides_of_the_datas_own_parts_is_no_caveat() -> None:
    clips = [
        clip._replace(group="s1" if n in {0, 1} else f"{clip.fold}{n % 4}")
        for n, clip in enumerate(by_folds("train", "test"))
    ]
    drawn = split(clips, "auto", group_name="speaker")
    assert (drawn.caveat, drawn.speaker_independent) == ("", False)
    assert drawn.sentence == "Scored on clips held out by the data's own parts. Split: fold."


def test_clips_with_several_labels_are_divided_by_each_of_them() -> None:
    rng = np.random.default_rng(0)
    clips = []
    for n in range(400):
        names = [name for name, share in (("a", 0.5), ("b", 0.2), ("c", 0.05)) if rng.random() < share]
        clips.append(Clip(Path(f"{n}.wav"), names[0] if names else "", more_labels=tuple(names[1:])))
    done = split(clips, "random:0.25")
    assert sorted((*done.train, *done.valid, *done.test)) == list(range(400))
    for label in "abc":
        have = sum(label in clip.labels for clip in clips)
        drawn = sum(label in clips[i].labels for i in done.test)
        assert abs(drawn - 0.25 * have) <= 3
    none = [not clip.labels for clip in clips]
    assert abs(sum(none[i] for i in done.test) - 0.25 * sum(none)) <= 1


def test_a_group_that_is_much_larger_than_the_others_is_learned_from() -> None:
    large = [clip._replace(path=Path(f"{n}/{clip.path}")) for clip in clips(9) if clip.group == "04" for n in range(12)]
    known = [*(clip for clip in clips(9) if clip.group != "04"), *large]  # 108 clips, and 9 of each other group
    for seed in range(5):
        found = split(known, "group", seed=seed)
        groups = [{known[i].group for i in part} for part in (found.train, found.valid, found.test)]
        assert "04" in groups[0]
        assert all(1 <= len(part) <= 2 for part in groups[1:])
    held_out = split(known, "group:5:0")
    assert {known[i].group for i in held_out.test} == {"04"}  # where that fold is asked for


def test_groups_of_clips_with_several_labels_are_spread_by_all_of_them() -> None:
    clips = [
        Clip(Path(f"{n}-{take}.wav"), "a", f"g{n}", more_labels=("rare",) if n % 5 == 0 else ())
        for n in range(20)
        for take in range(3)
    ]
    done = split(clips, "group")
    for part in (done.train, done.valid, done.test):
        assert any("rare" in clips[i].labels for i in part)
    lone = [clip._replace(more_labels=("rare",) if clip.group == "g0" else ()) for clip in clips]
    trained = {label for i in split(lone, "group").train for label in lone[i].labels}
    assert trained == {"a", "rare"}  # the one group that has it is not held out
    with pytest.raises(
        SplitError, match=r"loso:g0 leaves no training clip of: rare \(all clips of rare are of .* g0\); "
    ):
        split(lone, "loso:g0")
