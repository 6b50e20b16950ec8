"""Several labels a clip, the whole way: tones that can sound together."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import earsight as es
from earsight.errors import DataError, EarsightError, ModelError, SettingsError
from earsight.network.checkpoint import save_fitted
from earsight.network.head import SigmoidHead, SoftmaxHead
from earsight.scores.dispatch import read_csv
from earsight.scores.multilabel import MultiMetrics, MultiPredictions
from earsight.tasks.compare import compare
from earsight.tasks.crossval import crossval
from earsight.tasks.evaluate import evaluate
from earsight.tasks.export import export
from earsight.tasks.machine.devices import Machine
from earsight.tasks.predict import predict
from earsight.tasks.train import train
from earsight.tasks.training.plan import plan_training
from earsight.terminal import answer_line
from tests.conftest import called, learned, tone, whole_pictures, write_mixtures, write_tones

QUICK = {
    "batch_size": 8,
    "audio": {"crop_s": 0.5},
    "mel": {"n_mels": 32},
    "network": {"model": "test_efficientnet", "pretrained": False},
    "optimizer": {"lr": 3e-3, "warmup_epochs": 0.5},
}


def recipe(**changes: object) -> es.Recipe:
    return es.Recipe.named("default", {**QUICK, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of mixtures of tones and the run, with masks and mixup: only to be read."""
    root = tmp_path_factory.mktemp("several")
    table = write_mixtures(root / "data")
    with whole_pictures():
        result = train(table, recipe=recipe(epochs=25), out=root / "run", threads=1)
    assert isinstance(result.test, MultiMetrics)
    return root


@pytest.fixture
def run(trained: Path) -> Path:
    return trained / "run"


def written(path: Path, *hz: float) -> Path:
    """A recording of tones that sound together."""
    sound = sum((tone(one, 0.5, gain=0.22) for one in hz), 0.01 * np.random.default_rng(9).standard_normal(8000))
    soundfile.write(path, sound, 16000)
    return path


def test_tones_that_sound_together_are_learned_on_groups_never_heard(run: Path) -> None:
    numbers = json.loads((run / "metrics.json").read_text())
    assert numbers["test"]["map"] > 0.9
    assert numbers["test"]["macro_f1"] > 0.8
    assert numbers["clips"] == {"train": 40, "valid": 16, "test": 16}
    assert set(numbers["thresholds"]) == {"high", "low", "middle"}
    described = json.loads((run / "model.json").read_text())
    assert described["task"] == "multilabel"
    assert described["thresholds"] == list(numbers["thresholds"].values())
    assert described["split"]["speaker_independent"] is True


def test_the_epoch_is_chosen_by_the_mean_average_precision_of_validation(run: Path) -> None:
    history = list(csv.DictReader((run / "history.csv").open()))
    assert "valid_uar" not in history[0]
    scores = [float(row["valid_map"]) for row in history]
    kept = json.loads((run / "metrics.json").read_text())["best_epoch"]
    best = max(range(len(scores)), key=lambda i: (scores[i], i))
    near = [i for i, score in enumerate(scores, 1) if score >= scores[best] - float(history[best]["valid_error"])]
    assert kept == near[-1]


def test_a_clip_of_two_tones_gets_two_labels_and_noise_none(run: Path, tmp_path: Path) -> None:
    classifier = es.Classifier.load(run)
    for hz, names in (((300, 3000), {"low", "high"}), ((300, 1000), {"low", "middle"}), ((1000,), {"middle"})):
        found = classifier.predict(written(tmp_path / "a.wav", *hz))
        assert found.labels is not None
        assert set(found.labels) == names
        assert found.labels[0] == found.label
        assert all(0 <= p <= 1 for p in found.probabilities.values())
    empty = classifier.predict(written(tmp_path / "none.wav"))
    assert empty.labels == ()


