"""Transforms of audiomentations, an optional package, from a settings file: crop by crop, on the processor."""

import json
import random
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import numpy as np

from earsight import extras
from earsight.audio.decode import Samples
from earsight.errors import SettingsError, TrainingError, first_line

Transform = Callable[[Samples, int], Samples]


@dataclass(frozen=True)
class Pipeline:
    """What is done to each crop in training, one transform after the other. place: the file that says so. told: what it
    says, as JSON has it."""

    place: Path
    told: list[Any]
    transforms: tuple[Transform, ...]

    @classmethod
    def read(cls, place: str | Path) -> Self:
        """A TOML file (or JSON, ``.json``) with a list ``transforms`` of tables: ``transform`` is the name of a class
        of audiomentations, everything else its arguments, which may be such tables themselves, or lists of them.

        Raises SettingsError where the file can't be read or names what there is not; MissingExtraError.
        """
        place = Path(place)
        try:
            text = place.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: not UTF-8
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise SettingsError(f"can't read augment.pipeline {place} ({reason}); name a TOML or JSON file") from error
        try:
            read = json.loads(text) if place.suffix.lower() == ".json" else tomllib.loads(text)
        except ValueError as error:  # of both
            raise SettingsError(f"augment.pipeline {place} can't be read ({first_line(error)})") from error
        listed = read["transforms"] if isinstance(read, dict) and list(read) == ["transforms"] else None
        if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
            raise SettingsError(
                f"augment.pipeline {place} must hold a list of transforms and nothing else, in TOML: [[transforms]], "
                'transform = "AddGaussianSNR", p = 0.5'
            )
        try:
            return cls(place, json.loads(json.dumps(listed, default=str)), tuple(_built(one) for one in listed))
        except SettingsError as error:
            raise SettingsError(f"augment.pipeline {place}: {error}") from error

    def apply(self, crop: Samples, rate_hz: int, seed: int) -> Samples:
        """crop: float32 [channels, samples]. seed: of everything that is drawn. Returns the same shape, and leaves
        ``crop`` as it is. Raises TrainingError where a transform fails, or changes the length."""
        heard: Samples = np.array(crop[0] if len(crop) == 1 else crop, order="C")  # [samples] where there is one
        with _seeded(seed):
            for transform in self.transforms:
                name, before = type(transform).__name__, heard.shape
                try:
                    heard = np.asarray(transform(heard, rate_hz), dtype=np.float32)
                except Exception as error:
                    raise TrainingError(
                        f"augment.pipeline {self.place}: {name} failed on a crop of {before[-1]} samples "
                        f"({first_line(error)})"
                    ) from error
                if heard.shape != before:
                    raise TrainingError(
                        f"augment.pipeline {self.place}: {name} made {heard.shape[-1]} samples of {before[-1]}; a crop "
                        "must keep its length, for which some transforms have leave_length_unchanged"
                    )
        return heard.reshape(crop.shape)


def _built(told: Any) -> Any:
    """A transform of its table; a list of them; other lists as tuples, such as the (1, 3) of SomeOf."""
    if isinstance(told, list):
        built = [_built(one) for one in told]
        return built if any(isinstance(one, dict) for one in told) else tuple(built)
    if not isinstance(told, dict):
        return told
    audiomentations = extras.require("audiomentations")
    known = {
        name: one
        for name, one in vars(audiomentations).items()
        if isinstance(one, type) and callable(getattr(one, "randomize_parameters", None))
    }
    name = told.get("transform")
    if not isinstance(name, str) or name not in known:
        near = get_close_matches(str(name), known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(known))}"
        raise SettingsError(f"audiomentations has no transform {name!r}; {hint}")
    arguments = {key: _built(value) for key, value in told.items() if key != "transform"}
    try:
        return known[name](**arguments)
    except Exception as error:
        raise SettingsError(f"{name} refuses its arguments {arguments} ({first_line(error)})") from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """audiomentations draws from the global generators of Python and numpy: here from ``seed``, and they are left as
    they were."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
