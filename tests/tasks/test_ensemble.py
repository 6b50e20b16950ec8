"""Several runs as one model: real runs, real files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import earsight as es
from earsight.errors import ModelError, SettingsError
from earsight.network.ensemble import join_classifiers
from earsight.scores.predictions import read_csv
from earsight.tasks.crossval import crossval
from earsight.tasks.ensemble import ensemble
from earsight.tasks.train import train
from tests.conftest import called, write_tones
from tests.tasks.test_train import recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings on one split: only to be read."""
    root = tmp_path_factory.mktemp("ensemble")
    data = write_tones(root / "tones")
    table = root / "parts.csv"
    clips = sorted(data.rglob("*.wav"))
    parts = ["test" if n % 4 == 0 else "valid" if n % 4 == 1 else "train" for n in range(len(clips))]
    rows = [f"{path},{path.parent.name},{part}" for path, part in zip(clips, parts, strict=True)]
    table.write_text("\n".join(["path,label,part", *rows]) + "\n")
    for seed in (0, 1):
        train(table, recipe=recipe(seed=seed, epochs=4), split="column:part", out=root / f"seed{seed}", threads=1)
    return root


def test_it_is_the_mean_of_the_log_probabilities_of_its_members(runs: Path, tmp_path: Path) -> None:
    made = ensemble([runs / "seed0", runs / "seed1"], tmp_path / "both", threads=1)
    members = [es.Classifier.load(runs / f"seed{seed}") for seed in (0, 1)]
    assert members[0].temperature != members[1].temperature
    whole = es.Classifier.load(tmp_path / "both")
    for path in sorted((runs / "tones").rglob("*.wav"))[:3]:
        logs = [np.log(list(member.predict(path).probabilities.values())) for member in members]
        mean = np.exp(np.mean(logs, axis=0))
        found = list(whole.predict(path).probabilities.values())
        assert np.allclose(found, mean / mean.sum(), atol=1e-6)
    assert made.metrics is not None
    scored = read_csv(tmp_path / "both" / "predictions.csv")
    assert set(scored.paths) == set(read_csv(runs / "seed0" / "predictions.csv").paths)
    told = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert told["test"]["accuracy"] == made.metrics.accuracy == (scored.predicted == scored.truth).mean()
    again = es.evaluate(tmp_path / "both", threads=1)
    assert again.metrics.accuracy == made.metrics.accuracy
    assert "2 networks" in again.sentence


def test_what_any_member_warns_of_stands_beside_the_number(runs: Path, tmp_path: Path) -> None:
    caveats = ("speaker-dependent", "speaker-dependent, with leaks")
    for seed, caveat in enumerate(caveats):
        shutil.copytree(runs / f"seed{seed}", tmp_path / f"seed{seed}")
        file = tmp_path / f"seed{seed}" / "model.json"
        described = json.loads(file.read_text())
        file.write_text(json.dumps({**described, "split": {**described["split"], "caveat": caveat}}))
    done = called("ensemble", tmp_path / "seed0", tmp_path / "seed1", "--out", tmp_path / "both", "--threads", 1)
    assert "speaker-dependent, with leaks" in done.stdout
    told = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert told["test"]["caveat"] == told["split"]["caveat"] == "speaker-dependent, with leaks"
    assert es.evaluate(tmp_path / "both", threads=1).caveat == "speaker-dependent, with leaks"


def test_no_speaker_is_called_unheard_whom_one_member_may_have_heard(runs: Path, tmp_path: Path) -> None:
    for seed, independent in enumerate((True, False)):
        shutil.copytree(runs / f"seed{seed}", tmp_path / f"seed{seed}")
        file = tmp_path / f"seed{seed}" / "model.json"
        described = json.loads(file.read_text())
        described["split"] |= {"speaker_independent": independent, "caveat": ""}
        file.write_text(json.dumps(described))
    made = ensemble([tmp_path / "seed0", tmp_path / "seed1"], tmp_path / "both", threads=1)
    told = json.loads((tmp_path / "both" / "model.json").read_text())["split"]
    assert told["speaker_independent"] is False
    assert "whether their speakers or recordings were is not known for all members" in made.sentence
    described["split"]["speaker_independent"] = True
    file.write_text(json.dumps(described))
    alike = ensemble([tmp_path / "seed0", tmp_path / "seed1"], tmp_path / "alike", threads=1)
    assert json.loads((tmp_path / "alike" / "model.json").read_text())["split"]["speaker_independent"] is True
    assert "not known" not in alike.sentence


def test_the_folds_of_a_cross_validation_leave_no_test_clip(tones: Path, tmp_path: Path) -> None:
    crossval(tones, folds="group:2", recipe=recipe(epochs=1), out=tmp_path / "cv", group_pattern=r"(\d)\.wav")
    done = called("ensemble", tmp_path / "cv", "--out", tmp_path / "whole")
    assert "every clip was used to train one of them" in done.stdout
    parts = [row["part"] for row in csv.DictReader((tmp_path / "whole" / "clips.csv").open())]
    assert len(parts) == 24
    assert "test" not in parts
    assert not (tmp_path / "whole" / "metrics.json").exists()
    assert es.Classifier.load(tmp_path / "whole").predict(next(tones.rglob("*.wav"))).label in {"high", "low"}