def test_prediction_tells_all_labels_over_their_thresholds(run: Path, tmp_path: Path) -> None:
    both, gone = written(tmp_path / "both.wav", 300, 3000), tmp_path / "gone.wav"
    first, lost = predict(run, [both, gone])
    assert {"low", "high"} == set(first.to_dict()["labels"])
    assert "label" not in first.to_dict()
    assert lost.to_dict()["labels"] is None
    assert "no such recording" in lost.to_dict()["error"]
    assert "(middle 0." in answer_line(first, 10)
    done = called("predict", run, both)
    assert set(json.loads(done.stdout)["labels"]) == {"low", "high"}


def test_thresholds_decide_what_is_predicted(run: Path, tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        shutil.copy(run / name, tmp_path)
    sound = written(tmp_path / "a.wav", 1000)
    classifier = es.Classifier.load(tmp_path)
    classifier.thresholds = (0.0, 1.0, 0.0)  # high, low, middle
    save_fitted(classifier, tmp_path)
    assert set(es.Classifier.load(tmp_path).predict(sound).labels or ()) == {"high", "middle"}
    described = json.loads((tmp_path / "model.json").read_text())
    for wrong in ([0.5], [0.5, 2, 0.5], None, "high"):
        (tmp_path / "model.json").write_text(json.dumps({**described, "thresholds": wrong}))
        with pytest.raises(ModelError, match="its thresholds are no number from 0 to 1 for each label"):
            es.Classifier.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**described, "task": "several"}))
    with pytest.raises(ModelError, match="its task is 'several'"):
        es.Classifier.load(tmp_path)


def test_evaluation_gives_the_numbers_of_training_and_scores_other_tables(run: Path, trained: Path) -> None:
    scored_then = json.loads((run / "metrics.json").read_text())["test"]
    again = evaluate(run)
    found = again.metrics.to_dict()
    assert found.pop("cross_entropy") == pytest.approx(scored_then.pop("cross_entropy"), rel=1e-5)
    assert found == scored_then
    kept = read_csv(run / "predictions.csv")
    assert isinstance(kept, MultiPredictions)
    np.testing.assert_array_equal(kept.truth, again.predictions.truth)
    np.testing.assert_array_equal(kept.predicted, again.predictions.predicted)
    with pytest.raises(DataError, match="leaks between"):
        evaluate(run, trained / "data" / "table.csv")
    rest = evaluate(run, trained / "data" / "table.csv", leaks="drop")
    assert rest.metrics.clips == 16


def test_the_report_has_every_label_and_its_threshold(run: Path) -> None:
    page = (run / "report.html").read_text()
    thresholds = json.loads((run / "metrics.json").read_text())["thresholds"]
    for text in ("mAP (mean average precision)", "Label by label", "Precision and recall", "Most confident mistakes"):
        assert text in page
    for label, threshold in thresholds.items():
        assert f"<bdi>{label}</bdi></th>" in page
        assert f'<td class="n">{threshold:.3f}</td>' in page
    assert "Confusion" not in page


def test_cross_validation_scores_each_clip_once_and_comparison_says_what_it_takes(
    trained: Path, tmp_path: Path
) -> None:
    settings, one = recipe(epochs=1), Machine(threads=1)
    done = crossval(trained / "data" / "table.csv", folds="group:2", recipe=settings, out=tmp_path / "cv", machine=one)
    assert done.scores is not None
    assert len(done.scores.runs[0].paths) == 72
    assert set(done.scores.scores) == {"map", "macro_f1", "micro_f1"}
    numbers = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert numbers["map"]["low95"] <= numbers["map"]["mean"] <= numbers["map"]["high95"]
    with pytest.raises(DataError, match="compare needs one label per clip"):
        compare(tmp_path / "cv", trained / "run")


def test_a_file_of_fewer_bits_says_what_it_costs_in_clips_with_every_label_right(run: Path, tmp_path: Path) -> None:
    clips = [row for row in csv.DictReader((run / "clips.csv").open()) if row["part"] == "valid"]
    assert {";" in row["label"] for row in clips} == {True, False}
    done = export(run, tmp_path / "small.onnx", quantize="fp16")
    assert done.real
    assert done.validated == len(clips)
    classifier, small = es.Classifier.load(run), es.load_model(tmp_path / "small.onnx")
    truth = [set(filter(None, row["label"].split(";"))) for row in clips]
    for model, told in zip((classifier, small), done.accuracy or (), strict=True):
        found = [set(model.predict(row["path"]).labels or ()) for row in clips]
        assert told == np.mean([one == other for one, other in zip(found, truth, strict=True)])


