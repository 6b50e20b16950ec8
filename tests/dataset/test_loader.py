import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from earsight.audio.load import fixed_crops, load_waveform, middle_crop
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip
from earsight.dataset.loader import (
    fixed_batches,
    label_matrix,
    prefetch,
    random_starts,
    training_batches,
    training_order,
)
from earsight.dataset.store import Store, build_store
from earsight.errors import DecodeError
from tests.conftest import tone

SETTINGS = AudioSettings(crop_s=0.4, trim_db=None)


@pytest.fixture
def store(tones: Path) -> Store:
    clips = [Clip(path, path.parent.name) for path in sorted(tones.rglob("*.wav"))]
    return build_store(clips, SETTINGS, threads=2)


def test_bad_files_are_named_and_the_good_ones_kept(tones: Path) -> None:
    (tones / "low" / "bad.wav").write_text("no sound")
    soundfile.write(tones / "low" / "blip.wav", tone(440, 0.005), 16000)
    soundfile.write(tones / "low" / "silent.wav", np.zeros(8000), 16000)
    clips = [Clip(path, path.parent.name) for path in sorted(tones.rglob("*.wav"))]
    seen: list[tuple[int, int]] = []
    built = build_store(clips, SETTINGS, threads=2, progress=lambda done, total: seen.append((done, total)))
    assert len(built.clips) == len(built.lengths) == 25
    assert [failure.path.name for failure in built.failures] == ["bad.wav", "blip.wav"]
    assert "shorter than 0.01 s" in built.failures[1].reason
    assert built.silent == 1
    assert seen == [(n, 27) for n in range(1, 28)]
    with pytest.raises(DecodeError, match=r"bad\.wav"):
        build_store(clips, SETTINGS, threads=2, strict=True)


def test_every_clip_once_in_batches_of_even_size(store: Store) -> None:
    batches = list(training_batches(store, range(24), 7, np.random.default_rng(0)))
    assert sorted(index for indices, _ in batches for index in indices) == list(range(24))
    assert [len(indices) for indices, _ in batches] == [6, 6, 6, 6]
    whole = training_order(store, range(7), 7, np.random.default_rng(0))
    assert [len(indices) for indices in whole] == [7]  # no more batches than are needed
    assert all(crops.shape == (6, 1, 6400) and crops.dtype == np.float32 for _, crops in batches)


def test_crops_are_pieces_of_their_clip_or_padded(store: Store) -> None:
    for indices, crops in training_batches(store, range(24), 8, np.random.default_rng(1)):
        for index, crop in zip(indices, crops, strict=True):
            clip = store.waveform(index)[0]
            if len(clip) >= 6400:
                assert any(np.array_equal(crop[0], clip[s : s + 6400]) for s in range(len(clip) - 6399))
            else:
                left = (6400 - len(clip)) // 2
                assert np.array_equal(crop[0, left : left + len(clip)], clip)
                assert not crop[0, :left].any()


def test_an_array_that_is_filled_keeps_nothing_of_what_it_held(store: Store) -> None:
    indices = np.array([0, 5, 23, 7])
    starts, sizes = np.array([-900, 0, 5000, 900_000]), np.array([6400, 5000, 7000, 6000])
    held = np.full((4, 1, 7000), 9.0, dtype=np.float32)
    assert store.crops(indices, starts, sizes, out=held) is held
    assert np.abs(held).max() <= 1
    for row, index, start, size in zip(held, indices, starts, sizes, strict=True):
        clip = store.waveform(index)
        at = np.arange(7000) + start - max(0, size - clip.shape[1]) // 2
        inside = (at >= 0) & (at < clip.shape[1]) & (np.arange(7000) < size)
        assert np.array_equal(row[:, inside], clip[:, at[inside]])
        assert not row[:, ~inside].any()
    assert held[0, 0, 900:].any()
    assert not held[0, 0, :900].any()
    assert not held[3].any()


