"""compare: two runs, or two cross-validations, on the clips that both have scored."""

from pathlib import Path

from earsight.errors import ModelError
from earsight.scores.compare import Comparison
from earsight.scores.compare import compare as compare_predictions
from earsight.scores.kinds import only_one_label, read_csv
from earsight.scores.predictions import Predictions


def compare(a: str | Path, b: str | Path) -> Comparison:
    """a, b: folders that ``train`` or ``crossval`` wrote, or tables of predictions. The difference is b − a. Raises
    EarsightError."""
    return compare_predictions(_read(Path(a)), _read(Path(b)))


def _read(place: Path) -> list[Predictions]:
    """One table, or one a seed."""
    if place.is_file():
        return [only_one_label(read_csv(place), "compare", place)]
    tables = sorted(place.glob("predictions-seed*.csv")) or sorted(place.glob("predictions.csv"))
    if not tables:
        what = "no predictions in it" if place.is_dir() else "no such folder"
        raise ModelError(f"{place}: {what}; give a run that was trained to its end, or a cross-validation")
    return [only_one_label(read_csv(table), "compare", table) for table in tables]
