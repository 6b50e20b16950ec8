"""What is decoded, divided and written down before training; without torch."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip
from earsight.dataset.leaks import Policy
from earsight.dataset.sources import read_dataset
from earsight.errors import DataError
from earsight.tasks.clips_table import read_clips
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe
from earsight.tasks.training.decoded import (
    REFIT_SENTENCE,
    DecodedData,
    decode_parts,
    fingerprint,
    unscored,
    write_clips,
)
from earsight.tasks.training.plan import batches_per_epoch, plan_training


def decoded(data: Path, *, split: str, leaks: Policy = "refuse") -> DecodedData:
    recipe = Recipe.named("default", {"network": {"model": "test_efficientnet", "pretrained": False}})
    plan = plan_training(data, recipe, split_kind=split, leaks=leaks, store=False, out=data.parent / "run")
    return decode_parts(plan, 1, Progress(shown=False))


def table(folder: Path, *, copied: str = "") -> Path:
    """Four clips each of a and b in train, valid and test; those of the classes ``copied`` are the same everywhere."""
    rows = ["path,label,part,where"]
    for place, part in enumerate(("train", "valid", "test")):
        for number in range(8):
            label = "ab"[number % 2]
            seed = number if label in copied else 10 * place + number
            name = f"{part}{number}.wav"
            soundfile.write(folder / name, 0.1 * np.random.default_rng(seed).standard_normal(8000), 16000)
            rows.append(f"{name},{label},{part},room {number}")
    (folder / "table.csv").write_text("\n".join([*rows, ""]))
    return folder / "table.csv"


def test_a_part_that_drop_leaves_empty_is_not_called_unreadable(tmp_path: Path) -> None:
    data = table(tmp_path, copied="ab")
    with pytest.raises(
        DataError, match=r"^no clip is left for train: \d+ clips were left out by --leaks drop, the first: "
    ):
        decoded(data, split="column:part", leaks="drop")


def test_a_class_that_drop_leaves_empty_is_not_called_unreadable(tmp_path: Path) -> None:
    data = table(tmp_path, copied="b")
    message = r"^no training clip is left of b: \d+ were left out by --leaks drop, .*identical audio, as .*; use other"
    with pytest.raises(DataError, match=message):
        decoded(data, split="column:part", leaks="drop")


def test_a_class_that_cannot_be_read_is_called_unreadable(tmp_path: Path) -> None:
    data = table(tmp_path)
    for number in range(1, 8, 2):
        (tmp_path / f"train{number}.wav").write_text("no sound")
    with pytest.raises(DataError, match=r"^no readable training clip is left of: b"):
        decoded(data, split="column:part")


def test_half_a_recording_is_left_out_by_name(tmp_path: Path) -> None:
    data = table(tmp_path)
    half = tmp_path / "train0.wav"
    half.write_bytes(half.read_bytes()[:8044])
    done = decoded(data, split="column:part")
    assert [tuple(failure) for failure in done.failures] == [
        (half, f"truncated: 0.25 s of 0.50 s are there: {half}; download it again")
    ]
    assert len(done.parts["train"]) == 7


def test_the_written_table_is_the_same_split_again_with_all_columns(tmp_path: Path) -> None:
    done = decoded(table(tmp_path), split="column:part")
    (tmp_path / "run").mkdir()
    write_clips(tmp_path / "run", done)
    read = read_dataset(tmp_path / "run" / "clips.csv")
    assert {clip.path.name: (clip.label, clip.tags["part"], clip.tags["where"]) for clip in read.clips} == {
        clip.path.name: (clip.label, part, clip.tags["where"])
        for part in ("train", "valid", "test")
        for clip in (done.store.clips[i] for i in done.parts[part])
    }
    recorded = read_clips(tmp_path / "run")
    assert [row.digest for row in recorded if row.part == "test"] == [done.store.digests[i] for i in done.parts["test"]]


def test_a_refit_trains_on_both_parts_and_chooses_by_none(tmp_path: Path) -> None:
    done = decoded(table(tmp_path), split="column:part")
    clips = tuple(clip._replace(group="" if n % 3 == 0 else f"g{n % 5}") for n, clip in enumerate(done.store.clips))
    done = replace(done, store=replace(done.store, clips=clips))
    assert done.groups_of("test") == sorted({clips[i].group for i in done.parts["test"]} - {""})
    assert done.validation == done.parts["valid"]
    whole = done.refitted()
    assert whole.parts["train"] == sorted((*done.parts["train"], *done.parts["valid"]))
    assert (whole.parts["valid"], whole.validation, whole.parts["test"]) == ((), (), done.parts["test"])
    assert whole.split.sentence == f"{done.split.sentence} {REFIT_SENTENCE}"
    everything = decoded(tmp_path / "table.csv", split="none")
    assert everything.validation == ()  # what is trained on chooses nothing
    assert len(everything.parts["valid"]) == 24


def test_a_fingerprint_is_of_sounds_labels_and_groups_alone() -> None:
    def of(*rows: tuple[str, Clip]) -> str:
        return fingerprint(SimpleNamespace(digests=[row[0] for row in rows], clips=[row[1] for row in rows]))  # type: ignore[arg-type]

    one, two = ("x", Clip(Path("a.wav"), "a", "g1")), ("y", Clip(Path("b.wav"), "b", "g2"))
    elsewhere = "x", Clip(Path("/other/c.wav"), "a", "g1", fold="3", tags={"take": "1"})
    assert of(one, two) == of(two, one) == of(two, elsewhere)
    others = [
        ("z", one[1]),
        *(("x", one[1]._replace(**change)) for change in ({"label": "c"}, {"group": "g2"}, {"more_labels": ("g1",)})),
        ("x", Clip(Path("a.wav"), "a", "", more_labels=("g1",))),
    ]
    assert len({of(one, two), of(one), of(one, two, two), *(of(other, two) for other in others)}) == 3 + len(others)


def test_the_steps_of_an_epoch_are_its_batches() -> None:
    cases = ((24, 7), (24, 8), (24, 24), (24, 32), (25, 24), (1, 8))
    assert [batches_per_epoch(clips, batch) for clips, batch in cases] == [4, 3, 1, 1, 2, 1]


def test_that_most_of_long_clips_is_not_scored_is_said() -> None:
    audio = AudioSettings(crop_s=3.0)
    told = unscored(np.array([10.0, 10.0, 2.0]), audio)
    assert told.startswith("\nnote: 3 s of each clip are scored, and half of the clips have 10.0 s of sound or more; ")
    assert told.endswith("--audio.score-crops 4 scores all of that")
    assert unscored(np.array([10.0, 10.0, 2.0]), AudioSettings(crop_s=3.0, score_crops=2)) == ""
    assert unscored(np.array([5.0, 6.0, 60.0]), audio) == ""
