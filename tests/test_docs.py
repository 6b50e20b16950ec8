"""What the pages tell a reader to run, run."""

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import earsight as es
from earsight.tasks.export import export

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
