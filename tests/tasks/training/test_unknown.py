"""The answer "unknown": fitted on validation clips, kept in the model, said by every way to predict."""

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import earsight as es
from earsight.audio.load import fixed_crops, load_waveform
from earsight.errors import ModelError
from earsight.network.familiarity import familiarity, main_directions
from earsight.network.prediction import Answers, UnknownLimits
from earsight.network.settings import UnknownSettings
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.predictions import Predictions
from earsight.tasks.ensemble import ensemble
from earsight.tasks.export import export
from earsight.tasks.predict import predict
from earsight.tasks.train import train
from earsight.tasks.training.run_report import _unknown
from earsight.tasks.training.unknown import fit_unknown, rejection_stats, spread_over_classes, unknown_by_class
from tests.conftest import write_tones
from tests.tasks.test_train import recipe

MEL = {"n_mels": 32, "win_length": 1024}  # noise is told from tones by long windows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unknown")
    settings = recipe(epochs=30, mel=MEL, unknown={"coverage": 0.75})
    train(write_tones(root / "tones"), recipe=settings, out=root / "run", threads=1)
    sounds = {
        "silence": np.zeros(16000),
        "noise": 0.3 * np.random.default_rng(0).standard_normal(16000),
        "click": np.eye(1, 16000, 8000)[0],
    }
    for name, samples in sounds.items():
        soundfile.write(root / f"{name}.wav", samples, 16000)
    return root


def answers(confidence: list[float], right: list[bool]) -> Predictions:
    p = np.array([[c, 1 - c] for c in confidence])
    names = tuple(str(n) for n in range(len(right)))
    return Predictions(("a", "b"), names, np.array([0 if r else 1 for r in right]), p, ("",) * len(right))


def test_the_limits_keep_what_was_asked_of_the_validation_clips() -> None:
    familiar = np.linspace(0.1, 1.0, 10)
    sure = answers([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.51], [True] * 4 + [False, True] * 3)
    for coverage in (0.5, 0.81, 0.9, 0.98, 1.0):
        limits = fit_unknown(familiar, sure, UnknownSettings(coverage=coverage))
        answered = (familiar >= limits.least_familiarity).mean()
        assert coverage <= answered < coverage + 0.1 + 1e-9
        assert limits.least_confidence == 0
    limits = fit_unknown(familiar, sure, UnknownSettings(coverage=1.0, risk=0.2))
    found = rejection_stats(limits, familiar, sure)
    assert found["risk"] == pytest.approx(1 / 6)
    assert found["coverage"] == pytest.approx(0.6)  # one of five or of six wrong; with seven it is two
    wrong = answers([0.9, 0.8], [False, False])
    nearly_none = fit_unknown(familiar, sure, UnknownSettings(coverage=1e-12))
    assert nearly_none.least_familiarity < familiar.max()
    assert nearly_none.least_familiarity == pytest.approx(familiar.max(), abs=1e-4)
    never = fit_unknown(familiar[:2], wrong, UnknownSettings(coverage=1.0, risk=0.1))
    assert never.least_confidence == pytest.approx(0.9, abs=1e-4)
    assert rejection_stats(never, familiar[:2], wrong) == {"coverage": 0.0, "risk": None}
    at_the_limits = rejection_stats(UnknownLimits(0.5, 0.6), np.array([0.5, 0.4]), answers([0.6, 0.9], [True, True]))
    assert at_the_limits == {"coverage": 0.5, "risk": 0.0}
    p, names = np.array([[0.2, 0.1], [0.9, 0.8], [0.3, 0.6], [0.1, 0.1]]), tuple("1234")
    several = MultiPredictions(("a", "b"), names, p > 0.5, p, p > 0.5, names)
    limits = fit_unknown(familiar[:4], several, UnknownSettings(coverage=0.75, risk=0.1))
    assert limits.least_confidence == 0  # says nothing where clips have several labels
    assert rejection_stats(limits, familiar[:4], several) == {"coverage": 0.75}


def test_directions_are_measured_on_clips_of_every_class() -> None:
    """One of ten among three thousand of others each; and where clips have several classes, each clip once."""
    rare = np.repeat(np.eye(4, dtype=bool), [3000, 3000, 10, 3000], axis=0)
    chosen = spread_over_classes(rare, 128)
    assert rare[chosen].sum(axis=0).tolist() == [128, 128, 10, 128]
    assert (chosen[0], chosen[-1], len(set(chosen))) == (0, 9009, len(chosen))
    both = np.ones((6, 2), dtype=bool)
    assert spread_over_classes(both, 3) == [0, 2, 5]
    assert spread_over_classes(both, 100) == list(range(6))
    assert spread_over_classes(np.array([[True, False], [True, False]]), 1) == [0]


