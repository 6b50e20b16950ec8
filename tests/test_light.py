"""The small installation: an environment without torch predicts and listens, and answers as the full one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from earsight import extras
from earsight.errors import MissingExtraError
from tests.light import make_environment, needed
from tests.web.test_server import ask, begin, end


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("light") / "env")


def run(python: Path, *arguments: object, stdin: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    with (stdin or Path(os.devnull)).open("rb") as file:
        return subprocess.run([python, *map(str, arguments)], capture_output=True, env=clean, stdin=file, check=False)


def test_it_has_neither_torch_nor_anything_of_an_extra(python: Path) -> None:
    for name in (
        "torch",
        "timm",
        "matplotlib",
        "sklearn",
        "onnx",
        "jinja2",
        "safetensors",
        "captum",
        "pandas",
        "huggingface_hub",
    ):
        assert run(python, "-c", f"import {name}").returncode == 1
    names = {distribution.metadata["Name"].lower() for distribution in needed()}
    assert {"earsight", "numpy", "onnxruntime", "soundfile", "soxr", "pydantic", "cyclopts"} <= names
    assert not {"torch", "timm", "onnx"} & names


def test_its_answers_are_the_bytes_of_the_full_installation(python: Path, home: Path, song: Path) -> None:
    import sys

    for options in ([], ["--window", "0.4", "--hop", "0.1"], ["--window", "0.4", "--events"]):
        given = ["-m", "earsight", "predict", home / "model.onnx", song, home / "tones", *options, "--threads", "1"]
        light, full = run(python, *given), run(Path(sys.executable), *given)
        assert light.returncode == full.returncode == 0, light.stderr
        assert light.stdout == full.stdout
        assert light.stdout.count(b"\n") >= 3


def test_it_listens_and_writes_files(python: Path, home: Path, song: Path, tmp_path: Path) -> None:
    heard = run(python, "-m", "earsight", "listen", home / "model.onnx", "--from", song, "--fast")
    assert len(heard.stdout.splitlines()) == 18, heard.stderr
    given = ["predict", home / "model.onnx", "-", "--window", "0.4", "--events", "--out", tmp_path / "x.rttm"]
    assert run(python, "-m", "earsight", *given, stdin=song).returncode == 0
    assert [line.split()[7] for line in (tmp_path / "x.rttm").read_text().splitlines()] == ["low", "high", "low"]
    code = (
        f"import earsight, json; model = earsight.load_model({str(home / 'model.onnx')!r}); "
        f"print(json.dumps([model.predict({str(song)!r}).label, model.labels]))"
    )
    assert json.loads(run(python, "-c", code).stdout) == ["high", ["high", "low"]]


def test_it_serves_with_one_extra(home: Path, song: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env", "serve")
    assert run(python, "-c", "import torch").returncode == 1
    process, address = begin(home / "model.onnx", python=python)
    row = ask(f"{address}/api/predict?name=song.wav", song.read_bytes())[2]
    lines = run(python, "-m", "earsight", "predict", home / "model.onnx", song, "--threads", "1").stdout
    assert row == {**json.loads(lines), "path": "song.wav"}
    assert end(process) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["predict", "{run}", "{song}"], "earsight[train]"),
        (["train", "{tones}"], "earsight[train]"),
        (["predict", "{model}", "{song}", "--window", "0.4", "--timelines", "x"], "earsight[train]"),
        (["predict", "{model}", "https://example.invalid/*.wav"], "earsight[remote]"),
        (["listen", "{model}"], "earsight[listen]"),
        (["serve", "{model}"], "earsight[serve]"),
        (["export", "{run}", "--out", "new.onnx"], "earsight[train]"),
        (["explain", "{run}", "{song}"], "earsight[train]"),
        (["push", "{run}", "me/voices"], "earsight[train]"),
        (["predict", "me/voices", "{song}"], "earsight[train]"),
        (["predict", "{model}", "{song}", "--format", "parquet", "--out", "x.parquet"], "earsight[parquet]"),
    ],
)
def test_what_needs_more_says_what_to_install(
    python: Path, home: Path, song: Path, arguments: list[str], extra: str
) -> None:
    places = {"run": home / "run", "model": home / "model.onnx", "song": song, "tones": home / "tones"}
    done = run(python, "-m", "earsight", *(argument.format(**places) for argument in arguments))
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
    assert f"pip install '{extra}'".encode() in done.stderr


def test_a_package_that_no_extra_holds_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"needs onnxruntime, .*; run: pip install onnxruntime$"):
        extras.require("onnxruntime")
