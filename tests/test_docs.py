"""What the pages tell a reader to run, run."""

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

import earsight as es

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_exported_file_is_answered_without_earsight_as_the_page_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "earsight." not in program
    shutil.copy(home / "model.onnx", tmp_path)
    shutil.copy(home / "tones" / "high" / "high03.wav", tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(program, {})
    label, probability = said.getvalue().split()
    found = es.load_model("model.onnx").predict("a.wav")
    assert label == found.label == "high"
    assert float(probability) == pytest.approx(found.probabilities["high"], abs=1e-3)
