"""What `import earsight` offers, and what a start must not cost."""

import json
import subprocess
import sys
from pathlib import Path

import earsight as es

HEAVY = ("torch", "timm", "lightning_fabric", "matplotlib", "sklearn", "soundfile", "soxr", "numpy", "onnxruntime")


def imported_by(code: str) -> set[str]:
    """Top-level packages that a fresh process has imported after ``code``."""
    tail = "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_names() -> None:
    assert set(es.__all__) == {
        "Classifier",
        "EarsightError",
        "Prediction",
        "Recipe",
        "__version__",
        "evaluate",
        "load_model",
        "load_waveform",
        "predict",
        "read_dataset",
        "train",
    }
    assert len(es.__all__) <= 12
    assert all(getattr(es, name) is not None for name in es.__all__)
    assert callable(es.train)
    assert dir(es) == sorted(es.__all__)


def test_a_name_wins_over_the_module_of_the_same_name() -> None:
    modules = "earsight.tasks.train, earsight.tasks.predict"
    code = f"import earsight as es, {modules}\nassert callable(es.train) and callable(es.predict)"
    assert "earsight" in imported_by(code)


def test_importing_is_light() -> None:
    assert not imported_by("import earsight") & {*HEAVY, "pydantic", "rich", "cyclopts"}
    assert not imported_by("import earsight as es; es.EarsightError") & set(HEAVY)


def test_help_and_refusals_import_nothing_heavy(tmp_path: Path) -> None:
    run = "from earsight.command_line import main\ntry:\n    main({arguments})\nexcept SystemExit: pass"
    for arguments in (["--help"], ["train", "--help"], ["train", "absent"], ["train", "x", "--epochs", "0"]):
        assert not imported_by(run.format(arguments=arguments)) & (set(HEAVY) - {"numpy", "soundfile"})
    assert "numpy" not in imported_by(run.format(arguments=["--help"]))
    assert not imported_by(run.format(arguments=["predict", str(tmp_path), "a.wav"])) & {"torch", "timm", "onnxruntime"}


def test_recipe_and_data_need_no_torch() -> None:
    assert "torch" not in imported_by(
        "import earsight as es; es.Recipe.named('article'); es.read_dataset; es.load_waveform"
    )
