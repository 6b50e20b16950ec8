"""Real transforms of audiomentations, from real files."""

import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.errors import MissingExtraError, SettingsError, TrainingError
from earsight.mel.pipeline import Pipeline

RATE_HZ = 16000
CROP = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 8000)).astype(np.float32)

HALF_AND_TURNED = """
[[transforms]]
transform = "Gain"
min_gain_db = -6.0
max_gain_db = -6.0
p = 1.0

[[transforms]]
transform = "OneOf"
transforms = [{ transform = "PolarityInversion", p = 1.0 }]
"""

NOISE = '[[transforms]]\ntransform = "AddGaussianSNR"\nmin_snr_db = 5.0\nmax_snr_db = 40.0\np = 0.5\n'


def read(folder: Path, text: str, name: str = "pipeline.toml") -> Pipeline:
    (folder / name).write_text(text)
    return Pipeline.read(folder / name)


def test_transforms_are_applied_in_their_order_with_their_arguments(tmp_path: Path) -> None:
    before = CROP.copy()
    changed = read(tmp_path, HALF_AND_TURNED).apply(CROP, RATE_HZ, 0)
    assert (changed.dtype, changed.shape) == (np.float32, CROP.shape)
    np.testing.assert_allclose(changed, -CROP * 10 ** (-6 / 20), rtol=1e-6)
    assert np.array_equal(CROP, before)


def test_json_says_the_same(tmp_path: Path) -> None:
    told = [{"transform": "SomeOf", "num_transforms": [1, 2], "transforms": [{"transform": "Reverse", "p": 1.0}] * 2}]
    some = read(tmp_path, json.dumps({"transforms": told}), "pipeline.json")
    # Once or twice, as a tuple has it for audiomentations.
    heard = [some.apply(CROP, RATE_HZ, seed) for seed in range(20)]
    once = [np.array_equal(one, CROP[:, ::-1]) for one in heard]
    twice = [np.array_equal(one, CROP) for one in heard]
    assert all(a != b for a, b in zip(once, twice, strict=True))
    assert 4 <= sum(once) <= 16


def test_a_seed_is_all_that_is_drawn_from_and_the_global_generators_stay(tmp_path: Path) -> None:
    noise = read(tmp_path, NOISE)
    random.seed(7)
    np.random.seed(7)
    expected = random.random(), np.random.random()
    random.seed(7)
    np.random.seed(7)
    first = [noise.apply(CROP, RATE_HZ, seed) for seed in range(40)]
    assert (random.random(), np.random.random()) == expected
    second = [noise.apply(CROP, RATE_HZ, seed) for seed in reversed(range(40))][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    changed = [one for one in first if not np.array_equal(one, CROP)]
    assert 10 <= len(changed) <= 30  # p = 0.5
    assert len({one.tobytes() for one in changed}) == len(changed)


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(# noise\.toml\n.*?)```", page, re.DOTALL)
    heard = [read(tmp_path, example).apply(CROP, RATE_HZ, seed) for seed in range(30)]
    assert all(np.isfinite(one).all() for one in heard)
    assert 15 <= sum(not np.array_equal(one, CROP) for one in heard) <= 27  # 1 − 0.5 · 0.7 of them


def test_several_channels_stay_several(tmp_path: Path) -> None:
    stereo = np.concatenate([CROP, 2 * CROP])
    changed = read(tmp_path, HALF_AND_TURNED).apply(stereo, RATE_HZ, 0)
    np.testing.assert_allclose(changed, -stereo * 10 ** (-6 / 20), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[transforms]", "can't be read"),
        ("", "must hold a list of transforms and nothing else"),
        ("transforms = []", "must hold a list of transforms"),
        ('transforms = ["Gain"]', "must hold a list of transforms"),
        (HALF_AND_TURNED.replace("[[transforms]]", "p = 1\n[[transforms]]", 1), "and nothing else"),
        ('[[transforms]]\ntransform = "Gian"', "no transform 'Gian'; did you mean Gain"),
        ("[[transforms]]\np = 1.0", "no transform None; it has .*AddGaussianSNR"),
        ('[[transforms]]\ntransform = "numpy"', "no transform 'numpy'"),
        ('[[transforms]]\ntransform = "Gain"\nloud = 3', "Gain refuses its arguments {'loud': 3} .*loud"),
        ('[[transforms]]\ntransform = "Gain"\np = 3.0', r"Gain refuses its arguments {'p': 3.0} \(AssertionError\)"),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        read(tmp_path, text)
    assert str(tmp_path / "pipeline.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't read augment.pipeline .*none.toml \(No such file"):
        Pipeline.read(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        Pipeline.read(tmp_path / "binary.toml")


def test_a_transform_that_fails_or_changes_the_length_is_named(tmp_path: Path) -> None:
    faster = '[[transforms]]\ntransform = "TimeStretch"\nmin_rate = 1.25\nmax_rate = 1.25\np = 1.0\n'
    assert read(tmp_path, faster).apply(CROP, RATE_HZ, 0).shape == CROP.shape
    with pytest.raises(TrainingError, match=r"TimeStretch made 6\d\d\d samples of 8000; .*leave_length_unchanged"):
        read(tmp_path, faster + "leave_length_unchanged = false\n").apply(CROP, RATE_HZ, 0)
    soundfile.write(tmp_path / "noise.wav", CROP[0], RATE_HZ)
    mono = f'[[transforms]]\ntransform = "AddBackgroundNoise"\nsounds_path = "{tmp_path}"\np = 1.0\n'
    assert not np.array_equal(read(tmp_path, mono).apply(CROP, RATE_HZ, 0), CROP)
    failed = re.escape("AddBackgroundNoise failed on a crop of 8000 samples (AddBackgroundNoise only supports mono")
    with pytest.raises(TrainingError, match=failed):
        read(tmp_path, mono).apply(np.concatenate([CROP, CROP]), RATE_HZ, 0)


def test_where_audiomentations_is_missing_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'earsight\[audiomentations\]'"):
        read(tmp_path, NOISE)
