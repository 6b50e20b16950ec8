"""The command as a user runs it: a process, its output, its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.conftest import tone

TINY = ["--model", "test_efficientnet", "--no-pretrained", "--epochs", "1", "--audio.crop-s", "0.5", "--threads", "1"]


def earsight(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "earsight", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for label, hz in (("low", 300.0), ("high", 3000.0)):
        for number in range(6):
            path = folder / "data" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(hz + 10 * number, 0.5), 16000)
    done = earsight("train", folder / "data", "--out", folder / "run", *TINY)
    assert done.returncode == 0, done.stderr
    assert "12 clips from 12 files, 2 classes (8 train / 2 valid / 2 test)" in done.stderr
    assert "epoch   1/1" in done.stderr
    assert f"report: {folder / 'run' / 'report.html'}" in done.stdout
    return folder


def test_predict_writes_json_lines_when_piped_and_goes_on_after_a_bad_file(run: Path) -> None:
    bad = run / "bad.wav"
    bad.write_text("no sound")
    done = earsight("predict", run / "run", run / "data" / "low" / "0.wav", bad, run / "data" / "high")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["0.wav", "bad.wav", *(f"{n}.wav" for n in range(6))]
    assert rows[1]["label"] is None
    assert "not readable as sound" in rows[1]["error"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows if row["label"])
    assert all(list(row["probabilities"]) == ["high", "low"] for row in rows if row["label"])
    assert done.returncode == 2
    assert "1 of the recordings could not be read" in done.stderr


def test_evaluate_prints_a_table_or_json(run: Path) -> None:
    table = earsight("evaluate", run / "run")
    assert table.returncode == 0
    assert "accuracy" in table.stdout
    assert "support" in table.stdout
    values = json.loads(earsight("evaluate", run / "run", run / "data", "--json").stdout)
    assert values["clips"] == 12
    assert [row["support"] for row in values["per_class"]] == [6, 6]
    assert "file name of a training clip" in values["warning"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent"], "no such data: absent"),
        (["train", "{data}", "--model", "efficientnet_bo"], "did you mean"),
        (["train", "{data}", "--weights", "absent.pth"], "no weights file: absent.pth"),
        (["train", "{data}", "--recipe", "articel"], "did you mean article"),
        (["train", "{data}", "--mel.n-mel", "64"], "--mel.n-mels"),
        (["train", "{data}", "--mel.n-mels", "1"], "setting mel.n_mels: input should be greater than or equal to 4"),
        (["train", "{data}", "--split", "luna"], "unknown split 'luna'"),
        (["train", "{data}", "--split", "luna5:0"], "made of RAVDESS's actors"),
        (["train", "{data}", "--out", "{run}"], "is not empty"),
        (["train", "{data}", "--resume"], "pass --out RUN"),
        (["trian", "{data}"], 'Did you mean "train"'),
        (["predict", "absent", "x.wav"], "no such run folder"),
        (["predict", "{data}", "{data}"], "no model.json in"),
        (["evaluate", "absent"], "no such run folder"),
        (["evaluate", "{run}", "absent"], "no such data"),
        (["demo", "--out", "{data}"], "holds something else than an earlier demo"),
    ],
)
def test_refusals_are_one_line_and_exit_code_2(run: Path, arguments: list[str], message: str) -> None:
    done = earsight(*(a.format(data=run / "data", run=run / "run") for a in arguments), cwd=run)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("earsight: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert (run / "data" / "low" / "0.wav").is_file()


def test_every_setting_is_a_flag() -> None:
    from earsight.tasks.recipe import Recipe, setting_names

    text = earsight("train", "--help").stdout
    assert [name for name in setting_names(Recipe) if f"--{name.replace('_', '-')}" not in text] == []


def test_version() -> None:
    import earsight as es

    assert earsight("--version").stdout.strip() == es.__version__
