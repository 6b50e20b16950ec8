"""What a sweep may vary: read, checked against the recipe, and refused in one line."""

import tomllib
from pathlib import Path

import pytest

from earsight.errors import SettingsError
from earsight.tasks.recipe import Recipe
from earsight.tasks.sweeping.space import Choice, Range, WholeRange, check_corners, read_space, to_space, with_values

WHOLE = """
"optimizer.lr" = {low = 1e-4, high = 3e-3, log = true}
"augment.mixup_alpha" = [0.0, 0.2, 0.4]
[mel]
n_mels = {low = 64, high = 160, step = 16}
"""


def test_a_file_is_read_sorted_by_name_dotted_or_in_tables(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(WHOLE)
    space = read_space(tmp_path / "space.toml")
    assert list(space) == ["augment.mixup_alpha", "mel.n_mels", "optimizer.lr"]
    assert list(space.values()) == [
        Choice((0.0, 0.2, 0.4)),
        WholeRange(low=64, high=160, step=16),
        Range(low=1e-4, high=3e-3, log=True),
    ]


def test_every_choice_and_both_ends_of_every_range_become_recipes() -> None:
    recipes = check_corners(Recipe.named(), to_space(tomllib.loads(WHOLE)))
    found = {(one.augment.mixup_alpha, one.mel.n_mels, one.optimizer.lr) for one in recipes}
    assert found == {(alpha, mels, lr) for alpha in (0.0, 0.2, 0.4) for mels in (64, 160) for lr in (1e-4, 3e-3)}


def test_only_the_settings_of_the_space_are_changed() -> None:
    recipe = with_values(Recipe.named(), {"mel.n_mels": 64, "audio.trim_db": "none"})
    expected = Recipe.named("default", {"mel": {"n_mels": 64}, "audio": {"trim_db": None}})
    assert recipe == expected


def test_settings_that_belong_together_are_checked_together() -> None:
    """The recipe's own window of 1024 fits neither transform; the space's do."""
    both = to_space({"mel.n_fft": [256, 512], "mel.win_length": [128, 256]})
    assert len(check_corners(Recipe.named(), both)) == 4
    with pytest.raises(SettingsError, match=r"\(mel.n_fft 256.*win_length 512 is longer than n_fft 256; raise n_fft"):
        check_corners(Recipe.named(), to_space({"mel.n_fft": [512, 256], "mel.win_length": [128, 512]}))


def test_of_a_large_space_every_pair_of_settings_is_checked() -> None:
    many = {"batch_size": list(range(2, 82)), "epochs": list(range(1, 80)), "audio.crop_s": [1.0, 2.0]}
    assert len(check_corners(Recipe.named(), to_space(many))) == 80 * 79 + 80 * 2 + 79 * 2
    wrong = {**many, "mel.n_fft": [2048, 512], "mel.win_length": [256, 1024]}
    with pytest.raises(SettingsError, match="win_length 1024 is longer than n_fft 512"):
        check_corners(Recipe.named(), to_space(wrong))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the space is empty"),
        ("lr = [1.0]", "'lr', but there is no such setting; did you mean optimizer.lr?"),
        ("'mel.nmels' = [1]", "'mel.nmels', but there is no such setting; did you mean mel.n_mels?"),
        ("mel = 3", "'mel', a group of settings; name one of them, such as mel.n_mels"),
        ("seed = [1, 2]", "seed can't be searched: its values would only differ by chance"),
        ("task = ['single', 'multilabel']", "task can't be searched: the scores of two tasks can't be compared"),
        ("'mel.n_mels' = [64]\n[mel]\nn_mels = [32]", "the space has mel.n_mels twice"),
        ("epochs = 3", "epochs: a list of choices or {low = …, high = …} is expected, got 3"),
        ("epochs = []", "epochs: the list of choices is empty"),
        ("epochs = [1, 2, 1]", "epochs: 1 is there twice"),
        ("epochs = [[1]]", "epochs: a choice is one value, got [1]"),
        ("epochs = {low = 1}", "epochs: setting high: field required"),
        ("epochs = {low = 1, high = 2, steps = 1}", "no setting 'steps'; did you mean step?"),
        ("epochs = {low = 1, high = 2.5}", "setting high: a whole number is expected, got 2.5"),
        ("epochs = {low = 9, high = 9}", "low 9 is not below high 9"),
        ("epochs = {low = 4, high = 9, step = 2}", "steps of 2 from 4 don't meet high 9; use 8"),
        ("epochs = {low = 4, high = 9, step = 6}", "step must be above 0 and at most high - low, got 6"),
        ("epochs = {low = 4, high = 8, step = 2, log = true}", "a range has a step or log, not both"),
        ("'optimizer.lr' = {low = 0.0, high = 1.0, log = true}", "with log, low must be above 0, got 0"),
        ("'network.model' = {low = 1, high = 2}", "network.model: this setting has no range; give a list"),
        ("'mel.power' = {low = 1, high = 2}", "mel.power: this setting has no range; give a list"),
        ("epochs = [1", "can't read the space"),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_space(tmp_path / "space.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) or "can't read" in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network.drop_rate": {"low": 0, "high": 1}}, r"\(network.drop_rate 1.0\): .* should be less than 1"),
        (
            {"mel.hop_length": {"low": 100, "high": 9000}},
            r"\(mel.hop_length 9000\): the image would be only 6 frames wide",
        ),
        ({"audio.peak_normalise": ["yes"]}, "true or false is expected, got 'yes'"),
        ({"optimizer.name": ["adamw", "adam"]}, r"\(optimizer.name adam\): .*'sgd' or 'adamw'"),
    ],
)
def test_a_corner_that_is_no_recipe_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_corners(Recipe.named(), to_space(values))
