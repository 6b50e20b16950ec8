"""Read metrics.json of a run or a cross-validation."""

from pathlib import Path
from typing import Any

from earsight.errors import ModelError
from earsight.files import read_json
from earsight.network.description import METRICS_NAME


def read_metrics(place: Path, otherwise: str) -> dict[str, Any]:
    """The metrics; {} where there are none yet. otherwise: what to do instead of restoring a damaged file, for
    messages. Raises ModelError."""
    path = place / METRICS_NAME
    if not path.is_file():
        return {}
    try:
        numbers = read_json(path)
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}); restore it, or {otherwise}") from error
    if not isinstance(numbers, dict):
        raise ModelError(f"{path} is damaged: it is not a table; restore it, or {otherwise}")
    return numbers
