"""metrics.json: what a run or a cross-validation scored, read again."""

from pathlib import Path
from typing import Any

from earsight.errors import ModelError
from earsight.files import read_json
from earsight.network.description import METRICS_NAME


def read_metrics(place: Path, otherwise: str) -> dict[str, Any]:
    """{} where there is none: a run was stopped before it had any. otherwise: what may be done in place of restoring a
    damaged one. Raises ModelError."""
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
