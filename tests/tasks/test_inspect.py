"""What is in a data set, and what is wrong with it: real files, small and large."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.dataset.synth import write_corpus
from earsight.errors import SettingsError
from earsight.plain import plain
from earsight.tasks.inspect import inspect
from earsight.tasks.inspect_page import write_inspection
from earsight.terminal import inspection_lines
from tests.conftest import tone, whole_pictures
from tests.pages import faults, needs_chromium


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """Two classes; one file each that is silent, clipped, short, unreadable, copied, and copied under another label."""
    root = tmp_path / "troubled"
    sounds = {
        "dog/plain.wav": tone(440, 1.0),
        "dog/silent.wav": np.zeros(16000, dtype=np.float32),
        "dog/clipped.wav": np.clip(tone(440, 1.0, gain=4.0), -1, 1),
        "dog/short.wav": tone(500, 0.2),
        "dog/copy.flac": tone(440, 1.0),
        "cat/plain.wav": tone(880, 2.0),
        "cat/wrong.wav": tone(500, 0.2),
    }
    for name, samples in sounds.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, (samples * 32767).astype(np.int16), 16000)
    (root / "cat" / "text.wav").write_text("no sound")
    return root


def test_every_kind_of_trouble_is_found_by_name(troubled: Path) -> None:
    done = inspect(troubled, threads=2)
    values = done.to_dict()

    def named(*names: str) -> list[str]:
        return [str(troubled / name) for name in names]

    assert (values["clips"], values["classes"], values["groups"]) == (8, {"cat": 3, "dog": 5}, {})
    assert values["silent"] == named("dog/silent.wav")
    assert values["clipped"] == named("dog/clipped.wav")
    assert values["short"] == named("cat/wrong.wav", "dog/short.wav")
    assert values["identical"] == [named("cat/wrong.wav", "dog/short.wav"), named("dog/copy.flac", "dog/plain.wav")]
    assert [[one["label"] for one in clips] for clips in values["contradicting"]] == [["cat", "dog"]]
    assert [(failure["path"], failure["reason"][:21]) for failure in values["failures"]] == [
        (str(troubled / "cat/text.wav"), "not readable as sound")
    ]
    assert values["duration_s"]["sum"] == pytest.approx(0.2 + 2 + 1 + 1 + 1 + 0.2 + 1)
    assert values["rates_hz"] == {"16000": 7}
    assert values["peak_dbfs"]["max"] == pytest.approx(0.0, abs=1e-3)
    json.dumps(values, allow_nan=False)
    assert inspect(troubled, short_s=0.1).short == []


def test_a_constant_offset_and_a_dead_microphone_are_found(troubled: Path) -> None:
    sound = tone(300, 1.0, gain=0.1)
    soundfile.write(troubled / "dog" / "sensor.wav", sound + 0.5, 16000)
    soundfile.write(troubled / "dog" / "dead.wav", np.stack([sound, 0 * sound], axis=1), 16000)
    done = inspect(troubled)
    assert [clip.path.name for clip in done.offset] == ["sensor.wav"]
    assert [clip.path.name for clip in done.silent_channels] == ["dead.wav"]
    lines = list(inspection_lines(done, {}))
    assert lines[lines.index("mostly a constant offset: 1 file") + 1] == f"  {troubled / 'dog/sensor.wav'}"
    assert lines[lines.index("with a silent channel: 1 file") + 1] == f"  {troubled / 'dog/dead.wav'}"


def test_text_names_what_was_found(troubled: Path) -> None:
    lines = list(inspection_lines(inspect(troubled), {}))
    assert lines[1] == "8 clips from 8 files (1 of them can't be used) · 2 classes · no groups known"
    assert "silent: 1 file" in lines
    assert f"  {troubled / 'dog/silent.wav'}" in lines
    assert "identical audio with different labels: 1 set" in lines
    assert f"  {troubled / 'cat/wrong.wav'}: cat ≠ {troubled / 'dog/short.wav'}: dog" in lines
    assert "left out: 1 file" in lines


def test_clips_of_one_label_stand_together_where_a_sound_has_two(troubled: Path) -> None:
    for name in ("dog/a.wav", "dog/z.wav", "cat/a.wav"):
        shutil.copy(troubled / "dog/short.wav", troubled / name)
    lines = list(inspection_lines(inspect(troubled), {}))
    cats, dogs = (
        " = ".join(str(troubled / name) for name in names.split())
        for names in ("cat/a.wav cat/wrong.wav", "dog/a.wav dog/short.wav dog/z.wav")
    )
    assert f"  {cats}: cat ≠ {dogs}: dog" in lines


def test_clips_of_the_same_labels_in_another_order_do_not_contradict(troubled: Path) -> None:
    rows = ["dog/plain.wav,a;b", "dog/copy.flac,b;a", "dog/short.wav,a;c", "cat/wrong.wav,a;d", ""]
    (troubled / "table.csv").write_text("\n".join(["path,label", *rows]))
    values = inspect(troubled / "table.csv").to_dict()
    assert [[one["label"] for one in clips] for clips in values["contradicting"]] == [["a;d", "a;c"]]


def test_half_a_recording_is_listed_as_truncated(troubled: Path) -> None:
    path = troubled / "dog" / "plain.wav"
    path.write_bytes(path.read_bytes()[:16044])
    done = inspect(troubled)
    assert done.to_dict()["truncated"] == [
        {"path": str(path), "reason": f"truncated: 0.50 s of 1.00 s are there: {path}; download it again"}
    ]
    lines = list(inspection_lines(done, {}))
    assert lines[lines.index("truncated: 1 file") + 1] == f"  {path}"
    assert "left out: 2 files" in lines


def test_a_clip_too_short_for_training_is_no_clip(troubled: Path) -> None:
    soundfile.write(troubled / "dog" / "click.wav", np.full(159, 0.5), 16000)
    soundfile.write(troubled / "dog" / "longer.wav", np.full(160, 0.5), 16000)
    done = inspect(troubled)
    failed = {failure.path.name: failure.reason for failure in done.failures}
    reason = f"shorter than 0.01 s, training leaves it out: {troubled / 'dog' / 'click.wav'}"
    assert failed["click.wav"] == reason
    assert "longer.wav" not in failed
    assert "longer.wav" in {clip.path.name for clip in done.short}


@pytest.mark.parametrize("short_s", [math.nan, math.inf, -1.0])
def test_no_length_is_refused(troubled: Path, short_s: float) -> None:
    with pytest.raises(SettingsError, match=r"--short-s must be a number of seconds, 0 or more, got (nan|inf|-1)"):
        inspect(troubled, short_s=short_s)


def test_what_a_terminal_cannot_show_is_told_by_its_number() -> None:
    assert plain(os.fsdecode(b"caf\xe9\x1b[31m\n")) == "caf\\xe9\\x1b[31m\\x0a"
    assert plain("\ud800") == "\\xd800"


@whole_pictures()
def test_the_page_is_one_file_with_pictures_and_escapes_names(troubled: Path, tmp_path: Path) -> None:
    (troubled / "dog" / "plain.wav").rename(troubled / "dog" / "<b>plain.wav")
    page = write_inspection(tmp_path / "page.html", inspect(troubled)).read_text()
    assert page.count("data:image/png;base64,") == 3  # durations, loudness, mel images; there are no groups
    assert "Identical recordings with different labels: 1 set." in page
    assert "&lt;b&gt;plain.wav" in page
    assert "<b>plain.wav" not in page
    assert "http://" not in page
    assert "https://" not in page


@needs_chromium
def test_everyone_can_read_the_page(troubled: Path, tmp_path: Path) -> None:
    (troubled / "dog" / "plain.wav").rename(troubled / "dog" / f"{'long' * 50}.wav")
    assert faults(write_inspection(tmp_path / "page.html", inspect(troubled))) == []


def test_one_class_alone_can_be_inspected(troubled: Path) -> None:
    for path in (troubled / "cat").iterdir():
        path.unlink()
    assert inspect(troubled).counts() == {"dog": 5}


@whole_pictures()
def test_groups_and_synthetic_voices(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", speakers=3, takes=1)
    done = inspect(tmp_path / "corpus")
    assert done.to_dict()["groups"] == {"01": 8, "02": 8, "03": 8}
    assert "synthetic: these clips were generated, not recorded" in inspection_lines(done, {})
    page = write_inspection(tmp_path / "page.html", done).read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "Synthetic voices" in page


def test_ravdess_has_1440_clips_and_one_identical_pair(ravdess: Path) -> None:
    values = inspect(ravdess).to_dict()
    assert (values["clips"], len(values["groups"]), len(values["classes"])) == (1440, 24, 8)
    assert [[Path(path).name for path in paths] for paths in values["identical"]] == [
        ["03-01-03-01-02-01-07.flac", "03-01-03-01-02-02-07.flac"]
    ]
    assert (values["contradicting"], values["silent"], values["failures"]) == ([], [], [])
    assert values["duration_s"]["min"] == pytest.approx(2.94, abs=0.01)
    assert values["duration_s"]["max"] == pytest.approx(5.27, abs=0.01)


def test_esc10_has_400_clips_in_ten_classes_and_five_folds(esc10: Path) -> None:
    values = inspect(esc10).to_dict()
    assert (values["clips"], len(values["classes"])) == (400, 10)
    assert values["folds"] == {"1": 80, "2": 80, "3": 80, "4": 80, "5": 80}
    assert values["identical"] == []


def test_the_stereo_files_of_ravdess_are_seen(ravdess_48k_zip: Path) -> None:
    values = inspect(ravdess_48k_zip).to_dict()
    assert values["channels"] == {"1": 58, "2": 2}
    assert values["rates_hz"] == {"22050": 1, "48000": 59}
