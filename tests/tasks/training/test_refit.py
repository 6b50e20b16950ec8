"""The second training: on training and validation clips, with what the first one learned of the validation clips."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import earsight as es
from earsight.errors import EarsightError, SettingsError, TrainingError
from earsight.scores.predictions import read_csv
from earsight.tasks.evaluate import evaluate
from earsight.tasks.export import export
from earsight.tasks.machine.devices import Machine
from earsight.tasks.train import check_batches, train
from earsight.tasks.training import loop, run_report
from earsight.tasks.training.plan import plan_training
from tests.conftest import called, write_tones
from tests.tasks.test_train import weights

QUICK = {
    "epochs": 6,
    "batch_size": 8,
    "audio": {"crop_s": 0.4},
    "mel": {"n_mels": 32},
    "network": {"model": "test_efficientnet", "pretrained": False},
    "loss": {"class_weights": "balanced"},
}


def recipe(**changes: object) -> es.Recipe:
    return es.Recipe.named("default", {**QUICK, **changes})


def same(one: Path, two: Path, *, directions: bool = True) -> bool:
    first, second = weights(one), weights(two)
    return all(torch.equal(first[key], second[key]) for key in first if directions or "directions" not in key)


def numbers(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def table(folder: Path, name: str, parts: dict[str, str]) -> Path:
    """Six speakers of four tones each; parts: of each speaker."""
    clips = sorted((folder / "tones").rglob("*.wav"), key=lambda path: (int(path.stem[-2:]) % 6, path.stem))
    rows = [
        f"{path},{path.parent.name},{int(path.stem[-2:]) % 6},{parts[str(int(path.stem[-2:]) % 6)]}" for path in clips
    ]
    (folder / name).write_text("\n".join(["path,label,group,part", *rows]) + "\n")
    return folder / name


PARTS = {"0": "train", "1": "train", "2": "train", "3": "valid", "4": "test", "5": "test"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """once: a training; twice: the same with a refit. Only to be read."""
    root = tmp_path_factory.mktemp("refit")
    write_tones(root / "tones")
    table(root, "data.csv", PARTS)
    for name, refit in (("once", False), ("twice", True)):
        train(root / "data.csv", recipe=recipe(refit=refit), split="column:part", out=root / name, threads=1)
    return root


def test_it_is_the_training_on_both_parts(root: Path, tmp_path: Path) -> None:
    """As of a table that calls the validation clips training clips: the same weights, bit by bit."""
    assert numbers(root / "twice")["best_epoch"] == 6  # the other training keeps its last one as well
    other = table(root, "other.csv", {**PARTS, "3": "train", "4": "valid"})
    train(other, recipe=recipe(), split="column:part", out=tmp_path / "joined", threads=1)
    assert numbers(tmp_path / "joined")["best_epoch"] == 6
    assert same(root / "twice", tmp_path / "joined", directions=False)
    assert not same(root / "twice", root / "once", directions=False)


def test_what_validation_clips_told_is_of_the_network_that_had_not_heard_them(root: Path) -> None:
    once, twice = numbers(root / "once"), numbers(root / "twice")
    assert once["valid"] == twice["valid"]
    assert once["calibration"]["temperature"] == twice["calibration"]["temperature"] != 1
    for limit in ("least_familiarity", "least_confidence", "valid"):
        assert once["unknown"][limit] == twice["unknown"][limit]
    assert once["clips"] == twice["clips"] == {"train": 12, "valid": 4, "test": 8}
    assert "refit" not in once
    assert twice["refit"] == {"epochs": 6, "clips": 16}


def test_the_run_is_the_second_networks_and_says_so(root: Path) -> None:
    run = root / "twice"
    assert {path.name for path in run.iterdir()} == {
        *("clips.csv", "figures", "history.csv", "history-refit.csv", "metrics.json", "model.json"),
        *("model.safetensors", "predictions.csv", "report.html"),
    }
    told = json.loads((run / "model.json").read_text())
    assert told["data"]["trained_groups"] == ["0", "1", "2", "3"]
    assert told["split"]["sentence"].endswith(
        "Refit: when the epoch was chosen, trained once more on training and validation clips together."
    )
    assert told["temperature"] == numbers(run)["calibration"]["temperature"]
    assert evaluate(run).sentence == told["split"]["sentence"] == numbers(run)["split"]["sentence"]
    scored = read_csv(run / "predictions.csv")
    assert set(scored.groups) == {"4", "5"}
    assert np.allclose(evaluate(run).predictions.probabilities, scored.probabilities, atol=1e-5)
    report = (run / "report.html").read_text()
    assert "6 epochs on 16 clips, training and validation together" in report
    assert "(before the refit)" in report
    first, second = (list(csv.DictReader((run / name).open())) for name in ("history.csv", "history-refit.csv"))
    assert [len(first), len(second)] == [6, 6]
    assert all(row["valid_uar"] for row in first)
    assert not any(row["valid_uar"] for row in second)
    assert [row["lr"] for row in second][-1] == [row["lr"] for row in first][-1]


def test_a_clip_of_either_part_is_known_as_heard(root: Path) -> None:
    with pytest.raises(EarsightError, match="16 leaks"):
        evaluate(root / "twice", root / "data.csv")
    assert set(evaluate(root / "twice", root / "data.csv", leaks="drop").predictions.groups) == {"4", "5"}


def test_it_goes_on_after_a_stop_in_the_second_training(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, settings = loop.train_epoch, recipe(refit=True)

    def stop(*args: Any) -> object:
        if len(args[2]) == 16 and args[-1] == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(loop, "train_epoch", stop)
    cut: Any = {"split": "column:part", "out": tmp_path / "cut", "threads": 1}
    stopped = train(root / "data.csv", recipe=settings, **cut)
    assert (stopped.interrupted, stopped.test) == (True, None)
    assert same(tmp_path / "cut", root / "once", directions=False)  # usable: the first network
    assert "Refit" not in evaluate(tmp_path / "cut").sentence
    monkeypatch.undo()

    def stop_again(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_report, "write_report", stop_again)  # the run's network is the second one by then
    with pytest.raises(KeyboardInterrupt):
        train(root / "data.csv", recipe=settings, **cut, resume=True)
    assert same(tmp_path / "cut", root / "twice")
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="refit was True, is False"):
        train(root / "data.csv", recipe=recipe(), **cut, resume=True)
    aside = tmp_path / "aside"
    (tmp_path / "cut" / "refit").rename(aside)  # the first network is nowhere then
    with pytest.raises(TrainingError, match=r"already has the network of the refit, but .*chosen, which is"):
        train(root / "data.csv", recipe=settings, **cut, resume=True)
    aside.rename(tmp_path / "cut" / "refit")
    done = train(root / "data.csv", recipe=settings, **cut, resume=True)
    assert not done.interrupted
    assert same(tmp_path / "cut", root / "twice")
    for key in ("calibration", "unknown", "valid", "test", "refit", "split"):
        assert numbers(tmp_path / "cut")[key] == numbers(root / "twice")[key]


def test_a_second_training_that_is_damaged_begins_again_and_the_first_stays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, run = loop.train_epoch, tmp_path / "run"
    settings: Any = {"recipe": recipe(refit=True), "split": "column:part", "out": run, "threads": 1}

    def lost(*args: Any) -> object:
        if len(args[2]) == 16 and args[-1] == 2:
            return iter([loop.Step(np.array([0]), 1, 0, math.nan)])
        return real(*args)

    monkeypatch.setattr(loop, "train_epoch", lost)
    told = rf"in epoch 2, step 1; this happened in the refit; the network of the first training is in {run}"
    with pytest.raises(TrainingError, match=told):
        train(root / "data.csv", **settings)
    monkeypatch.undo()
    state = run / "refit" / "resume.pt"
    state.write_bytes(b"half")
    with pytest.raises(TrainingError, match=rf"{state} is damaged; remove the folder {run}/refit to repeat the"):
        train(root / "data.csv", **settings, resume=True)
    shutil.rmtree(run / "refit")
    older = torch.load(run / "resume.pt", weights_only=True)
    del older["recipe"]["refit"]  # as a version kept it that had no such setting
    torch.save(older, run / "resume.pt")
    with pytest.raises(TrainingError, match="refit was False, is True"):
        train(root / "data.csv", **settings, resume=True)
    older["recipe"]["refit"] = True
    torch.save(older, run / "resume.pt")
    train(root / "data.csv", **settings, resume=True)
    assert same(run, root / "twice")


def test_batches_of_both_trainings_are_looked_at_before_the_first(root: Path, tmp_path: Path) -> None:
    """12 clips are four batches of 3, 16 are six of 2 and 3."""
    for refit, fewest in ((False, 3), (True, 2)):
        plan = plan_training(root / "data.csv", recipe(refit=refit, batch_size=3), split_kind="column:part")
        assert check_batches(plan, Machine()) == fewest
    with pytest.raises(SettingsError, match="3 processes share a batch of 2 clips"):
        check_batches(plan, Machine(devices=3))


def test_a_smaller_file_is_not_measured_on_strangers_where_there_are_none(root: Path, tmp_path: Path) -> None:
    for name, heard in (("once", False), ("twice", True)):
        done = export(root / name, tmp_path / f"{name}.onnx", quantize="fp16")
        assert (done.validated, done.heard) == (4, heard)
    told = called("export", root / "twice", "--out", tmp_path / "told.onnx", "--quantize", "fp16").stdout
    assert "accuracy on 4 validation clips (also trained on): " in told


def test_what_it_can_not_be_joined_with_is_refused(root: Path, tmp_path: Path) -> None:
    common = ("train", root / "data.csv", "--model", "test_efficientnet", "--no-pretrained", "--out", tmp_path / "run")
    for more, reason in (
        (("--split", "none", "--refit"), "split none holds none out; pass --no-refit"),
        (
            ("--average-best", "3", "--refit"),
            "which needs validation clips to choose epochs; set average_best to 1",
        ),
    ):
        refused = called(*common, *more)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert reason in refused.stderr
    (tmp_path / "space.toml").write_text("refit = [true, false]\n")
    refused = called("sweep", root / "data.csv", "--space", tmp_path / "space.toml", "--no-pretrained")
    assert refused.returncode == 2
    assert "refit can't be searched" in refused.stderr
