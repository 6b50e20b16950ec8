"""What the pages tell a reader to run, run."""

import contextlib
import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import earsight as es
from earsight.tasks.export import export
from tests.conftest import tone, write_tones

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_exported_file_is_answered_without_earsight_as_the_page_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, for_torch = re.findall(r"```python\n(.*?)```", (DOCS / "deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "earsight." not in program
    shutil.copy(home / "model.onnx", tmp_path)
    tone, rate_hz = soundfile.read(home / "tones" / "high" / "high03.wav")
    soundfile.write(tmp_path / "a.wav", 0.2 * np.pad(tone, (9000, 4000)), rate_hz)  # to be trimmed, and scaled
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(said):
        exec(program, names)
    label, probability = said.getvalue().split()
    found = es.load_model("model.onnx").predict("a.wav")
    assert label == found.label == "high"
    assert float(probability) == pytest.approx(found.probabilities["high"], abs=1e-6)
    export(home / "run", tmp_path / "model.pt2", to="torch-export")
    exec(for_torch, names)
    assert names["about"]["labels"] == ["high", "low"]
    assert names["probabilities"][0].tolist() == pytest.approx(list(found.probabilities.values()), abs=1e-5)


def test_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tones(tmp_path / "recordings")
    soundfile.write(tmp_path / "a.wav", np.stack([tone(300, 5), tone(310, 5)], axis=1), 16000)
    network = "model = 'test_efficientnet'\npretrained = false\n"
    (tmp_path / "mine.toml").write_text(f"batch_size = 8\n[audio]\ncrop_s = 3.0\n[network]\n{network}")
    monkeypatch.chdir(tmp_path)
    # pandas, which nothing else here needs, is played by a list of rows
    names: dict[str, Any] = {"__name__": "__main__", "pandas": SimpleNamespace(DataFrame=list)}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for program in re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL):
            exec(program.replace("import pandas\n", ""), names)
    assert said.getvalue().startswith("<DataSet folder in recordings: 24 clips from 24 files, 2 labels>\n")
    assert f"# {said.getvalue().splitlines()[0]}\n" in (DOCS / "python.md").read_text(encoding="utf-8")
    assert said.getvalue().count("a.wav ") == 3  # windows of 3 s in 5 s, one a second
    assert [row["path"] for row in names["table"]][:1] == ["a.wav"]
    assert len(names["table"]) == 25
    assert sum(names["table"][0][label] for label in ("high", "low")) == pytest.approx(1)
    assert names["image"].shape == (1, 1, 64, 301)
    assert torch.linalg.vector_norm(names["features"]) == pytest.approx(1, abs=1e-5)
    assert len(names["waveforms"]) == 24
