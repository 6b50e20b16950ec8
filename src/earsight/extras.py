"""Import optional packages, with an error that says how to install them where they are missing."""

import importlib
import importlib.util
import os
from types import ModuleType

from earsight.errors import MissingExtraError

EXTRA_OF = {
    "torch": "train",
    "timm": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "matplotlib": "train",
    "jinja2": "train",
    "huggingface_hub": "train",
    "filelock": "train",
    "pooch": "train",
    "captum": "train",
    "onnx": "export",
    "onnxscript": "export",
    "pyarrow": "parquet",
    "optuna": "sweep",
    "fsspec": "remote",
    "sounddevice": "listen",
    "av": "av",
    "audiomentations": "audiomentations",
    "fastapi": "serve",
    "uvicorn": "serve",
    "requests": "train",
}


def require(module: str) -> ModuleType:
    """Import ``module`` (dotted name), or raise MissingExtraError that says how to install it."""
    package = module.partition(".")[0]
    _silence(package)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(install_hint(package)) from error


def install_hint(package: str) -> str:
    """The extra that holds a missing package; the package itself where no extra does."""
    wanted = f"'earsight[{EXTRA_OF[package]}]'" if package in EXTRA_OF else package
    return f"this needs {package}, which is not installed; run: pip install {wanted}"


def check(*packages: str) -> None:
    """Raise MissingExtraError for the first package that is not installed, without importing any."""
    for package in packages:
        _silence(package)
        if importlib.util.find_spec(package) is None:
            require(package)


def _silence(package: str) -> None:
    """Its wheels collect usage data (a device id and a queue of events below ~/.cache/Microsoft) unless this is set
    before the import."""
    if package == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
