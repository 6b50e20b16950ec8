"""earsight: train image networks to hear. The names below are the public API; each is imported when first used."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from earsight.audio.load import load_waveform as load_waveform
    from earsight.dataset.sources import read_dataset as read_dataset
    from earsight.errors import EarsightError as EarsightError
    from earsight.network.classifier import Classifier as Classifier
    from earsight.network.prediction import Prediction as Prediction
    from earsight.tasks.evaluate import evaluate as evaluate
    from earsight.tasks.predict import load_model as load_model
    from earsight.tasks.predict import predict as predict
    from earsight.tasks.recipe import Recipe as Recipe
    from earsight.tasks.train import train as train

_HOME = {
    "Classifier": "earsight.network.classifier",
    "EarsightError": "earsight.errors",
    "Prediction": "earsight.network.prediction",
    "Recipe": "earsight.tasks.recipe",
    "evaluate": "earsight.tasks.evaluate",
    "load_model": "earsight.tasks.predict",
    "load_waveform": "earsight.audio.load",
    "predict": "earsight.tasks.predict",
    "read_dataset": "earsight.dataset.sources",
    "train": "earsight.tasks.train",
}
__all__ = [*_HOME, "__version__"]


if not TYPE_CHECKING:  # or a type checker would believe in every name

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'earsight' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value  # over a submodule of the same name that an import may have put there
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
