"""Transforms of audiomentations, an optional package, from a settings file: applied crop by crop on the CPU."""

import inspect
import json
import random
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import numpy as np

from earsight import extras
from earsight.audio.decode import Samples
from earsight.audio.settings import AudioSettings
from earsight.errors import SettingsError, TrainingError, first_line

_TRIALS = 3
_SHOWN = 120
Transform = Callable[[Samples, int], Samples]


@dataclass(frozen=True)
class Pipeline:
    """Transforms that are applied to each crop in training, one after the other. place: the settings file. spec: its
    list of transforms, as JSON values; empty without a file."""

    place: Path
    spec: list[Any]
    transforms: tuple[Transform, ...]

    @classmethod
    def read(cls, place: str | Path | None) -> Self:
        """Read a TOML or JSON file with a list ``transforms`` of tables: ``transform`` is the name of an
        audiomentations class, all other keys are its arguments, which may be such tables themselves or lists of them.
        place: None for no transforms. Raises SettingsError where the file can't be read or used, MissingExtraError.
        """
        if place is None:
            return cls(Path(), [], ())
        if not str(place).strip():
            raise SettingsError("augment.pipeline is empty; name a TOML or JSON file, or pass none")
        place = Path(place)
        try:
            text = place.read_text(encoding="utf-8-sig")
            read = json.loads(text) if place.suffix.lower() == ".json" else tomllib.loads(text)
            json.dumps(read, allow_nan=False)
        except OSError as error:
            raise SettingsError(f"can't read augment.pipeline {place} ({error.strerror}); name a file") from error
        except (ValueError, TypeError, RecursionError) as error:  # TypeError: a date
            raise SettingsError(f"augment.pipeline {place} can't be read ({_why(error)}); fix it") from error
        listed = read["transforms"] if isinstance(read, dict) and list(read) == ["transforms"] else None
        if not isinstance(listed, list):
            raise SettingsError(
                f"augment.pipeline {place} must hold a list of transforms and nothing else, in TOML: [[transforms]], "
                'transform = "AddGaussianSNR", p = 0.5'
            )
        try:
            return cls(place, listed, tuple(_build_all(listed)))
        except SettingsError as error:
            raise SettingsError(f"augment.pipeline {place}: {error}") from error
        except RecursionError as error:
            raise SettingsError(f"augment.pipeline {place} is nested too deeply; fix it") from error

    def check(self, audio: AudioSettings) -> None:
        """Try each transform on a crop of noise. Raises SettingsError where one fails."""
        for table in _tables(self.spec):
            try:
                _try_transform(table, audio)
            except SettingsError as error:
                raise SettingsError(f"augment.pipeline {self.place}: {error}") from error

    def apply(self, crop: Samples, rate_hz: int, seed: int) -> Samples:
        """crop: float32 [channels, samples], not modified. seed: of all random draws. Same shape. Raises TrainingError
        where a transform fails, changes the length, or returns NaN or infinite samples."""
        try:
            return _run_transforms(self.transforms, crop, rate_hz, seed)
        except SettingsError as error:
            raise TrainingError(f"augment.pipeline {self.place}: {error}") from error


def _run_transforms(transforms: Sequence[Transform], crop: Samples, rate_hz: int, seed: int) -> Samples:
    heard: Samples = np.array(crop[0] if len(crop) == 1 else crop, order="C")  # [samples] where there is one
    with _seeded(seed), np.errstate(over="ignore", invalid="ignore"):  # checked below
        for transform in transforms:
            name, before = type(transform).__name__, heard.shape
            try:
                heard = np.asarray(transform(heard, rate_hz), dtype=np.float32)
            except Exception as error:
                raise SettingsError(f"{name} failed on a crop of {before[-1]} samples ({_why(error)})") from error
            if heard.shape != before:
                raise SettingsError(
                    f"{name} made {heard.shape[-1]} samples of {before[-1]}; a crop must keep its length, for which "
                    "some transforms have leave_length_unchanged"
                )
            if not np.isfinite(heard).all():
                raise SettingsError(f"{name} made NaN or infinite samples; lower its gains")
    return heard.reshape(crop.shape)


def _try_transform(table: dict[str, Any], audio: AudioSettings) -> None:
    """Apply a transform to noise a few times, the first time with p = 1. Raises SettingsError where it fails."""
    shape = audio.channels, audio.crop_samples
    crop = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    for seed in range(_TRIALS):
        _run_transforms([_build({**table, "p": 1.0} if seed == 0 else table)], crop, audio.rate_hz, seed)


def _tables(spec: Any) -> Iterator[dict[str, Any]]:
    """All tables of transforms, nested ones before those around them, so that an error names the innermost."""
    for inside in spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ():
        yield from _tables(inside)
    if isinstance(spec, dict):
        yield spec


def _build_all(listed: Any) -> list[Any]:
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise SettingsError(f"transforms must be a list of tables, got {_short(listed)}")
    return [_build(one) for one in listed]


def _build(table: dict[str, Any]) -> Any:
    audiomentations = extras.require("audiomentations")
    known = {
        name: one
        for name, one in vars(audiomentations).items()
        if isinstance(one, type) and callable(getattr(one, "randomize_parameters", None)) and name != "Lambda"
    }
    name = table.get("transform")
    if not isinstance(name, str):
        raise SettingsError(f'a table has no name, such as transform = "AddGaussianSNR": {_short(table)}')
    if name not in known:
        near = get_close_matches(name[:100], known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "its documentation lists them"
        raise SettingsError(f"audiomentations has no transform {_short(name)}; {hint}")
    told = {key: value for key, value in table.items() if key != "transform"}
    takes = [key for key in inspect.signature(known[name]).parameters if key != "transform"]
    if other := [key for key in told if key not in takes]:
        raise SettingsError(f"{name} has no argument {_short(other[0])}; it takes {', '.join(takes)}")
    chance = told.get("p", 1)
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise SettingsError(f"p of {name} must lie between 0 and 1, got {_short(chance)}")
    arguments = {key: _argument(key, value) for key, value in told.items()}
    try:
        return known[name](**arguments)
    except Exception as error:
        raise SettingsError(f"{name} refuses {_short(told)} ({_why(error)})") from error


def _argument(key: str, value: Any) -> Any:
    if key == "transforms":
        return _build_all(value)
    if isinstance(value, dict):
        return _build(value)
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        raise SettingsError(f'{key} must be one table, such as transform = "Compose" …, got {_short(value)}')
    return tuple(value) if isinstance(value, list) else value  # such as the (1, 3) of SomeOf


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def _why(error: Exception) -> str:
    """The message of an error, or the failing line where it has none (a bare assertion)."""
    if str(error).strip():
        return first_line(error)[: 2 * _SHOWN]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {frames[-1].line}" if frames else type(error).__name__


NO_PIPELINE = Pipeline.read(None)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and numpy, which audiomentations draws from, and restore them after."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
