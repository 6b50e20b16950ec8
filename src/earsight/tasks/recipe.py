"""Recipe: every setting of a training run, from a TOML file by name or path, with single values replaced."""

import difflib
import importlib.resources
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError

from earsight.audio.settings import AudioSettings
from earsight.errors import SettingsError
from earsight.mel.settings import AugmentSettings, MelSettings
from earsight.network.settings import NetworkSettings, OptimizerSettings
from earsight.settings import Settings


class Recipe(Settings):
    epochs: int = Field(20, ge=1)
    """Times that every training clip is seen."""
    batch_size: int = Field(32, ge=2)
    """Clips in one step."""
    seed: int = Field(0, ge=0)
    """Of the split, the order, the crops, the augmentation and the network's own randomness."""
    audio: AudioSettings = AudioSettings()
    mel: MelSettings = MelSettings()
    augment: AugmentSettings = AugmentSettings()
    network: NetworkSettings = NetworkSettings()
    optimizer: OptimizerSettings = OptimizerSettings()

    @classmethod
    def named(cls, name: str | Path = "default", changes: Mapping[str, Any] | None = None) -> Self:
        """A recipe that comes with earsight, or a TOML file, with ``changes`` (nested as the recipe is) over it.

        A file may hold a part of the settings only: the default recipe fills the rest. Raises SettingsError.
        """
        values = _read(name)
        if Path(name).suffix == ".toml":
            values = _merged(_read("default"), values)
        return cls.checked(_merged(values, changes or {}))

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """``model_validate`` with our own error: each wrong setting, what was got, the nearest known name."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(explain(cls, error)) from error


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with earsight."""
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
        raise SettingsError(f"no recipe file: {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"can't read the recipe {path}: {error}") from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def explain(model: type[BaseModel], error: ValidationError) -> str:
    """All that is wrong, in one line: the setting, what was got, the nearest known name."""
    return "; ".join(_explain(model, dict(one)) for one in error.errors())


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        return f"setting {name}: {message}" + ("" if isinstance(error["input"], dict) else f", got {error['input']!r}")
    near = difflib.get_close_matches(name, setting_names(model), n=1, cutoff=0.5)
    return f"no setting {name!r}" + (f"; did you mean {near[0]}?" if near else "")


def setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a model."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += setting_names(kind, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]  # type: ignore[arg-type]
    return names
