"""What docs/results.md says of a cross-validation is what its predictions, kept beside it, give."""

import re
from pathlib import Path

import numpy as np

from earsight.dataset.split import LUNA5
from earsight.scores.kinds import measure
from earsight.scores.predictions import read_csv

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_table_of_luna5_is_that_of_its_predictions() -> None:
    answers = read_csv(DOCS / "results" / "luna5-tf_efficientnet_lite0-seed0.csv")
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert len(answers.paths) == len(set(answers.paths)) == 1440
    told = re.findall(r"^\| luna5:(\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert [int(row[0]) for row in told] == [0, 1, 2, 3, 4]
    found = []
    for fold, *_ in told:
        actors = {f"{actor:02}" for actor in LUNA5[int(fold)][0]}
        scores = measure(answers.take([row for row, group in enumerate(answers.groups) if group in actors]))
        found.append((scores.accuracy, scores.uar, scores.macro_f1))
    assert np.allclose(np.array(found), [[float(cell) for cell in row[1:]] for row in told], atol=0.0005001)
    whole = measure(answers)
    line = next(line for line in text.splitlines() if line.startswith("| all 1,440 clips"))
    stated = [float(cell.split(" (")[0]) for cell in line.split("|")[2:5]]
    assert np.allclose([whole.accuracy, whole.uar, whole.macro_f1], stated, atol=0.0005001)
