"""What docs/results.md says of a cross-validation is what its predictions, kept beside it, give."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earsight.dataset.split import EMOBOX6, LUNA5
from earsight.scores.dispatch import measure
from earsight.scores.intervals import jackknife
from earsight.scores.predictions import read_csv

DOCS = Path(__file__).resolve().parents[1] / "docs"


def fold_of_luna5(path: str, group: str) -> int:
    return next(fold for fold, (actors, _) in enumerate(LUNA5) if int(group) in actors)


def fold_of_emobox6(path: str, group: str) -> int:
    return next(fold for fold, actors in enumerate(EMOBOX6, 1) if int(group) in actors)


def fold_of_file(path: str, group: str) -> int:
    return int(Path(path).name.split("-")[0])


LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"


@pytest.mark.parametrize(
    ("files", "row", "folds", "fold_of", "whole"),
    [
        ([f"luna5-{LITE0}-cpu-seed0"], r"luna5:(\d), CPU", [0, 1, 2, 3, 4], fold_of_luna5, "1,440 clips, CPU"),
        (
            [f"luna5-{LITE0}-refit-cpu-seed0"],
            r"luna5:(\d), refit, CPU",
            [0, 1, 2, 3, 4],
            fold_of_luna5,
            "1,440 clips, refit, CPU",
        ),
        (
            [f"luna5-{LITE0}-seed{seed}" for seed in range(3)],
            r"luna5:(\d)",
            [0, 1, 2, 3, 4],
            fold_of_luna5,
            "1,440 clips",
        ),
        (
            [f"luna5-{LITE0}-hop80-epochs30-seed0"],
            r"luna5:(\d), 5 ms",
            [0, 1, 2, 3, 4],
            fold_of_luna5,
            "1,440 clips, 5 ms",
        ),
        (
            [f"emobox6-{LITE0}-cpu-seed0"],
            r"emobox6:(\d), CPU",
            [1, 2, 3, 4, 5, 6],
            fold_of_emobox6,
            "1,440 clips, CPU",
        ),
        (
            [f"emobox6-{LITE0}-seed{seed}" for seed in range(3)],
            r"emobox6:(\d)",
            [1, 2, 3, 4, 5, 6],
            fold_of_emobox6,
            "1,440 clips",
        ),
        (
            [f"luna5-{LITE2}-seed{seed}" for seed in range(3)],
            r"luna5:(\d), lite2",
            [0, 1, 2, 3, 4],
            fold_of_luna5,
            "1,440 clips, lite2",
        ),
        ([f"esc10-{LITE0}-seed0"], r"esc50:(\d)", [1, 2, 3, 4, 5], fold_of_file, "400 clips"),
    ],
)
def test_a_table_is_that_of_its_predictions(
    files: list[str], row: str, folds: list[int], fold_of: Callable[[str, str], int], whole: str
) -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    told = list(re.finditer(rf"^\| {row} \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE))
    assert [int(one[1]) for one in told] == folds
    found = []
    for file in files:
        answers = read_csv(DOCS / "results" / f"{file}.csv")
        assert f"{len(answers.paths):,}" == f"{len(set(answers.paths)):,}" == whole.split()[0]
        place = np.array([fold_of(path, group) for path, group in zip(answers.paths, answers.groups, strict=True)])
        parts = [answers.take(np.flatnonzero(place == fold).tolist()) for fold in folds]
        found.append([(one.accuracy, one.uar, one.macro_f1) for one in map(measure, (*parts, answers))])
    stated = [[float(cell) for cell in one.groups()[1:]] for one in told]
    line = text[told[-1].end() :].split(f"\n| all {whole} (", 1)[1].split("\n", 1)[0]
    together = jackknife([read_csv(DOCS / "results" / f"{file}.csv") for file in files])
    for name, cell in zip(("accuracy", "uar", "macro_f1"), line.split("|")[1:4], strict=True):
        interval = together.interval(name)
        assert interval is not None
        assert cell.strip() == f"{together.scores[name]:.3f} ({interval.low:.3f} to {interval.high:.3f})"
    assert np.allclose(np.mean(found, axis=0)[:-1], stated, atol=0.0005001)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (f"luna5-{LITE0}", "accuracy {:.3f}, UAR {:.3f}, macro-F1 {:.3f}"),
        (f"emobox6-{LITE0}", "WA {:.3f}, UA {:.3f}, macro-F1 {:.3f}"),
        (f"luna5-{LITE2}", "three networks as one: accuracy {:.3f}"),
    ],
)
def test_three_networks_as_one_are_the_mean_of_their_log_probabilities(files: str, words: str) -> None:
    """As ``earsight ensemble`` has them."""
    runs = [read_csv(DOCS / "results" / f"{files}-seed{seed}.csv") for seed in range(3)]
    assert all((run.paths, run.labels) == (runs[0].paths, runs[0].labels) for run in runs)
    as_one = np.exp(np.mean([np.log(run.probabilities) for run in runs], axis=0))
    whole = measure(replace(runs[0], probabilities=as_one / as_one.sum(axis=1, keepdims=True)))
    told = words.format(whole.accuracy, whole.uar, whole.macro_f1)
    assert told in " ".join((DOCS / "results.md").read_text(encoding="utf-8").split())


def last_four(file: str, rows: Callable[[dict[str, Any]], bool]) -> dict[str, list[float]]:
    """Fold → the mean of the last four scores of each training."""
    found: dict[str, list[float]] = {"A": [], "B": []}
    for line in (DOCS / "results" / file).read_text().splitlines():
        if rows(one := json.loads(line)):
            found[one["fold"]].append(float(np.mean(one["valid_uar"][-4:])))
    return found


@pytest.mark.parametrize(
    ("row", "file", "rows"),
    [
        (
            "14 speakers, all of their clips (seeds 0 and 1) | 840",
            "settings-64-bins-cpu.jsonl",
            lambda one: one["changes"] == {"mel.n_mels": 64},
        ),
        ("14 speakers, half of their clips | 420", "voices-cpu.jsonl", lambda one: len(one["actors"]) == 14),
        ("7 speakers, all of their clips | 420", "voices-cpu.jsonl", lambda one: len(one["actors"]) == 7),
    ],
)
def test_what_a_voice_is_worth_is_what_its_curves_give(
    row: str, file: str, rows: Callable[[dict[str, Any]], bool]
) -> None:
    of_fold = last_four(file, rows)
    told = [", ".join(f"{value:.3f}" for value in of_fold[fold]) for fold in "AB"]
    mean = np.mean([*of_fold["A"], *of_fold["B"]])
    assert f"| {row} | {' | '.join(told)} | {mean:.3f} |" in (DOCS / "results.md").read_text()
