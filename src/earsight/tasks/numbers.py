"""metrics.json: what a run or a cross-validation scored, read again."""

import json
from pathlib import Path
from typing import Any

from earsight.errors import ModelError

METRICS_NAME = "metrics.json"


def read_numbers(place: Path, otherwise: str) -> dict[str, Any]:
    """{} where there is none: a run was stopped before it had any. otherwise: what may be done in place of restoring a
    damaged one. Raises ModelError."""
    path = place / METRICS_NAME
    if not path.is_file():
        return {}
    try:
        numbers = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}); restore it, or {otherwise}") from error
    if not isinstance(numbers, dict):
        raise ModelError(f"{path} is damaged: it is no table; restore it, or {otherwise}")
    return numbers
