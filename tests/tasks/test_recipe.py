import pickle
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from earsight.errors import SettingsError
from earsight.mel.image import MelImage
from earsight.mel.settings import MelSettings
from earsight.network.settings import OptimizerSettings
from earsight.settings import setting_names
from earsight.tasks.recipe import Recipe, recipe_names
from earsight.tasks.train import train


def test_the_default_recipe_is_the_default_of_every_setting() -> None:
    assert recipe_names() == ("article", "default", "demo")
    assert Recipe.named("default") == Recipe()


@pytest.mark.parametrize("name", ["article", "default", "demo"])
def test_every_setting_stands_in_the_file(name: str) -> None:
    values = tomllib.loads((files("earsight.recipes") / f"{name}.toml").read_text())
    flat = {
        f"{g}.{k}" if isinstance(v, dict) else g for g, v in values.items() for k in (v if isinstance(v, dict) else [g])
    }
    assert set(setting_names(Recipe)) == flat


def test_the_help_of_a_setting_tells_its_range() -> None:
    told = {name: field.description for name, field in MelSettings.model_fields.items()}
    assert told["n_mels"] == "Number of mel bins, the height of the image. 4 to 1024."
    assert told["hop_length"] == "Samples from one frame to the next. 1 or more."
    assert told["f_max_hz"] == "Upper edge of the highest mel bin; none: half the sample rate. Above 0."
    assert told["fixed_mean"] == "With normalise fixed: the value to subtract."
    assert str(OptimizerSettings.model_fields["ema_decay"].description).endswith("0 or more and below 1.")


def test_the_tutorials_way() -> None:
    recipe = Recipe.named("article")
    assert (recipe.epochs, recipe.batch_size, recipe.audio.rate_hz, recipe.audio.crop_s) == (20, 8, 16000, 2.0)
    assert (recipe.mel.n_mels, recipe.mel.n_fft, recipe.mel.hop_length, recipe.mel.f_max_hz) == (128, 1024, 512, 8000)
    assert (recipe.mel.power, recipe.mel.values, recipe.mel.normalise) == (1, "linear", "none")
    assert (recipe.network.model, recipe.network.in_chans, recipe.network.pretrained) == ("efficientnet_b0", 1, True)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.momentum) == ("sgd", 0.005, 0)


def test_file_fills_up_from_the_default_and_changes_go_over_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 3\n[mel]\nn_mels = 64\n")
    recipe = Recipe.named(path, {"mel": {"hop_length": 200}})
    assert (recipe.epochs, recipe.mel.n_mels, recipe.mel.hop_length, recipe.batch_size) == (3, 64, 200, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mel]\nn_mel = 3\n", r"no setting 'mel\.n_mel'; did you mean mel\.n_mels\?"),
        ("epoch = 3\n", "no setting 'epoch'; did you mean epochs"),
        ("epochs = 0\n", "setting epochs: input should be greater than or equal to 1, got 0"),
        ("[mel]\nscale = 'bark'\n", r"setting mel\.scale: input should be 'slaney' or 'htk', got 'bark'"),
        ("[mel]\nwin_length = 2048\n", "win_length 2048 is longer than n_fft 1024; raise n_fft"),
        ("epochs = nan\n", "setting epochs"),
        (
            "[mel]\nf_max_hz = 40000.0\n",
            r"above half the sample rate \(8000 Hz\); lower it, pass none, or raise audio\.rate_hz",
        ),
        ("[mel]\nf_max_hz = 1.0\n", r"1 Hz apart, less than 4 Fourier steps of 15\.625 Hz, .*widen the band"),
        ("epochs = \n", "can't read the recipe"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        Recipe.named(tmp_path / "r.toml")


def test_none_is_a_word_where_a_setting_takes_it() -> None:
    recipe = Recipe.named("default", {"audio": {"trim_db": "none"}, "network": {"weights": "none", "in_chans": "none"}})
    assert (recipe.audio.trim_db, recipe.network.weights, recipe.network.in_chans) == (None, None, None)
    assert Recipe.named("default", {"mel": {"norm": "none"}}).mel.norm == "none"
    with pytest.raises(SettingsError, match=r"audio\.crop_s.*got 'none'"):
        Recipe.named("default", {"audio": {"crop_s": "none"}})


def test_all_that_is_wrong_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"epochs.*; .*mel\.n_mels"):
        Recipe.named("default", {"epochs": -1, "mel": {"n_mels": 1}})


