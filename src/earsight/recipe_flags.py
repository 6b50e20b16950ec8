"""What the commands that train have in common: flags of the recipe and of the machine."""

from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from pydantic import BaseModel

from earsight.errors import SettingsError
from earsight.tasks.recipe import Recipe

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Leaks = Literal["refuse", "drop", "allow"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
RECIPE_GROUP = cyclopts.Group("Recipe settings (each replaces one value of the recipe)", sort_key=9)
RecipeFlags = Annotated[Recipe | None, Parameter(name="*", group=RECIPE_GROUP)]


def chosen_recipe(
    recipe: str,
    settings: Recipe | None,
    *,
    model: str | None,
    weights: Path | None,
    pretrained: bool | None,
    in_chans: int | None,
) -> Recipe:
    """recipe: a name or a TOML file. settings: those values that were given as flags. The others are short for values
    of the network. Raises SettingsError."""
    changes = given_values(settings, model=model, weights=weights, pretrained=pretrained, in_chans=in_chans)
    return Recipe.named(recipe, changes)


def given_values(
    settings: Recipe | None,
    *,
    model: str | None,
    weights: Path | None,
    pretrained: bool | None,
    in_chans: int | None,
) -> dict[str, Any]:
    """Those values of the recipe that were given as flags, nested. Raises SettingsError where one was given twice, and
    otherwise."""
    changes = _set_values(settings)
    shorts = {
        "model": model,
        "weights": None if weights is None else str(weights),
        "pretrained": pretrained,
        "in_chans": in_chans,
    }
    given = {name: value for name, value in shorts.items() if value is not None}
    network = changes.get("network", {})
    for name in given.keys() & network.keys():
        if given[name] != network[name]:
            flag = name.replace("_", "-")
            raise SettingsError(
                f"--{flag} is short for --network.{flag}, and they say {given[name]} and {network[name]}; give one"
            )
    if given:
        changes["network"] = {**network, **given}
    return changes


def _set_values(model: BaseModel | None) -> dict[str, Any]:
    """Only what was given on the command line, nested."""
    if model is None:
        return {}
    values: dict[str, Any] = {}
    for name in model.model_fields_set:
        value = getattr(model, name)
        values[name] = _set_values(value) if isinstance(value, BaseModel) else value
    return values