def test_what_does_not_fit_together_is_refused(runs: Path, tmp_path: Path) -> None:
    for bad, message in (
        ([runs / "seed0"], "two members or more, got 1"),
        ([runs / "seed0", runs / "seed0"], "named twice"),
        ([runs / "seed0", tmp_path / "none"], "no such run folder"),
    ):
        with pytest.raises((ModelError, SettingsError), match=message):
            ensemble(bad, tmp_path / "out")
    one = es.Classifier.load(runs / "seed0")
    other = es.Classifier(one.labels, one.audio, one.mel.model_copy(update={"n_mels": 16}), one.network_settings)
    with pytest.raises(ModelError, match="member 2 has other mel"):
        join_classifiers([one, other])
    ensemble([runs / "seed0", runs / "seed1"], tmp_path / "both", threads=1)
    with pytest.raises(SettingsError, match="is not empty"):
        ensemble([runs / "seed0", runs / "seed1"], tmp_path / "both")
    with pytest.raises(ModelError, match="an ensemble already"):
        ensemble([tmp_path / "both", runs / "seed0"], tmp_path / "third")


def test_damaged_members_are_refused(runs: Path, tmp_path: Path) -> None:
    ensemble([runs / "seed0", runs / "seed1"], tmp_path / "both", threads=1)
    whole = json.loads((tmp_path / "both" / "model.json").read_text())
    for members in ([{}, {}], "two", [{"network": {"model": 3}, "temperature": 1.0}] * 2, whole["members"][:1]):
        (tmp_path / "both" / "model.json").write_text(json.dumps({**whole, "members": members}))
        with pytest.raises(ModelError):
            es.Classifier.load(tmp_path / "both")


def test_members_may_be_other_networks(runs: Path) -> None:
    one = es.Classifier.load(runs / "seed0")
    settings = one.network_settings.model_copy(update={"model": "test_resnet", "pretrained": False})
    torch.manual_seed(0)
    other = es.Classifier(one.labels, one.audio, one.mel, settings).eval()
    both = join_classifiers([one, other])
    crops = np.random.default_rng(0).standard_normal((2, 1, 8000)).astype(np.float32)
    logs = np.log(one.probabilities(crops)) + np.log(other.probabilities(crops))
    expected = np.exp(logs / 2) / np.exp(logs / 2).sum(1, keepdims=True)
    assert np.allclose(both.probabilities(crops), expected, atol=1e-6)


def test_a_comparison_says_what_belongs_beside_each_and_refuses_a_training_score(runs: Path, tmp_path: Path) -> None:
    for seed, caveat in enumerate(("", "with leaks")):
        shutil.copytree(runs / f"seed{seed}", tmp_path / f"seed{seed}")
        file = tmp_path / f"seed{seed}" / "metrics.json"
        numbers = json.loads(file.read_text())
        numbers["test"]["caveat"] = caveat
        file.write_text(json.dumps(numbers))
    done = called("compare", tmp_path / "seed0", tmp_path / "seed1")
    assert "note: the score of B is not on unseen speakers or recordings: with leaks\n" in done.stdout
    assert "note: A" not in done.stdout
    file.write_text(json.dumps({"train": {**numbers["test"], "caveat": "training score"}}))
    done = called("compare", tmp_path / "seed0", tmp_path / "seed1")
    assert done.returncode == 2
    assert "seed1 was scored on the clips that it was trained on, " in done.stderr
    assert called("compare", tmp_path / "seed1", tmp_path / "seed1").returncode == 0


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(runs: Path, tmp_path: Path) -> None:
    for device, threads, words in (("foo", 1, "no device 'foo'"), ("cpu", 0, "--threads")):
        with pytest.raises(SettingsError, match=words):
            ensemble([runs / "seed0", runs / "seed1"], tmp_path / "both", device=device, threads=threads)
    assert list(tmp_path.iterdir()) == []


def test_it_is_made_though_its_test_recordings_were_moved(runs: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        shutil.copytree(runs / f"seed{seed}", tmp_path / f"seed{seed}")
        file = tmp_path / f"seed{seed}" / "clips.csv"
        file.write_text(file.read_text().replace(str(runs / "tones"), str(tmp_path / "gone")))
    made = ensemble([tmp_path / "seed0", tmp_path / "seed1"], tmp_path / "both", threads=1)
    assert made.metrics is None
    assert "; not scored: " in made.sentence
    path = next((runs / "tones").rglob("*.wav"))
    assert es.Classifier.load(tmp_path / "both").predict(path).label in {"high", "low"}