def test_unknown_recipes() -> None:
    with pytest.raises(SettingsError, match="no recipe 'articel'; did you mean article"):
        Recipe.named("articel")
    with pytest.raises(SettingsError, match="no such recipe file"):
        Recipe.named("absent.toml")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Recipe(epocs=3), "^no setting 'epocs'; did you mean epochs[?]$"),
        (lambda: MelSettings(n_mels=-1), "^setting n_mels: input should be greater than or equal to 4, got -1$"),
        (
            lambda: Recipe(mel={"n_mel": 3}, epochs=0),
            r"^setting epochs: .*, got 0; no setting 'mel\.n_mel'; did you .*$",
        ),
        (lambda: Recipe().changed(mel={"n_mel": 3}), r"^no setting 'mel\.n_mel'; did you mean mel\.n_mels[?]$"),
        (lambda: Recipe().model_copy(update={"epocs": 3}).changed(), "^no setting 'epocs'; did you mean epochs[?]$"),
        (lambda: train("absent", recipe=Recipe().model_copy(update={"epochs": -3})), "^setting epochs: .*, got -3$"),
        (lambda: train("absent", recipe=3), "^recipe must be a Recipe, a dict, a name or a TOML file, got 3$"),
        (lambda: train("absent", split=0.2), "^split must be a text such as 'random:0.2' or 'group:5:0', got 0.2$"),
        (lambda: train(None), "^data must be a place, the name of a known data set, or a DataSet, got None$"),
        (lambda: train("absent", recipe={"mel": {"n_mels": "many"}}), r"^setting mel\.n_mels: a whole number is .*$"),
    ],
)
def test_wrong_settings_from_python_say_so_in_one_line(made: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        made()


def test_a_changed_recipe_has_its_other_settings_still() -> None:
    recipe = Recipe(epochs=3, mel=MelSettings(n_mels=64, hop_length=200))
    changed = recipe.changed(mel={"n_mels": 32}, seed=1)
    assert (changed.epochs, changed.seed, changed.mel.n_mels, changed.mel.hop_length) == (3, 1, 32, 200)
    assert recipe.changed(mel=MelSettings()).mel == MelSettings()
    assert recipe.changed() == recipe == pickle.loads(pickle.dumps(recipe))
    assert "All settings of a training" in str(Recipe.__doc__)


@pytest.mark.parametrize("planes", ["mel", "deltas", "resolutions"])
@pytest.mark.parametrize("values", ["linear", "log", "pcen"])
@pytest.mark.parametrize("normalise", ["image", "fixed", "none"])
def test_a_gain_that_the_image_does_not_show_is_warned_of(values: str, normalise: str, planes: str) -> None:
    mel = {"values": values, "normalise": normalise, "planes": planes}
    recipe = Recipe(mel=mel, augment={"gain_db": 12.0})
    sound = 0.3 * torch.randn(1, 1, 16000, generator=torch.Generator().manual_seed(0))
    image = MelImage(recipe.mel, recipe.audio.rate_hz)
    seen, louder = image(sound), image(sound * 10 ** (12 / 20))
    unchanged = torch.allclose(seen, louder, atol=1e-3)
    assert bool(recipe.caution()) == unchanged == (normalise == "image" and values != "pcen")
    if unchanged:
        assert recipe.caution().startswith("augment.gain_db 12 has no effect, because mel.normalise image removes")
    assert Recipe(mel=mel).caution() == ""
    assert recipe.changed(augment={"wave_mixup_alpha": 0.3}).caution() == ""


def test_all_cautions_stand_in_one_line() -> None:
    both = Recipe(mel={"f_max_hz": 2000.0}, augment={"gain_db": 6.0}).caution()
    assert "the mel bins end at 2000 Hz" in both
    assert "; augment.gain_db 6 has no effect" in both