def test_silence_is_unknown_whatever_the_limits() -> None:
    of = Answers(np.array([[0.9, 0.1]] * 3), np.array([1.0, 0.2, 1.0]), np.array([False, False, True]))
    assert [p.unknown for p in of.predictions(("a", "b"), UnknownLimits())] == [False, False, True]
    limited = of.predictions(("a", "b"), UnknownLimits(least_familiarity=0.5))
    assert [p.answer for p in limited] == ["a", "unknown", "unknown"]
    unsure = of.predictions(("a", "b"), UnknownLimits(least_confidence=0.95))
    assert [p.unknown for p in unsure] == [True, True, True]
    several = of.predictions(("a", "b"), UnknownLimits(least_confidence=0.95), (0.5, 0.5))
    assert [(p.labels, p.unknown) for p in several][:1] == [(("a",), False)]
    edge = Answers(np.array([[0.6, 0.4]]), np.array([0.5]), np.array([False]))
    assert not edge.predictions(("a", "b"), UnknownLimits(0.5, 0.6))[0].unknown  # limits belong to what is known …
    assert edge.predictions(("a", "b"), UnknownLimits(), (0.7, 0.4))[0].labels == (
        "b",
    )  # … and thresholds to the answer
    assert edge.predictions(("a", "b"), UnknownLimits(), (0.6, 0.4))[0].labels == ("a", "b")


def test_the_report_tells_of_which_class_most_is_unknown() -> None:
    few = Predictions(("ok", "fault"), tuple("abcde"), np.array([0, 0, 0, 1, 1]), np.eye(2)[[0, 0, 0, 1, 1]], ("",) * 5)
    near, limits = np.array([0.9, 0.9, 0.4, 0.4, 0.3]), UnknownLimits(0.5, 0.0)
    found = unknown_by_class(limits, near, few)
    assert found == {"ok": {"unknown": 1, "clips": 3}, "fault": {"unknown": 2, "clips": 2}}
    numbers = {"test": {**rejection_stats(limits, near, few), "classes": found}}
    assert _unknown(numbers).endswith("0.0 % of these wrongly; unknown are 2 of 2 fault, 1 of 3 ok")
    assert _unknown({"test": rejection_stats(limits, near, few)}).endswith("of these wrongly")  # of a run before this


def test_a_model_keeps_its_limits_and_says_unknown(trained: Path) -> None:
    classifier = es.Classifier.load(trained / "run")
    numbers = json.loads((trained / "run" / "metrics.json").read_text())["unknown"]
    assert classifier.unknown == UnknownLimits(numbers["least_familiarity"], numbers["least_confidence"])
    assert classifier.directions is not None
    assert 0 < classifier.unknown.least_familiarity < 1
    rows = list(csv.DictReader((trained / "run" / "clips.csv").open()))
    valid = [classifier.predict(row["path"]) for row in rows if row["part"] == "valid"]
    assert {of["clips"] for of in numbers["test"]["classes"].values()} == {2}
    known = np.mean([not one.unknown for one in valid])
    assert known >= 0.75
    assert known == numbers["valid"]["coverage"]
    likeliest = [max(one.probabilities, key=one.probabilities.__getitem__) for one in valid]
    assert likeliest == [one.label for one in valid]
    for name in ("silence", "noise", "click"):
        said = classifier.predict(trained / f"{name}.wav")
        assert (said.answer, said.unknown) == ("unknown", True), (name, said)
        assert said.label in {"high", "low"}


def test_familiarity_is_the_cosine_to_what_training_clips_span(trained: Path) -> None:
    """Against the angle to the nearest mixture of the directions, as least squares find it."""
    classifier = es.Classifier.load(trained / "run")
    rows = list(csv.DictReader((trained / "run" / "clips.csv").open()))
    train_paths = [row["path"] for row in rows if row["part"] == "train"]
    found = [one.familiarity for one in classifier.predict_many(train_paths)]
    noise = classifier.predict(trained / "noise.wav").familiarity
    assert np.mean(found) > noise + 0.1
    assert max(found) <= 1
    assert classifier.directions is not None
    directions = classifier.directions.double().numpy()
    assert len(directions) == len(train_paths) // 8
    sound = fixed_crops(load_waveform(trained / "noise.wav", classifier.audio), classifier.audio)
    features = classifier.features_and_logits(sound)[0].double().numpy()[0]
    shares, *_ = np.linalg.lstsq(directions.T, features)
    nearest = directions.T @ shares
    assert noise == pytest.approx(features @ nearest / np.linalg.norm(features) / np.linalg.norm(nearest), abs=1e-5)