def test_balanced_sampling_weighs_clips_of_several_labels_and_of_none() -> None:
    """The chance that each clip is drawn with: of its labels the mean of one over how many clips have it."""
    has: list[tuple[str, ...]] = [("a",), ("a",), ("a", "b"), ("b", "c", "a"), ()]
    clips = [Clip(Path(f"{n}.wav"), *of[:1] or ("",), more_labels=of[1:]) for n, of in enumerate(has)]
    assert label_matrix(clips, ("c", "a")).tolist() == [[False, True]] * 3 + [[True, True], [False, False]]
    seen = []

    class Rng:
        def choice(self, chosen: np.ndarray, size: int, p: np.ndarray) -> np.ndarray:
            seen.append((size, p))
            return chosen

    unused = Clip(Path("x.wav"), "d")
    store = SimpleNamespace(clips=[unused, *clips])
    batches = list(training_order(store, range(1, 6), 2, Rng(), balanced=True))  # type: ignore[arg-type]
    assert [batch.tolist() for batch in batches] == [[1, 2], [3, 4], [5]]
    ((size, p),) = seen
    expected = np.array([1 / 4, 1 / 4, (1 / 4 + 1 / 2) / 2, (1 / 2 + 1 + 1 / 4) / 3, 3 / 5])
    assert size == 5
    assert p == pytest.approx(expected / expected.sum())


def test_random_crops_reach_both_ends_of_a_clip_and_a_shift_both_sides() -> None:
    store, which = SimpleNamespace(lengths=np.array([6402, 100])), np.repeat([0, 1], 400)
    starts = random_starts(store, which, np.random.default_rng(0), 6400)  # type: ignore[arg-type]
    assert (set(starts[:400]), set(starts[400:])) == ({0, 1, 2}, {0})
    sizes = np.repeat([6402, 6400], 400)
    moved = random_starts(store, which, np.random.default_rng(0), sizes, 2)  # type: ignore[arg-type]
    assert set(moved[:400]) == set(moved[400:]) == {-2, -1, 0, 1, 2}


def test_a_seed_repeats_and_another_differs(store: Store) -> None:
    def draw(seed: int) -> np.ndarray:
        return np.concatenate([c for _, c in training_batches(store, range(24), 8, np.random.default_rng(seed))])

    assert np.array_equal(draw(5), draw(5))
    assert not np.array_equal(draw(5), draw(6))


def test_scored_crops_are_those_of_prediction(store: Store) -> None:
    indices, crops = next(fixed_batches(store, [3, 1, 20], 8))
    assert indices.tolist() == [3, 1, 20]
    for index, crop in zip(indices, crops, strict=True):
        assert np.array_equal(crop, fixed_crops(load_waveform(store.clips[index].path, SETTINGS), SETTINGS)[0])


def test_ahead_makes_the_same_items_while_the_caller_is_busy() -> None:
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(7):
            if number == 2:
                third.set()
            yield number

    made = prefetch(items(), count=2)
    assert next(made) == 0
    assert third.wait(10)  # it was begun although nobody asked for the second yet
    assert list(made) == [1, 2, 3, 4, 5, 6]
    assert list(prefetch(iter(()))) == []


def test_ahead_hands_on_errors_and_may_be_left() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise DecodeError("torn")

    made = prefetch(items())
    assert next(made) == 0
    with pytest.raises(DecodeError, match="torn"):
        next(made)
    left = prefetch(iter(range(1_000_000)))
    assert next(left) == 0
    left.close()


def test_several_scored_crops_reach_from_end_to_end(tones: Path) -> None:
    settings = AudioSettings(crop_s=0.25, score_crops=3)
    clips = [Clip(path, "x") for path in sorted(tones.rglob("*.wav"))[:3]]
    store = build_store(clips, settings)
    _, crops = next(fixed_batches(store, [2, 0], 8))
    assert crops.shape == (6, 1, 4000)
    for place, index in enumerate([2, 0]):
        whole = store.waveform(index)
        ours = crops[3 * place : 3 * place + 3]
        assert np.array_equal(ours, fixed_crops(whole, settings))
        assert np.array_equal(ours[0], whole[:, :4000])
        assert np.array_equal(ours[1], middle_crop(whole, settings))
        assert np.array_equal(ours[2], whole[:, -4000:])
