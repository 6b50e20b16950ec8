"""Flags that all training commands share: of recipe, data and machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from pydantic import BaseModel

from earsight.errors import SettingsError
from earsight.flags import DataFlags, Switch, WholeNumber
from earsight.tasks.machine.devices import Accelerator, Machine, Precision
from earsight.tasks.recipe import Recipe

Leaks = Literal["refuse", "drop", "allow"]
RECIPE_GROUP = cyclopts.Group("Recipe settings (each replaces one value of the recipe)", sort_key=9)
Settings = Annotated[Recipe | None, Parameter(name="*", group=RECIPE_GROUP)]
"""All settings of a recipe as flags; None where none was given."""


@Parameter(name="*")
@dataclass(frozen=True)
class RecipeFlags:
    recipe: Annotated[str, Parameter(alias="-r")] = "default"
    """A recipe that comes with earsight (default, article or demo), or a TOML file."""
    model: Annotated[str | None, Parameter(alias="-m")] = None
    """Any timm network; short for --network.model."""
    weights: Path | None = None
    """A safetensors or pth file with timm's parameter names; short for --network.weights."""
    pretrained: bool | None = None
    """Whether to start from ImageNet weights; short for --network.pretrained."""
    in_chans: WholeNumber | None = None
    """Number of image channels; short for --network.in-chans."""

    def chosen(self, settings: Recipe | None) -> Recipe:
        """The recipe by all flags. settings: those given by their full names. Raises SettingsError."""
        return Recipe.named(self.recipe, self.given(settings))

    def given(self, settings: Recipe | None) -> dict[str, Any]:
        """All settings that were given as flags, nested. Raises SettingsError where one was given twice with different
        values."""
        changes = _set_values(settings)
        shorts = {
            "model": self.model,
            "weights": None if self.weights is None else str(self.weights),
            "pretrained": self.pretrained,
            "in_chans": self.in_chans,
        }
        given = {name: value for name, value in shorts.items() if value is not None}
        network = changes.get("network", {})
        for name in given.keys() & network.keys():
            if given[name] != network[name]:
                flag = name.replace("_", "-")
                raise SettingsError(
                    f"--{flag} is short for --network.{flag}, but they have different values, {given[name]} and "
                    f"{network[name]}; pass only one of them"
                )
        if given:
            changes["network"] = {**network, **given}
        return changes


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingDataFlags(DataFlags):
    leaks: Leaks = "refuse"
    """What to do if two parts of the split share a speaker, a recording or a copied file. refuse: stop before training.
    drop: leave out the training or validation clips concerned, or test clips that the run of --weights heard. allow:
    train anyway, and say so beside every score."""
    strict: Switch = False
    """Stop at the first bad file, instead of leaving it out with a note."""
    store: bool = True
    """Keep decoded recordings in the cache for later trainings; --no-store keeps them in memory, for this one only."""


@Parameter(name="*")
@dataclass(frozen=True)
class MachineFlags:
    accelerator: Accelerator = "auto"
    """Device to train on."""
    precision: Precision = "32-true"
    """Floating-point precision of training."""
    compile_: Annotated[bool, Parameter(name="--compile", negative="")] = False
    """Compile the network with torch.compile first, which takes about a minute per training."""
    threads: WholeNumber | None = None
    """Number of CPU threads per training. Default: as many as there are idle cores."""

    def machine(self, devices: int = 1, nodes: int = 1) -> Machine:
        return Machine(self.accelerator, devices, nodes, self.precision, self.threads, self.compile_)


def _set_values(model: BaseModel | None) -> dict[str, Any]:
    """Settings that were given on the command line, nested."""
    if model is None:
        return {}
    values: dict[str, Any] = {}
    for name in model.model_fields_set:
        value = getattr(model, name)
        values[name] = _set_values(value) if isinstance(value, BaseModel) else value
    return values