def test_directions_are_those_along_which_features_lie() -> None:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((64, 3)))
    of_clips = torch.from_numpy(rng.standard_normal((50, 3)) @ basis.T)
    directions = main_directions(torch.nn.functional.normalize(of_clips, dim=1).float())
    assert directions.shape == (3, 64)  # no fourth, which would be rounding
    assert torch.allclose(directions @ directions.t(), torch.eye(3), atol=1e-5)
    inside, outside = torch.from_numpy(basis[:, 0]).float(), torch.from_numpy(np.linalg.svd(basis.T)[2][-1]).float()
    between = (inside + outside) / math.sqrt(2)
    measured = familiarity(torch.stack([inside, outside, between]), directions)
    assert measured.numpy() == pytest.approx([1, 0, math.sqrt(0.5)], abs=1e-5)
    for clips, features, most in ((99, 16, 2), (16, 99, 2), (999, 512, 32), (3, 512, 1)):
        every = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((clips, features))), dim=1).float()
        assert main_directions(every).shape == (most, features)


def test_every_way_to_predict_says_the_same(trained: Path, tmp_path: Path) -> None:
    export(trained / "run", tmp_path / "m.onnx")
    sounds = [trained / f"{name}.wav" for name in ("silence", "noise")] + sorted((trained / "tones").rglob("*.wav"))
    by_run, by_file = (list(predict(model, sounds)) for model in (trained / "run", tmp_path / "m.onnx"))
    assert [row.label for row in by_run] == [row.label for row in by_file]
    assert [row.label for row in by_run[:2]] == ["unknown", "unknown"]
    assert {row.label for row in by_run} == {"unknown", "high", "low"}
    bare = list(predict(trained / "run", sounds, unknown=False))
    assert [row.label for row in bare] == [row.likeliest for row in by_run]
    command = [sys.executable, "-m", "earsight", "predict", tmp_path / "m.onnx", trained / "silence.wav"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (said["label"], said["unknown"]) == ("unknown", True)
    assert said["likeliest"] in said["probabilities"]
    said = json.loads(subprocess.run([*command, "--no-unknown"], capture_output=True, text=True, check=True).stdout)
    assert said["label"] in said["probabilities"]


def test_an_ensemble_measures_with_all_its_members(trained: Path, tmp_path: Path) -> None:
    settings = recipe(epochs=10, seed=1, mel=MEL, unknown={"coverage": 0.75})
    train(trained / "tones", recipe=settings, out=tmp_path / "other", threads=1)
    ensemble([trained / "run", tmp_path / "other"], tmp_path / "both", threads=1)
    one, other, both = (es.Classifier.load(run) for run in (trained / "run", tmp_path / "other", tmp_path / "both"))
    for name in ("noise.wav", "tones/low/low03.wav"):
        crops = fixed_crops(load_waveform(trained / name, one.audio), one.audio)
        alone = [float(member.answers(crops).familiarity[0]) for member in (one, other)]
        assert both.predict(trained / name).familiarity == pytest.approx(np.sqrt(np.mean(np.square(alone))), abs=1e-4)
    limits = [one.unknown.least_familiarity, other.unknown.least_familiarity]
    assert both.unknown.least_familiarity == pytest.approx(np.sqrt(np.mean(np.square(limits))))


def test_older_models_know_everything_and_damaged_ones_are_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    described = json.loads((tmp_path / "run" / "model.json").read_text())
    del described["unknown"]
    (tmp_path / "run" / "model.json").write_text(json.dumps(described))
    assert es.Classifier.load(tmp_path / "run").predict(trained / "noise.wav").unknown is False
    (tmp_path / "run" / "model.json").write_text(
        json.dumps({**described, "unknown": {"least_familiarity": 0.9, "least_confidence": 0.0}})
    )
    state = load_file(tmp_path / "run" / "model.safetensors")
    state["earsight.centres"] = state.pop("earsight.directions")  # a limit of another measure
    save_file(state, tmp_path / "run" / "model.safetensors")
    older = es.Classifier.load(tmp_path / "run")
    assert (older.directions, older.unknown) == (None, UnknownLimits())
    for wrong in ("no", {"least_familiarity": "x", "least_confidence": 0.0}, {"least_familiarity": 0.5}, [1]):
        (tmp_path / "run" / "model.json").write_text(json.dumps({**described, "unknown": wrong}))
        with pytest.raises(ModelError, match="its limits of the unknown are"):
            es.Classifier.load(tmp_path / "run")


def test_the_risk_is_kept_where_all_are_nearly_sure() -> None:
    sure = answers([1 - 1e-9] * 50 + [1 - 5e-6] * 10, [True] * 50 + [False] * 10)
    near = np.ones(60)
    limits = fit_unknown(near, sure, UnknownSettings(risk=0.05))
    assert rejection_stats(limits, near, sure) == {"coverage": 50 / 60, "risk": 0.0}
