"""Recipe: every setting of a training run, from a TOML file by name or path, with single values replaced."""

import difflib
import importlib.resources
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from earsight.audio.settings import AudioSettings
from earsight.errors import SettingsError
from earsight.mel.settings import AugmentSettings, MelSettings
from earsight.network.settings import LossSettings, NetworkSettings, OptimizerSettings, UnknownSettings
from earsight.settings import Settings, validation_message

LARGEST_SEED = 2**32 - 1
_FEWEST_FRAMES, _FEWEST_FOURIER = 8, 4
Task = Literal["auto", "single", "multilabel"]


class Recipe(Settings):
    """All settings of a training. A group of settings is given as an object or a dict: Recipe(epochs=5, mel={"n_mels":
    64}). ``named`` reads a recipe by name or from a file, ``changed`` makes a changed copy; help(type(recipe.mel))
    lists the settings of a group. Raises SettingsError for an unknown name and a value out of range.
    """

    epochs: int = Field(default=20, ge=1, le=100_000)
    """Passes over the training clips."""
    batch_size: int = Field(default=32, ge=2, le=65_536)
    """Clips per batch."""
    accumulate: int = Field(default=1, ge=1, le=65_536)
    """Batches per optimizer step: the effect of a larger batch with the memory of a small one (batch norm sees the
    small one)."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Random seed of the split, the order of the clips, the crops, the augmentation and the network."""
    sampling: Literal["all", "balanced"] = "all"
    """all: every clip once per epoch; balanced: as many clips per epoch, but every class equally often."""
    average_best: int = Field(default=1, ge=1, le=100)
    """Keep the mean of the weights of this many of the best epochs, if it scores no worse than the best one."""
    refit: bool = False
    """Train again from the start, on training and validation clips together, up to the epoch that was kept."""
    task: Task = "auto"
    """single: one label per clip; multilabel: any number of labels; auto: as the data has it."""
    audio: AudioSettings = AudioSettings()
    mel: MelSettings = MelSettings()
    augment: AugmentSettings = AugmentSettings()
    network: NetworkSettings = NetworkSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    loss: LossSettings = LossSettings()
    unknown: UnknownSettings = UnknownSettings()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Check settings against those of other groups."""
        if self.refit and self.average_best > 1:
            raise ValueError(
                f"refit can't be combined with average_best {self.average_best}, which needs validation clips to "
                "choose epochs; set average_best to 1, or refit to false"
            )
        nyquist_hz, top_hz = self.audio.rate_hz / 2, self.mel.f_max_hz
        if top_hz is not None and top_hz > nyquist_hz:
            raise ValueError(
                f"mel.f_max_hz {top_hz:g} is above half the sample rate ({nyquist_hz:g} Hz); lower it, pass none, or "
                "raise audio.rate_hz"
            )
        if self.mel.f_min_hz >= nyquist_hz:
            raise ValueError(f"mel.f_min_hz {self.mel.f_min_hz:g} is not below {nyquist_hz:g} Hz; lower it")
        step_hz = self.audio.rate_hz / self.mel.n_fft
        width_hz = (nyquist_hz if top_hz is None else top_hz) - self.mel.f_min_hz
        if width_hz < _FEWEST_FOURIER * step_hz:
            raise ValueError(
                f"mel.f_min_hz and mel.f_max_hz are {width_hz:g} Hz apart, less than {_FEWEST_FOURIER} Fourier steps "
                f"of {step_hz:g} Hz, so the image would be nearly empty; widen the band, or raise mel.n_fft"
            )
        frames = self.mel.frames(self.audio.crop_samples)
        if frames < _FEWEST_FRAMES:
            raise ValueError(
                f"the image would be only {frames} frames wide: audio.crop_s {self.audio.crop_s:g} with mel.hop_length "
                f"{self.mel.hop_length} at {self.audio.rate_hz} Hz; raise crop_s or lower hop_length"
            )
        return self

    def caution(self) -> str:
        """A warning about settings that are allowed but hardly meant; "" without one."""
        return "; ".join(filter(None, (self._narrow_band(), self._inaudible_gain())))

    def _narrow_band(self) -> str:
        nyquist_hz, top_hz = self.audio.rate_hz / 2, self.mel.f_max_hz
        if top_hz is None or top_hz >= nyquist_hz / 2:
            return ""
        return (
            f"recordings have frequencies up to {nyquist_hz:g} Hz, but the mel bins end at {top_hz:g} Hz: to use the "
            "rest, raise mel.f_max_hz or set it to none"
        )

    def _inaudible_gain(self) -> str:
        """A constant factor of the mel values is one of the image, or, with the logarithm, an offset; PCEN keeps some
        of it. Waveforms that are mixed with each other are louder or quieter beside each other."""
        removed = self.mel.normalise == "image" and self.mel.values in ("linear", "log")
        if not (self.augment.gain_db and removed) or self.augment.wave_mixup_alpha:
            return ""
        return (
            f"augment.gain_db {self.augment.gain_db:g} has no effect, because mel.normalise image removes the loudness "
            "of each image: set mel.normalise to fixed, or augment.gain_db to 0"
        )

    @classmethod
    def named(cls, name: str | Path = "default", changes: Mapping[str, Any] | None = None) -> Self:
        """A recipe that comes with earsight, or a TOML file, with ``changes`` (nested as the recipe is) applied.

        A file may hold a part of the settings only: the default recipe fills the rest. Raises SettingsError.
        """
        values = _read(name)
        if Path(name).suffix == ".toml":
            values = _merged(_read("default"), values)
        return cls.checked(_merged(values, changes or {}))

    def changed(self, **changes: Any) -> Self:
        """This recipe with ``changes``, nested as it is, over it, and checked: recipe.changed(epochs=5, mel={"n_mels":
        64}) changes one setting of mel; a whole group, as in mel=MelSettings(), takes its place. Raises SettingsError.
        """
        return self.checked(_merged(_nested(self), changes))

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """``model_validate`` with our own error: each wrong setting, what was got, the nearest known name."""
        try:
            # strict: values are typed already, by TOML or by the command line
            return cls.model_validate(values, strict=True)
        except ValidationError as error:
            raise SettingsError(validation_message(cls, error)) from error


def recipe_of(recipe: str | Path | Recipe, name: str | None = None) -> tuple[Recipe, str]:
    """The recipe of an argument, and its name. name: None: "custom" for a Recipe. Raises SettingsError."""
    if isinstance(recipe, Recipe):
        return recipe, name or "custom"
    return Recipe.named(recipe), name or str(recipe)


def fill_missing_settings(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe of an older version, with the defaults of settings that it did not have."""
    try:
        return Recipe.model_validate(values).model_dump()
    except ValidationError:  # an incompatible recipe: the caller reports the difference
        return values


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with earsight."""
    folder = importlib.resources.files("earsight.recipes")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def _read(name: str | Path) -> dict[str, Any]:
    if str(name) in recipe_names():
        return tomllib.loads((importlib.resources.files("earsight.recipes") / f"{name}.toml").read_text("utf-8"))
    path = Path(name)
    if path.suffix != ".toml":
        near = difflib.get_close_matches(str(name), recipe_names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SettingsError(f"no recipe {str(name)!r}; {hint}use {', '.join(recipe_names())} or a .toml file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        own = ", ".join(recipe_names())
        raise SettingsError(f"no such recipe file: {path}; name a .toml file, or one of {own}") from error
    except (ValueError, RecursionError, OSError) as error:  # tomllib's own error is a ValueError
        raise SettingsError(f"can't read the recipe {path}: {error}; it must be TOML in UTF-8") from error


def _nested(settings: BaseModel) -> dict[str, Any]:
    """Settings as nested dicts, also with values that ``model_copy`` did not validate."""
    return {name: _nested(one) if isinstance(one, BaseModel) else one for name, one in vars(settings).items()}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
