"""What docs/results.md says of a cross-validation is what its predictions, kept beside it, give."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earsight.dataset.split import LUNA5
from earsight.scores.kinds import measure
from earsight.scores.predictions import read_csv

DOCS = Path(__file__).resolve().parents[1] / "docs"


def fold_of_actor(path: str, group: str) -> int:
    return next(fold for fold, (actors, _) in enumerate(LUNA5) if int(group) in actors)


def fold_of_file(path: str, group: str) -> int:
    return int(Path(path).name.split("-")[0])


@pytest.mark.parametrize(
    ("file", "kind", "folds", "fold_of", "clips"),
    [
        ("luna5-tf_efficientnet_lite0-seed0.csv", "luna5", [0, 1, 2, 3, 4], fold_of_actor, "1,440"),
        ("esc10-tf_efficientnet_lite0-seed0.csv", "esc50", [1, 2, 3, 4, 5], fold_of_file, "400"),
    ],
)
def test_a_table_is_that_of_its_predictions(
    file: str, kind: str, folds: list[int], fold_of: Callable[[str, str], int], clips: str
) -> None:
    answers = read_csv(DOCS / "results" / file)
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert f"{len(answers.paths):,}" == f"{len(set(answers.paths)):,}" == clips
    told = re.findall(rf"^\| {kind}:(\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert [int(row[0]) for row in told] == folds
    place = np.array([fold_of(path, group) for path, group in zip(answers.paths, answers.groups, strict=True)])
    found = []
    for fold in folds:
        scores = measure(answers.take(np.flatnonzero(place == fold).tolist()))
        found.append((scores.accuracy, scores.uar, scores.macro_f1))
    assert np.allclose(np.array(found), [[float(cell) for cell in row[1:]] for row in told], atol=0.0005001)
    whole = measure(answers)
    line = next(line for line in text.splitlines() if line.startswith(f"| all {clips} clips"))
    stated = [float(cell.split(" (")[0]) for cell in line.split("|")[2:5]]
    assert np.allclose([whole.accuracy, whole.uar, whole.macro_f1], stated, atol=0.0005001)
