"""compare: two runs, or two cross-validations, on the clips that both have scored."""

from dataclasses import replace
from pathlib import Path

from earsight.errors import DataError, ModelError
from earsight.network.description import METRICS_NAME, PREDICTIONS_NAME
from earsight.scores.compare import Comparison
from earsight.scores.compare import compare as compare_predictions
from earsight.scores.dispatch import read_csv, require_single_label
from earsight.scores.predictions import Predictions
from earsight.tasks.metrics_file import read_metrics

_TRAINING_SCORE = "training score"


def compare(a: str | Path, b: str | Path) -> Comparison:
    """a, b: folders that ``train`` or ``crossval`` wrote, or tables of predictions. The difference is b − a. Raises
    EarsightError, also where one of them alone was scored on the clips that it was trained on."""
    found = compare_predictions(_read(Path(a)), _read(Path(b)))
    beside = [_caveat(Path(place)) for place in (a, b)]
    trained = [one == _TRAINING_SCORE for one in beside]
    if any(trained) and not all(trained):
        which, other = (a, b) if trained[0] else (b, a)
        raise DataError(
            f"{which} was scored on the clips that it was trained on, {other} was not; compare runs that held out test "
            "clips"
        )
    return replace(found, caveat_a=beside[0], caveat_b=beside[1])


def _caveat(place: Path) -> str:
    """The caveat of a run or cross-validation; "" for a table."""
    numbers = read_metrics(place, "give the tables of predictions")
    try:
        whole = numbers if "caveat" in numbers else numbers.get("train") or numbers.get("test") or {}
        return str(whole.get("caveat", ""))
    except AttributeError as error:
        raise ModelError(f"{place / METRICS_NAME} is damaged; restore it, or give the tables of predictions") from error


def _read(place: Path) -> list[Predictions]:
    """The predictions, one table for each seed."""
    if place.is_file():
        return [require_single_label(read_csv(place), "compare", place)]
    tables = sorted(place.glob("predictions-seed*.csv")) or sorted(place.glob(PREDICTIONS_NAME))
    if not tables:
        what = "it has no predictions" if place.is_dir() else "no such folder"
        raise ModelError(f"{place}: {what}; give a run that was trained to its end, or a cross-validation")
    return [require_single_label(read_csv(table), "compare", table) for table in tables]