def test_the_task_is_found_in_the_data_or_asked_for(trained: Path, tmp_path: Path) -> None:
    table, tones = trained / "data" / "table.csv", write_tones(tmp_path / "tones")
    assert plan_training(table, recipe(), out=tmp_path / "r").multilabel
    assert not plan_training(tones, recipe(), out=tmp_path / "r").multilabel
    assert plan_training(tones, recipe(task="multilabel"), out=tmp_path / "r").multilabel
    with pytest.raises(DataError, match="--task single takes one label a clip; 45 of 72 have several or none, such as"):
        plan_training(table, recipe(task="single"), out=tmp_path / "r")
    with pytest.raises(SettingsError, match="setting task: "):
        recipe(task="several")


def test_a_folder_can_be_trained_as_if_clips_had_several(tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "tones")
    result = train(tones, recipe=recipe(epochs=1, task="multilabel"), out=tmp_path / "run", threads=1)
    assert isinstance(result.test, MultiMetrics)
    assert result.test.clips == 4


def test_a_model_of_one_label_is_not_scored_on_several(trained: Path, tmp_path: Path) -> None:
    learned(write_tones(tmp_path / "tones"), recipe(epochs=1), tmp_path / "run")
    with pytest.raises(DataError, match="have several labels or none, but the model of"):
        evaluate(tmp_path / "run", trained / "data" / "table.csv")


def test_one_label_or_none_is_a_data_set_too(trained: Path, tmp_path: Path) -> None:
    data = trained / "data"
    rows = [f"{data}/{n:03}.wav,{'low' if n & 1 else ';'}" for n in range(24)]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    result = train(tmp_path / "t.csv", recipe=recipe(epochs=1), out=tmp_path / "run", threads=1)
    assert isinstance(result.test, MultiMetrics)
    assert [row.label for row in result.test.per_class] == ["low"]
    clips = (tmp_path / "run" / "clips.csv").read_text()
    assert clips.count(",;,") == 12
    assert evaluate(tmp_path / "run").metrics.map == pytest.approx(result.test.map)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("000.wav,;\n001.wav,;\n", "no label in .*: none of 2 clips has one"),
        ("000.wav,low\n001.wav,\n", "no label in row 3"),
        ("000.wav,low;low\n001.wav,high\n", "no label, or the same label twice, in row 2"),
        ("000.wav,low;high\n001.wav,low\n002.wav,high\n", "too few clips to train, validate and test: class 'high'"),
    ],
)
def test_bad_tables_are_refused_before_anything_is_trained(
    trained: Path, tmp_path: Path, rows: str, message: str
) -> None:
    for line in rows.splitlines():
        shutil.copy(trained / "data" / line.split(",")[0], tmp_path)
    (tmp_path / "t.csv").write_text("path,label\n" + rows)
    with pytest.raises(EarsightError, match=message):
        train(tmp_path / "t.csv", recipe=recipe(epochs=1), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_losses_and_answers_of_both_heads() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.25]])
    targets = torch.tensor([[1.0, 0.0], [0.7, 1.0]])
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t = targets.double().numpy()
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    assert float(SigmoidHead().loss(logits, targets)) == pytest.approx(expected, rel=1e-6)
    smooth, of_class = 0.8 * t + 0.1, np.array([0.5, 2.0])
    expected = -(of_class * smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).mean()
    weighted = SigmoidHead().loss(logits, targets, torch.tensor([0.5, 2.0]), smoothing=0.2)
    assert float(weighted) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(SigmoidHead().probabilities(logits), p, rtol=1e-6)
    assert SigmoidHead().is_correct(logits, targets).tolist() == [True, True]
    assert SigmoidHead().is_correct(logits, 1 - targets).tolist() == [False, False]
    assert SoftmaxHead().is_correct(logits, targets).tolist() == [True, False]
    assert SoftmaxHead().probabilities(logits).sum(1).tolist() == pytest.approx([1, 1])
