"""model.json of a run folder, read and checked without torch."""

from pathlib import Path
from typing import Any

from earsight.errors import ModelError
from earsight.files import read_json

FORMAT = 2
WEIGHTS_NAME = "model.safetensors"
SETTINGS_NAME = "model.json"
METRICS_NAME, PREDICTIONS_NAME, REPORT_NAME = "metrics.json", "predictions.csv", "report.html"
DIRECTIONS_KEY = "earsight.directions"
"""Key of ``Classifier.directions`` in model.safetensors."""
LEGACY_KEY = "earsight.centres"
"""Key of an earlier measure of familiarity. Its limits are dropped: such a model answers everything but silence."""
NON_NETWORK_KEYS = (DIRECTIONS_KEY, LEGACY_KEY)
REFIT_KEY = "refit"
"""Key in model.json of a network that was trained on the validation clips too."""


def read_description(folder: Path) -> dict[str, Any]:
    """model.json as a dict. Raises ModelError, for a folder without weights too."""
    path = folder / SETTINGS_NAME
    if not folder.is_dir():
        raise run_folder_error(folder)
    if not path.is_file():
        raise ModelError(f"no {SETTINGS_NAME} in {folder}: not a run folder, or its training ended before one epoch")
    try:
        described = read_json(path)
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}); train again, or restore the folder") from error
    if not isinstance(described, dict) or "format" not in described or "labels" not in described:
        raise ModelError(f"{path} is not a model of earsight; pass a folder written by earsight train")
    if described["format"] != FORMAT:
        newer = isinstance(described["format"], int) and described["format"] > FORMAT
        advice = "upgrade earsight" if newer else "train again, or use the earsight that wrote it"
        raise ModelError(f"{path} has format {described['format']!r}, but this earsight reads {FORMAT!r}; {advice}")
    labels = described["labels"]
    named = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not named or not labels or len(set(labels)) != len(labels):
        raise damaged(path, "its labels are not a list of different names")
    for key in ("split", "data"):
        if not isinstance(described.get(key, {}), dict):
            raise damaged(path, f"its {key} is not a table")
    if not (folder / WEIGHTS_NAME).is_file():
        raise ModelError(f"no {WEIGHTS_NAME} in {folder}: half a run folder; restore the file or train again")
    return described


def damaged(path: object, what: str) -> ModelError:
    """The error for a file of a run folder that can't be used."""
    return ModelError(f"{path} is damaged: {what}; restore it or train again")


def run_folder_error(place: Path) -> ModelError:
    """The error for a place that is not a folder."""
    if place.is_file():
        return ModelError(f"{place} is a file, but a run folder is needed; pass the run that it was exported from")
    return ModelError(f"no such run folder: {place}; give one of earsight train")
