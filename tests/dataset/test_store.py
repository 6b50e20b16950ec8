"""The store on disk: real files, real processes, real damage."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.load import load_waveform
from earsight.audio.settings import AudioSettings
from earsight.dataset import store, store_backend
from earsight.dataset.clip import Clip
from earsight.dataset.loader import training_batches
from earsight.dataset.store import Store, build_store
from earsight.dataset.store_backend import store_key
from earsight.errors import DataError
from earsight.files import folder_bytes, remove_folder
from tests.conftest import tone

SETTINGS = AudioSettings(crop_s=0.4, trim_db=None)


def clips_of(root: Path) -> list[Clip]:
    return [Clip(path, path.parent.name) for path in sorted(root.rglob("*.wav"))]


def build(root: Path, folder: Path | None, settings: AudioSettings = SETTINGS) -> Store:
    return build_store(clips_of(root), settings, folder=folder, threads=2)


def same(one: Store, two: Store) -> bool:
    return one.digests == two.digests and all(
        np.array_equal(one.waveform(i), two.waveform(i)) for i in range(len(one.clips))
    )


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pcm"))


def test_disk_and_memory_and_file_hold_the_same_samples(tones: Path, tmp_path: Path) -> None:
    disk, memory = build(tones, tmp_path / "store"), build(tones, None)
    assert same(disk, memory)
    for i, clip in enumerate(disk.clips):
        assert np.array_equal(disk.waveform(i), load_waveform(clip.path, SETTINGS))
    for (_, one), (_, two) in zip(
        training_batches(disk, range(24), 8, np.random.default_rng(0)),
        training_batches(memory, range(24), 8, np.random.default_rng(0)),
        strict=True,
    ):
        assert np.array_equal(one, two)


@pytest.mark.parametrize(("ahead", "at_once"), [(1, 1), (6, 2), (9, 5)])
def test_clips_stay_in_order_where_there_are_more_than_may_wait(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, at_once: int
) -> None:
    whole = build(tones, None)
    monkeypatch.setattr(store, "_MAX_WAITING", ahead)
    monkeypatch.setattr(store, "_CLIPS_PER_TASK", at_once)
    for folder in (None, tmp_path / "store", tmp_path / "store"):
        assert same(build(tones, folder), whole)


def test_what_is_there_is_not_decoded_again_and_a_changed_file_alone_is(tones: Path, tmp_path: Path) -> None:
    first = build(tones, tmp_path / "store")
    assert first.decoded == 24
    assert build(tones, tmp_path / "store").decoded == 0
    soundfile.write(tones / "low" / "low05.wav", tone(350, 0.7), 16000)
    changed = build(tones, tmp_path / "store")
    assert changed.decoded == 1
    assert same(changed, build(tones, None))


def test_a_moved_data_set_is_found_by_its_content(tones: Path, tmp_path: Path) -> None:
    build(tones, tmp_path / "store")
    shutil.move(tones, tmp_path / "elsewhere")
    moved = build(tmp_path / "elsewhere", tmp_path / "store")
    assert moved.decoded == 0
    assert same(moved, build(tmp_path / "elsewhere", None))


def test_other_settings_have_a_store_of_their_own(tones: Path, tmp_path: Path) -> None:
    build(tones, tmp_path / "store")
    other = build(tones, tmp_path / "store", AudioSettings(rate_hz=8000, crop_s=0.4, trim_db=None))
    assert other.decoded == 24
    longer = AudioSettings(crop_s=0.9, trim_db=None)
    assert store_key(longer) == store_key(SETTINGS)  # the length of the crop changes nothing in the samples
    assert store_key(longer.model_copy(update={"short": "whole", "score_crops": 3})) == store_key(SETTINGS)
    trimmed = AudioSettings(crop_s=0.4)
    assert store_key(trimmed) == store_key(trimmed.model_copy(update={"score_crops": 3}))
    assert store_key(trimmed) != store_key(trimmed.model_copy(update={"short": "whole"}))
    assert len({store_key(s) for s in (SETTINGS, trimmed, trimmed.model_copy(update={"crop_s": 0.9}))}) == 3


def test_spans_of_one_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(440, 3.0) * np.linspace(0, 1, 48000), 16000)
    clips = [Clip(tmp_path / "long.wav", "x", start_s=float(n), end_s=n + 1.0) for n in range(3)]
    for decoded in (3, 0):
        store = build_store(clips, SETTINGS, folder=tmp_path / "store")
        assert store.decoded == decoded
        for i, clip in enumerate(clips):
            assert np.array_equal(
                store.waveform(i), load_waveform(clip.path, SETTINGS, clip.start_s or 0.0, clip.end_s)
            )


def test_several_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(440, 0.5), tone(880, 0.5, gain=0.1)], axis=1), 16000)
    settings = AudioSettings(channels=2, crop_s=0.4, trim_db=None)
    for _ in range(2):
        store = build_store([Clip(tmp_path / "a.wav", "x")], settings, folder=tmp_path / "store")
        assert np.array_equal(store.waveform(0), load_waveform(tmp_path / "a.wav", settings))
        crop = store.crops(np.array([0]), np.array([100]))
        assert np.array_equal(crop[0], store.waveform(0)[:, 100 : 100 + 6400])


def test_shards_are_of_bounded_size(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_backend, "_SHARD_BYTES", 60_000)
    store = build(tones, tmp_path / "store")
    sizes = [path.stat().st_size for path in shards(tmp_path)]
    assert len(sizes) > 5
    assert max(sizes) <= 60_000
    assert same(store, build(tones, None))
    assert build(tones, tmp_path / "store").decoded == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "gone", "empty"])
def test_a_damaged_shard_is_seen_and_its_clips_decoded_again(tones: Path, tmp_path: Path, damage: str) -> None:
    build(tones, tmp_path / "store")
    (shard,) = shards(tmp_path)
    whole = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0xFF
        contents = {
            "cut": whole[: len(whole) // 2],
            "flipped": flipped,
            "foreign": os.urandom(len(whole)),
            "empty": b"",
        }
        time.sleep(0.01)
        shard.write_bytes(contents[damage])
    again = build(tones, tmp_path / "store")
    assert same(again, build(tones, None))
    expected = {"cut": range(11, 14), "flipped": range(1, 2), "foreign": [24], "gone": [24], "empty": [24]}
    assert again.decoded in expected[damage]
    assert build(tones, tmp_path / "store").decoded == 0


def test_a_damaged_index_is_not_believed(tones: Path, tmp_path: Path) -> None:
    build(tones, tmp_path / "store")
    (index,) = (tmp_path / "store").rglob("index-*.jsonl")
    lines = index.read_text().splitlines()
    index.write_text("\n".join([*lines[:10], "{}", "[1]", "null", "\x00", lines[10][: len(lines[10]) // 2]]))
    again = build(tones, tmp_path / "store")
    assert again.decoded == 14
    assert same(again, build(tones, None))


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(60):
        path = tmp_path / "data" / "x" / f"{n:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-1, 1, 16000 * 4), 16000)
    code = (
        "import sys, time; from pathlib import Path; from earsight.dataset import store_backend as m, store\n"
        "from earsight.audio.settings import AudioSettings; from earsight.dataset.clip import Clip\n"
        "m._SYNC_BYTES = 100_000\n"
        "def slow(done, total): print(done, flush=True); time.sleep(0.02)\n"
        "clips = [Clip(p, 'x') for p in sorted(Path(sys.argv[1]).rglob('*.wav'))]\n"
        "store.build_store(clips, AudioSettings(crop_s=0.4, trim_db=None), folder=Path(sys.argv[2]), progress=slow)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data"), str(tmp_path / "store")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 30:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    rest = build(tmp_path / "data", tmp_path / "store")
    assert 25 <= 60 - rest.decoded <= 60
    assert same(rest, build(tmp_path / "data", None))


def test_two_processes_build_one_store(tones: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from earsight.dataset.store import build_store\n"
        "from earsight.audio.settings import AudioSettings; from earsight.dataset.clip import Clip\n"
        "clips = [Clip(p, p.parent.name) for p in sorted(Path(sys.argv[1]).rglob('*.wav'))]\n"
        "print(len(build_store(clips, AudioSettings(crop_s=0.4, trim_db=None), folder=Path(sys.argv[2])).clips))\n"
    )
    command = [sys.executable, "-c", code, str(tones), str(tmp_path / "store")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [child.communicate()[0].strip() for child in both] == ["24", "24"]
    again = build(tones, tmp_path / "store")
    assert again.decoded == 0
    assert same(again, build(tones, None))


def test_a_stopped_build_keeps_what_it_has(tones: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(clips_of(tones), SETTINGS, folder=tmp_path / "store", progress=stop)
    assert build(tones, tmp_path / "store").decoded == 14


def test_no_room_to_write_says_the_ways_out(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"can't keep decoded recordings in .*--no-store"):
        build(tones, tmp_path / "file")


def test_size_and_clearing(tones: Path, tmp_path: Path) -> None:
    store = build(tones, tmp_path / "store")
    assert folder_bytes(tmp_path / "store") >= 2 * int(store.lengths.sum())
    remove_folder(tmp_path / "store")
    assert folder_bytes(tmp_path / "store") == 0
    remove_folder(tmp_path / "store")


def test_a_file_that_changes_while_it_is_decoded_is_not_found_again(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing, real = tones / "low" / "low05.wav", store.decode

    def decode(source: Path, *span: float | None) -> object:
        sound = real(source, *span)
        if source == changing:
            soundfile.write(source, tone(350, 0.7), 16000)
        return sound

    monkeypatch.setattr(store, "decode", decode)
    build(tones, tmp_path / "store")
    monkeypatch.undo()
    again = build(tones, tmp_path / "store")
    assert again.decoded == 1
    assert same(again, build(tones, None))
