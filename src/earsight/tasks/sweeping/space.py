"""The search space of a sweep: TOML → ranges and choices of settings, checked."""

import difflib
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, model_validator

from earsight.errors import SettingsError
from earsight.settings import Settings, setting_names, validation_message
from earsight.tasks.recipe import Recipe

_MOST_CORNERS = 10_000  # checked in under a second
_UNSEARCHED = {
    "seed": "its values would only differ by chance, and in the split; pass --seed",
    "task": "the scores of two tasks can't be compared; pass --task",
    "average_best": "trials are scored before weights are averaged; pass --average-best",
    "refit": "a refit uses the validation clips that trials are scored on; pass --refit when you train the best recipe",
}


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    @property
    def corners(self) -> tuple[Any, ...]:
        return self.values

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


class Range(Settings):
    """All values from low to high, both included."""

    low: float
    high: float
    step: float | None = None
    """Only low, low + step … high."""
    log: bool = False
    """Drawn evenly in the logarithm."""

    @model_validator(mode="after")
    def _check(self) -> "Range":
        low, high, step = self.low, self.high, self.step
        if not low < high:
            raise ValueError(f"low {low:g} is not below high {high:g}")
        if self.log and low <= 0:
            raise ValueError(f"with log, low must be above 0, got {low:g}")
        if step is None:
            return self
        if self.log:
            raise ValueError("a range has a step or log, not both")
        if not 0 < step <= high - low:
            raise ValueError(f"step must be above 0 and at most high - low, got {step:g}")
        steps = (high - low) / step
        if not math.isclose(steps, round(steps), rel_tol=1e-9):
            last = low + math.floor(steps) * step
            raise ValueError(f"steps of {step:g} from {low:g} don't meet high {high:g}; use {last:g}")
        return self

    @property
    def corners(self) -> tuple[Any, ...]:
        return self.low, self.high

    def __str__(self) -> str:
        step = "" if self.step is None else f", steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}{step}{', log' if self.log else ''}"


class WholeRange(Range):
    """All integers from low to high, both included."""

    low: int
    high: int
    step: int | None = None


Space = Mapping[str, Choice | Range]
"""Dotted name of a setting → its values, sorted by name, so that the order in the file does not matter."""


def read_space(file: Path) -> Space:
    """Read a TOML file. Raises SettingsError, also for an unknown setting and an invalid range or choice."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"no space file: {file}; give a TOML file (docs/sweep.md)") from error
    except OSError as error:
        raise SettingsError(f"can't read the space {file} ({error.strerror}); give a TOML file") from error
    except (ValueError, RecursionError) as error:  # tomllib's own error is a ValueError
        raise SettingsError(f"can't read the space {file}: {error}; it must be TOML in UTF-8") from error
    return to_space(values)


def to_space(values: Mapping[str, Any]) -> Space:
    """values: as in a space file, with dotted or nested names. Raises SettingsError."""
    space: dict[str, Choice | Range] = {}
    for name, value in _settings_of(values, ""):
        if name in space:
            raise SettingsError(f"the space has {name} twice; keep one")
        space[name] = _dimension(name, value)
    if not space:
        raise SettingsError('the space is empty; give settings such as "optimizer.lr" = {low = 1e-4, high = 3e-3}')
    return dict(sorted(space.items()))


def _settings_of(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    names = setting_names(Recipe)
    for key, value in values.items():
        name = prefix + key
        if name in _UNSEARCHED:
            raise SettingsError(f"{name} can't be searched: {_UNSEARCHED[name]}")
        if name in names:
            yield name, value
        elif isinstance(value, Mapping) and any(one.startswith(f"{name}.") for one in names):
            yield from _settings_of(value, f"{name}.")
        elif inner := [one for one in names if one.startswith(f"{name}.")]:
            raise SettingsError(f"the space has {name!r}, a group of settings; name one of them, such as {inner[0]}")
        else:
            raise SettingsError(f"the space has {name!r}, but there is no such setting{_hint(name, names)}")


def _hint(name: str, names: Sequence[str]) -> str:
    ends = [one for one in names if one.rpartition(".")[2] == name.rpartition(".")[2]]
    near = ends or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else " (earsight train --help lists them)"


def _dimension(name: str, value: Any) -> Choice | Range:
    kinds = _kinds(name)
    if isinstance(value, list):
        return _choice(name, value)
    if not isinstance(value, Mapping):
        raise SettingsError(f"space {name}: a list of choices or {{low = …, high = …}} is expected, got {value!r}")
    if int not in kinds and float not in kinds:
        raise SettingsError(f"space {name}: this setting has no range; give a list of choices")
    try:
        return (Range if float in kinds else WholeRange).model_validate(value, strict=True)
    except ValidationError as error:
        raise SettingsError(f"space {name}: {validation_message(Range, error)}") from error


def _choice(name: str, values: list[Any]) -> Choice:
    if not values:
        raise SettingsError(f"space {name}: the list of choices is empty")
    for number, value in enumerate(values):
        if isinstance(value, list | Mapping):
            raise SettingsError(f"space {name}: a choice is one value, got {value!r}")
        if value in values[:number]:
            raise SettingsError(f"space {name}: {value!r} is there twice")
    return Choice(tuple(values))


def _kinds(name: str) -> tuple[Any, ...]:
    """The types of a setting."""
    model: type[BaseModel] = Recipe
    *groups, last = name.split(".")
    for group in groups:
        model = model.model_fields[group].annotation  # type: ignore[assignment]
    kind = model.model_fields[last].annotation
    return get_args(kind) or (kind,)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings replaced, by their dotted names. Raises SettingsError."""
    changed: dict[str, Any] = recipe.model_dump()
    for name, value in values.items():
        *groups, last = name.split(".")
        place = changed
        for group in groups:
            place = place[group]
        place[last] = value
    return Recipe.checked(changed)


def check_corners(recipe: Recipe, space: Space) -> list[Recipe]:
    """The recipes at the corners of the space: all combinations of choices and of both ends of ranges, or of each pair
    of settings where these would be too many. Raises SettingsError for the first invalid recipe."""
    found = []
    for values in _corners(space):
        try:
            found.append(with_values(recipe, values))
        except SettingsError as error:
            named = [name for name in values if name in str(error)] or list(values)
            at = ", ".join(f"{name} {values[name]}" for name in named)
            raise SettingsError(f"the space allows a recipe that is not valid ({at}): {error}") from error
    return found


def _corners(space: Space) -> Iterator[dict[str, Any]]:
    corners = {name: one.corners for name, one in space.items()}
    if math.prod(len(values) for values in corners.values()) <= _MOST_CORNERS:
        for values in itertools.product(*corners.values()):
            yield dict(zip(corners, values, strict=True))
        return
    first = {name: values[0] for name, values in corners.items()}
    for one, two in itertools.combinations(corners, 2):
        for pair in itertools.product(corners[one], corners[two]):
            yield {**first, one: pair[0], two: pair[1]}


def short_value(value: Any) -> str:
    """A value of a setting as text for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
