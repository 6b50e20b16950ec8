"""Real transforms of audiomentations, from real files."""

import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.settings import AudioSettings
from earsight.errors import MissingExtraError, SettingsError, TrainingError
from earsight.mel import pipeline as module
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


def read(folder: Path, text: str, name: str = "pipeline.toml", channels: int = 1) -> Pipeline:
    (folder / name).write_text(text)
    pipeline = Pipeline.read(folder / name)
    pipeline.check(AudioSettings(crop_s=0.5, channels=channels))
    return pipeline


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


GAIN = '[[transforms]]\ntransform = "Gain"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[transforms]", "can't be read"),
        ("", "must hold a list of transforms and nothing else"),
        ("transforms = []", r"transforms must be a list of tables, got \[\]"),
        ('transforms = ["Gain"]', r"transforms must be a list of tables, got \['Gain'\]"),
        (HALF_AND_TURNED.replace("[[transforms]]", "p = 1\n[[transforms]]", 1), "and nothing else"),
        ('[[transforms]]\ntransform = "Gian"', "no transform 'Gian'; did you mean Gain"),
        ("[[transforms]]\np = 1.0", "a table has no name, such as transform = .*{'p': 1.0}"),
        ('[[transforms]]\ntransform = "numpy"', "no transform 'numpy'"),
        ('[[transforms]]\ntransform = "Lambda"', "no transform 'Lambda'"),
        (GAIN + "loud = 3", "Gain has no argument 'loud'; it takes min_gain_db, max_gain_db, p"),
        (GAIN + "p = 3.0", "p of Gain must lie between 0 and 1, got 3.0"),
        (GAIN + "p = true", "p of Gain must lie between 0 and 1, got True"),
        (GAIN + "min_gain_db = 2020-01-01", "date is not JSON serializable"),
        (GAIN + "min_gain_db = nan", "Out of range float"),
        (GAIN + "min_gain_db = 9.0\nmax_gain_db = 1.0", r"Gain refuses {.*9.0.*} \(min_gain_db cannot be greater"),
        (GAIN + "min_gain_db = 800.0\nmax_gain_db = 800.0\np = 0.01", "Gain made NaN or infinite samples"),
        (
            '[[transforms]]\ntransform = "AddBackgroundNoise"\nsounds_path = "/none"',
            "refuses .*AssertionError: assert len",
        ),
        ('[[transforms]]\ntransform = "OneOf"\ntransforms = ["Gain"]', "must be a list of tables, got"),
        ('[[transforms]]\ntransform = "Compose"\ntransforms = []', "must be a list of tables, got"),
        ('[[transforms]]\ntransform = "Compose"\np = 2\ntransforms = [{transform = "Reverse"}]', "p of Compose must"),
        (
            '[[transforms]]\ntransform = "SomeOf"\nnum_transforms = 5\ntransforms = [{transform = "Reverse"}]',
            r"SomeOf failed on a crop of 8000 samples \(Sample larger",
        ),
        (
            '[[transforms]]\ntransform = "Compose"\np = 0.01\ntransforms = [{transform = "AdjustDuration", '
            "duration_samples = 10}]",
            "AdjustDuration made 10 samples of 8000",
        ),
        (
            '[[transforms]]\ntransform = "Compose"\ntransforms = [{transform = "AdjustDuration", p = 1.0, '
            "duration_samples = 10}]",
            "AdjustDuration made 10 samples of 8000",
        ),
        ("transforms = " + "[" * 5000, "recursion"),
        (
            '[[transforms]]\ntransform = "AddShortNoises"\nsounds_path = "."\n'
            'noise_transform = [{transform = "Reverse"}]',
            "noise_transform must be one table, such as .*, got",
        ),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        read(tmp_path, text)
    assert str(tmp_path / "pipeline.toml") in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    text = '{"transform": "Reverse"}'
    for _ in range(400):
        text = f'{{"transform": "Compose", "transforms": [{text}]}}'
    with pytest.raises(SettingsError, match=r"deep|recursion"):
        read(tmp_path, f'{{"transforms": [{text}]}}', "pipeline.json")


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't read augment.pipeline .*none.toml \(No such file"):
        Pipeline.read(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"augment\.pipeline is empty"):
        Pipeline.read("")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="'utf-8' codec can't decode"):
        Pipeline.read(tmp_path / "binary.toml")
    (tmp_path / "marked.toml").write_text("\ufeff" + HALF_AND_TURNED, encoding="utf-8")
    assert len(Pipeline.read(tmp_path / "marked.toml").transforms) == 2


def test_a_transform_that_changes_the_length_or_takes_no_stereo_is_named_at_once(tmp_path: Path) -> None:
    faster = '[[transforms]]\ntransform = "TimeStretch"\nmin_rate = 1.25\nmax_rate = 1.25\np = 0.01\n'
    assert read(tmp_path, faster).apply(CROP, RATE_HZ, 0).shape == CROP.shape
    with pytest.raises(SettingsError, match=r"TimeStretch made 6\d\d\d samples of 8000; .*leave_length_unchanged"):
        read(tmp_path, faster + "leave_length_unchanged = false\n")
    soundfile.write(tmp_path / "noise.wav", CROP[0], RATE_HZ)
    mono = f'[[transforms]]\ntransform = "AddBackgroundNoise"\nsounds_path = "{tmp_path}"\np = 1.0\n'
    noisy = read(tmp_path, mono)
    assert not np.array_equal(noisy.apply(CROP, RATE_HZ, 0), CROP)
    failed = re.escape("AddBackgroundNoise failed on a crop of 8000 samples (AddBackgroundNoise only supports mono")
    with pytest.raises(SettingsError, match=failed):
        read(tmp_path, mono, channels=2)
    with pytest.raises(TrainingError, match=failed):  # what only a training meets
        noisy.apply(np.concatenate([CROP, CROP]), RATE_HZ, 0)


def test_where_audiomentations_is_missing_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'earsight\[audiomentations\]'"):
        read(tmp_path, NOISE)


def test_transforms_are_told_the_rate_and_shape_that_the_network_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def double(sound: np.ndarray, rate_hz: int) -> np.ndarray:
        told.append((sound.shape, rate_hz))
        return 2 * sound.astype(np.float64)

    made = Pipeline(Path("x"), [], (double,)).apply(CROP, 44100, 0)
    assert made.dtype == np.float32
    assert np.array_equal(made, 2 * CROP)
    monkeypatch.setattr(module, "_build", lambda _: double)
    Pipeline(Path("x"), [{}], ()).check(AudioSettings(crop_s=0.25, rate_hz=8000, channels=2))
    assert told == [((8000,), 44100), *[((2, 2000), 8000)] * 3]


def test_a_file_of_json_is_told_by_its_ending_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "PIPELINE.JSON").write_text('{"transforms": [{"transform": "Reverse"}]}')
    assert len(Pipeline.read(tmp_path / "PIPELINE.JSON").transforms) == 1
    with pytest.raises(SettingsError, match=r"augment\.pipeline is empty"):
        Pipeline.read(" ")


def test_an_error_of_several_lines_is_told_in_one() -> None:
    def fail(*_: object) -> None:
        raise ValueError("first\nsecond")

    with pytest.raises(TrainingError, match=r"function failed on a crop of 8000 samples \(first\)$"):
        Pipeline(Path("x"), [], (fail,)).apply(CROP, RATE_HZ, 0)
