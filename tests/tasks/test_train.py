"""The whole way on small real files: train, stop, resume, evaluate, predict."""

import base64
import csv
import functools
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import earsight as es
from earsight.dataset.split import split
from earsight.dataset.synth import write_corpus
from earsight.errors import DataError, EarsightError, ModelError, SettingsError, TrainingError
from earsight.scores.calibration import fit_temperature, reliability, with_temperature
from earsight.scores.predictions import Predictions, read_csv
from earsight.tasks.evaluate import evaluate
from earsight.tasks.machine.devices import Machine
from earsight.tasks.predict import predict
from earsight.tasks.train import check_batches, train
from earsight.tasks.training import loop, run_report, state
from earsight.tasks.training.plan import plan_training
from tests.conftest import called, learned, stop_in_epoch, tone, whole_pictures, write_tones

QUICK = {
    "epochs": 3,
    "batch_size": 8,
    "audio": {"crop_s": 0.5},
    "mel": {"n_mels": 32},
    "augment": {"mixup_alpha": 0.0},
    "network": {"model": "test_efficientnet", "pretrained": False},
    "optimizer": {"lr": 3e-3, "warmup_epochs": 0.5},
}


def recipe(**changes: object) -> es.Recipe:
    return es.Recipe.named("default", {**QUICK, **changes})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings (tones) and the run: only to be read."""
    root = tmp_path_factory.mktemp("trained")
    with whole_pictures():
        train(write_tones(root / "tones"), recipe=recipe(epochs=30), out=root / "run", threads=1)
    return root


@pytest.fixture
def run(trained: Path) -> Path:
    return trained / "run"


def test_two_tones_are_told_apart_and_the_run_folder_is_whole(run: Path) -> None:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names == {
        "model.safetensors",
        "model.json",
        "history.csv",
        "metrics.json",
        "clips.csv",
        "predictions.csv",
        "report.html",
        "figures/images.png",
        "figures/loss.png",
        "figures/accuracy.png",
        "figures/confusion.png",
        "figures/reliability.png",
        "figures/risk-coverage.png",
        "figures/precision-recall.png",
        "figures/false-alarms.png",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == 1.0
    assert metrics["test"]["clips"] == 4  # 20 % of twelve, twice
    assert metrics["clips"] == {"train": 16, "valid": 4, "test": 4}
    history = list(csv.DictReader((run / "history.csv").open()))
    assert [int(row["epoch"]) for row in history] == list(range(1, 31))
    described = json.loads((run / "model.json").read_text())
    assert described["labels"] == ["high", "low"]
    assert described["recipe"]["mel"]["n_mels"] == 32
    assert described["split"]["speaker_independent"] is False


def test_model_loads_and_predicts_in_a_fresh_process_without_a_network(
    run: Path, trained: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(run / name, alone)
    blocked = (
        "import socket\n"
        "def refuse(*a, **k): raise OSError('no network in this test')\n"
        "socket.socket.connect = refuse\n"
        "import earsight as es, sys, torch\n"
        "torch.set_num_threads(int(sys.argv[3]))\n"  # another number adds in another order
        "print(es.Classifier.load(sys.argv[1]).predict(sys.argv[2]))\n"
    )
    path = trained / "tones" / "low" / "low03.wav"
    command = [sys.executable, "-c", blocked, alone, path, str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Prediction(label='low'")
    assert done.stdout.strip() == str(es.Classifier.load(run).predict(path))


def test_evaluation_and_prediction_run_the_numbers_of_training(run: Path) -> None:
    again = evaluate(run)
    scored_then = json.loads((run / "metrics.json").read_text())["test"]
    assert again.metrics.confusion.tolist() == scored_then["confusion"]
    assert again.metrics.cross_entropy == pytest.approx(scored_then["cross_entropy"], rel=1e-4)
    assert again.warning == ""
    rows = {str(row.path): row.probabilities for row in predict(run, list(again.predictions.paths))}
    for path, scored in zip(again.predictions.paths, again.predictions.probabilities, strict=True):
        assert list((rows[path] or {}).values()) == pytest.approx(scored.tolist(), abs=1e-6)


def test_clips_heard_in_training_are_refused_left_out_or_named(run: Path, trained: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    for number, path in enumerate(sorted((trained / "tones").rglob("*.wav"))):
        other = renamed / path.parent.name / f"{number}.flac"
        other.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(other, *soundfile.read(path, dtype="int16"))
    with pytest.raises(
        DataError, match=r"20 leaks between .*high00\.wav \(train\) and .*\.flac \(test\), identical audio"
    ):
        evaluate(run, renamed)
    unheard = evaluate(run, renamed, leaks="drop")
    assert (unheard.metrics.clips, len(unheard.dropped), unheard.caveat) == (4, 20, "")
    assert unheard.metrics.confusion.tolist() == evaluate(run).metrics.confusion.tolist()
    allowed = evaluate(run, renamed, leaks="allow")
    assert (allowed.metrics.clips, allowed.caveat) == (24, "with leaks")
    assert all(failure.reason.startswith("left out of test: identical audio, as ") for failure in unheard.dropped)


def test_spans_that_were_heard_are_known_by_a_relative_path_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for day in range(4):
        soundfile.write(tmp_path / f"{day}.wav", 0.1 * rng.standard_normal(48000), 16000)
    for name, start in (("then", 0.0), ("now", 0.2)):
        spans = [(day, start + n, "xy"[n % 2]) for day in range(4) for n in range(2)]
        rows = [
            f"{day}.wav,{label},{start},{start + 0.6},{'test' if day == 3 else 'train'}" for day, start, label in spans
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label,start,end,part", *rows]) + "\n")
    train(
        tmp_path / "then.csv",
        recipe=recipe(epochs=1),
        split="column:part",
        out=tmp_path / "run",
        threads=1,
        leaks="allow",
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"6 leaks .*overlapping spans of a recording"):
        evaluate(Path("run"), Path("now.csv"))
    assert evaluate(Path("run"), Path("now.csv"), leaks="drop").metrics.clips == 2


def test_a_model_without_its_clips_still_knows_whom_it_has_heard(tmp_path: Path) -> None:
    """As it comes from the hub."""
    write_corpus(tmp_path / "corpus", speakers=5, takes=1)
    train(tmp_path / "corpus", recipe=recipe(epochs=1), out=tmp_path / "run", threads=1)
    data = json.loads((tmp_path / "run" / "model.json").read_text())["data"]
    heard = data["trained_groups"] + data["validated_groups"]
    assert len(heard) == 4
    (tmp_path / "run" / "clips.csv").unlink()
    with pytest.raises(DataError, match=f"what was heard of speaker {min(heard)} .train. and .*, the same speaker"):
        evaluate(tmp_path / "run", tmp_path / "corpus")
    found = evaluate(tmp_path / "run", tmp_path / "corpus", leaks="drop")
    assert not set(found.predictions.groups) & set(heard)
    assert len(set(found.predictions.groups)) == 1
    assert (
        found.warning == "the run has no clips.csv, so only speakers are checked for leaks, not copies of their clips"
    )


def test_a_test_clip_that_changed_since_is_noticed(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    table = (moved / "clips.csv").read_text()
    path = next(row["path"] for row in csv.DictReader(table.splitlines()) if row["part"] == "test")
    other = tmp_path / "other.wav"
    soundfile.write(other, tone(700, 0.5), 16000)
    (moved / "clips.csv").write_text(table.replace(path, str(other)))
    assert evaluate(moved).warning == "1 of 4 test clips have changed since the training"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tones: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tones, recipe=recipe(seed=seed, epochs=2), out=tmp_path / name, threads=1)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_a_resumed_run_equals_one_never_stopped(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_mixup = recipe(augment={"mixup_alpha": 0.3})
    learned(tones, with_mixup, tmp_path / "whole", split="none")
    real_save = state.save_classifier

    def stop_in_the_third_epoch(classifier: object, run: Path, facts: dict[str, int]) -> None:
        real_save(classifier, run, facts)  # type: ignore[arg-type]
        if facts["epoch"] == 2:
            monkeypatch.setattr(loop, "augmented_images", interrupt)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "save_classifier", stop_in_the_third_epoch)
    stopped = train(tones, recipe=with_mixup, out=tmp_path / "cut", split="none", threads=1)
    assert (stopped.interrupted, stopped.test) == (True, None)
    assert es.Classifier.load(tmp_path / "cut").labels == ("high", "low")  # usable
    with pytest.raises(
        TrainingError, match=r"with other settings: epochs was 3, is 9; augment\.mixup_alpha was 0\.3, is 0\.0"
    ):
        train(tones, recipe=recipe(epochs=9), out=tmp_path / "cut", split="none", resume=True)
    monkeypatch.undo()
    resumed = train(tones, recipe=with_mixup, out=tmp_path / "cut", split="none", resume=True, threads=1)
    assert not resumed.interrupted
    assert same(tmp_path / "whole", tmp_path / "cut")
    for name in ("train_loss", "train_accuracy"):
        columns = [
            [row[name] for row in csv.DictReader((tmp_path / r / "history.csv").open())] for r in ("whole", "cut")
        ]
        assert columns[0] == columns[1]
        assert len(columns[0]) == 3
    with pytest.raises(SettingsError, match="so it is either finished or not a run"):
        train(tones, recipe=with_mixup, out=tmp_path / "cut", split="none", resume=True)


def test_a_run_that_was_stopped_while_it_was_reported_is_calibrated_as_any_other(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tones, recipe=recipe(), out=tmp_path / "whole", threads=1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_report, "write_report", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tones, recipe=recipe(), out=tmp_path / "cut", threads=1)
    monkeypatch.undo()
    train(tones, recipe=recipe(), out=tmp_path / "cut", threads=1, resume=True)
    for key in ("calibration", "unknown", "valid", "test"):
        one, two = (json.loads((tmp_path / name / "metrics.json").read_text())[key] for name in ("whole", "cut"))
        assert one == two
    told = [json.loads((tmp_path / name / "model.json").read_text()) for name in ("whole", "cut")]
    assert told[0]["temperature"] == told[1]["temperature"] != 1


def test_a_run_in_mixed_precision_goes_on_as_one_never_stopped(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, half = recipe(epochs=3), {"accelerator": "cpu", "precision": "bf16-mixed"}
    learned(tones, settings, tmp_path / "whole", **half)
    learned(tones, settings, tmp_path / "single", accelerator="cpu")
    assert not same(tmp_path / "whole", tmp_path / "single")
    stop_in_epoch(monkeypatch, 3)
    learned(tones, settings, tmp_path / "cut", **half)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="precision was bf16-mixed, is 32-true"):
        learned(tones, settings, tmp_path / "cut", resume=True, accelerator="cpu")
    learned(tones, settings, tmp_path / "cut", resume=True, **half)
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_a_compiled_network_is_kept_as_any_other(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's eager backend: the others want a C++ compiler, and minutes."""
    compiled = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", compiled)
    run = learned(tones, recipe(epochs=1), tmp_path / "run", accelerator="cpu", compiled=True)
    assert not [name for name in weights(run) if "_orig_mod" in name]
    plain = learned(tones, recipe(epochs=1), tmp_path / "plain", accelerator="cpu")
    assert all(torch.allclose(value, weights(plain)[name], atol=1e-5) for name, value in weights(run).items())


def test_a_killed_run_goes_on(tones: Path, tmp_path: Path) -> None:
    """A real process, a real kill -9."""
    command = [
        sys.executable,
        "-m",
        "earsight",
        "train",
        tones,
        "--out",
        tmp_path / "run",
        "--model",
        "test_efficientnet",
        "--no-pretrained",
        "--epochs",
        "20",
        "--batch-size",
        "8",
        "--audio.crop-s",
        "0.5",
        "--threads",
        "1",
    ]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("epoch   2"):
            running.kill()
            break
    running.wait()
    running.stderr.close()
    assert len(list(csv.DictReader((tmp_path / "run" / "history.csv").open()))) < 20
    done = called(*command[3:], "--resume")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert "epoch   1/" not in done.stderr
    assert len(list(csv.DictReader((tmp_path / "run" / "history.csv").open()))) == 20
    assert not list((tmp_path / "run").glob("*.part"))


def test_ctrl_c_leaves_a_usable_run(tones: Path, tmp_path: Path) -> None:
    """A real process, a real interrupt."""
    command = [
        *(sys.executable, "-m", "earsight", "train", tones, "--out", tmp_path / "run", "--model", "test_efficientnet"),
        *("--no-pretrained", "--epochs", "200", "--batch-size", "8", "--audio.crop-s", "0.5", "--threads", "1"),
    ]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("epoch   2"):
            running.send_signal(signal.SIGINT)
            break
    _, rest = running.communicate()
    assert running.returncode == 130
    assert f"the run can be used (earsight evaluate {tmp_path / 'run'}); to continue, run the same command with" in rest
    assert "Traceback" not in rest
    assert evaluate(tmp_path / "run").metrics.clips == 4


# Of audiomentations, which draws from global generators.
NOISE = '[[transforms]]\ntransform = "AddGaussianSNR"\nmin_snr_db = 0.0\nmax_snr_db = 20.0\np = 0.8\n'

# Without batch norm and dropout: what is normalised over a batch, or drawn in the network, is each process's own.
ALIKE = {
    "batch_size": 7,
    "network": {"model": "test_convnext", "pretrained": False, "drop_rate": 0.0, "drop_path_rate": 0.0},
    "optimizer": {"name": "sgd", "lr": 0.05},
}


def test_two_processes_train_the_network_that_one_trains(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_text(NOISE)
    (tmp_path / "alike.toml").write_text(
        f"augment = {{pipeline = '{tmp_path / 'noise.toml'}'}}\n"
        "epochs = 2\nbatch_size = 7\nrefit = true\naudio = {crop_s = 0.5}\noptimizer = {name = 'sgd', lr = 0.05}\n"
        "network = {model = 'test_convnext', pretrained = false, drop_rate = 0.0, drop_path_rate = 0.0}\n"
    )
    train(tones, recipe=tmp_path / "alike.toml", out=tmp_path / "1", threads=1)
    command = [
        *(sys.executable, "-m", "earsight", "train", tones, "--out", tmp_path / "2", "--threads", "1"),
        *("--recipe", tmp_path / "alike.toml", "--accelerator", "cpu", "--devices", "2"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("accuracy") == 1  # one of them speaks
    assert done.stderr.count("epoch   2/2") == done.stderr.count("; refit: training again from the start") == 1
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    assert all(torch.allclose(one[key], two[key], atol=1e-6) for key in one)
    for name in ("history.csv", "history-refit.csv"):
        histories = [(tmp_path / devices / name).read_text().splitlines()[1:] for devices in "12"]
        for alone, together in zip(*histories, strict=True):  # every clip once: loss and accuracy of all of them
            assert alone.split(",")[:7] == together.split(",")[:7]
    assert json.loads((tmp_path / "2" / "metrics.json").read_text())["test"]["clips"] == 4


def test_a_pipeline_changes_what_is_learned_and_is_the_same_again_and_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noise.toml").write_text(NOISE)
    data = write_tones(tmp_path / "tones")
    plain = recipe(epochs=2)
    noisy = recipe(epochs=2, augment={"mixup_alpha": 0.0, "pipeline": str(tmp_path / "noise.toml")})
    whole = learned(data, noisy, tmp_path / "whole")
    assert same(whole, learned(data, noisy, tmp_path / "again"))
    told = json.loads((whole / "model.json").read_text())["pipeline"]
    assert told == [{"transform": "AddGaussianSNR", "min_snr_db": 0.0, "max_snr_db": 20.0, "p": 0.8}]
    assert not same(whole, learned(data, plain, tmp_path / "plain"))
    with monkeypatch.context() as patch:
        stop_in_epoch(patch, 2)
        learned(data, noisy, tmp_path / "stopped")
    (tmp_path / "noise.toml").write_text(NOISE.replace("20.0", "21.0"))
    with pytest.raises(TrainingError, match=r"the transforms in .*noise.toml have changed; use the same"):
        learned(data, noisy, tmp_path / "stopped", resume=True)
    (tmp_path / "noise.toml").write_text(NOISE)
    assert same(whole, learned(data, noisy, tmp_path / "stopped", resume=True))


def test_what_is_wrong_with_a_pipeline_is_told_before_anything_is_decoded(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_text('[[transforms]]\ntransform = "AddGaussianSNL"\n')
    done = called(
        "train", tones, "--augment.pipeline", tmp_path / "noise.toml", "--no-pretrained", "--out", tmp_path / "run"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "no transform 'AddGaussianSNL'; did you mean AddGaussianSNR" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("clip_grad_norm", [0, 1])
def test_gradients_that_are_no_numbers_end_training_in_one_line(tmp_path: Path, clip_grad_norm: int) -> None:
    """Of silence: batch norm multiplies them, layer by layer."""
    for number in range(12):
        for label in ("a", "b"):
            (tmp_path / "silent" / label).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "silent" / label / f"{number}.wav", np.zeros(8000), 16000)
    done = called(
        *("train", tmp_path / "silent", "--split", "random", "--leaks", "allow", "--model", "test_efficientnet"),
        *("--no-pretrained", "--epochs", "1", "--batch-size", "8", "--threads", "1", "--out", tmp_path / "run"),
        *("--optimizer.clip-grad-norm", clip_grad_norm),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "earsight: the loss or its gradient is NaN or infinite in epoch 1, step 1; no epoch was kept"
    )


def test_accumulated_batches_are_one_large_batch(tones: Path, tmp_path: Path) -> None:
    off = {"augment": {"speed": 0.0, "mixup_alpha": 0.0, "time_masks": 0, "freq_masks": 0}, "audio": {"crop_s": 0.5}}
    whole = {**ALIKE, **off, "epochs": 2, "batch_size": 8}
    small = {**whole, "batch_size": 4}
    for name, changes in (("whole", whole), ("small", small), ("parts", {**small, "accumulate": 2})):
        learned(tones, es.Recipe.named("default", changes), tmp_path / name)
    one, parts, other = (weights(tmp_path / name) for name in ("whole", "parts", "small"))
    assert all(torch.allclose(one[key], parts[key], atol=1e-6) for key in one)
    assert not all(torch.allclose(one[key], other[key], atol=1e-4) for key in one)


def test_more_processes_than_clips_in_a_batch_are_refused(tones: Path, tmp_path: Path) -> None:
    plan = plan_training(tones, recipe(batch_size=2), recipe_name="quick", split_kind="random", out=tmp_path / "run")
    with pytest.raises(SettingsError, match="3 processes share a batch of 2 clips; raise --batch-size to 6"):
        check_batches(plan, Machine(devices=3))


def test_the_most_confident_mistakes_are_explained_where_there_are_any(tmp_path: Path) -> None:
    """Of noise, whose labels nothing tells."""
    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(8000), 16000)
    run = train(tmp_path / "data", recipe=recipe(epochs=1), out=tmp_path / "run", threads=1).run
    wrong = read_csv(run / "predictions.csv").mistakes(4)
    assert wrong
    drawn = (run / "figures" / "mistakes.png").read_bytes()
    assert base64.b64encode(drawn).decode() in (run / "report.html").read_text()


def test_the_temperature_is_fitted_on_validation_clips_and_kept(trained: Path) -> None:
    run = trained / "run"
    classifier = es.Classifier.load(run)
    told = json.loads((run / "metrics.json").read_text())["calibration"]
    assert classifier.temperature == told["temperature"] == json.loads((run / "model.json").read_text())["temperature"]
    scored = read_csv(run / "predictions.csv")
    assert reliability(scored).error == told["ece"]
    before = with_temperature(scored, 1 / classifier.temperature)
    assert reliability(before).error == told["ece_uncalibrated"]
    parts = list(csv.DictReader((run / "clips.csv").open()))
    valid = [row for row in parts if row["part"] == "valid"]
    classifier.temperature = 1.0
    answers = np.array([list(classifier.predict(row["path"]).probabilities.values()) for row in valid])
    truth = np.array([classifier.labels.index(row["label"]) for row in valid])
    names = tuple(row["path"] for row in valid)
    again = Predictions(classifier.labels, names, truth, answers, ("",) * len(valid))
    assert fit_temperature(again) == pytest.approx(told["temperature"], rel=1e-4)


@pytest.mark.parametrize("value", ["0", "-1", "null", '"2"', "Infinity", "true"])
def test_a_damaged_temperature_is_refused(trained: Path, tmp_path: Path, value: str) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    described = json.loads((tmp_path / "run" / "model.json").read_text())
    text = json.dumps({**described, "temperature": "HERE"}).replace('"HERE"', value)
    (tmp_path / "run" / "model.json").write_text(text)
    with pytest.raises(ModelError, match="its temperature is"):
        es.Classifier.load(tmp_path / "run")


def test_nan_loss_names_the_clips_and_keeps_the_last_good_network(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = loop.augmented_images, []

    def poison(image: object, crops: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        return real(image, crops * (math.nan if len(calls) == 3 else 1), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "augmented_images", poison)
    with pytest.raises(
        TrainingError, match=r"NaN or infinite in epoch 2, step 1; the network of epoch 1 is kept"
    ) as error:
        train(tones, recipe=recipe(), out=tmp_path / "run", threads=1)
    named = [word for word in str(error.value).replace(",", " ").split() if word.endswith(".wav")]
    assert len(named) == 8
    assert all(Path(name).is_file() for name in named)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_a_gpu_whose_memory_ends_says_what_to_lower(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mocked: what torch raises."""

    def ended(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")

    monkeypatch.setattr(loop, "train_epoch", ended)
    said = called("train", tones, "--no-pretrained", "--model", "test_efficientnet", "--out", tmp_path / "run")
    assert said.returncode == 2
    told = said.stderr.splitlines()[-1]
    assert told.startswith("earsight: a batch of 32 does not fit in the GPU's memory (CUDA out of memory. Tried to")
    assert "halve --batch-size and double --accumulate" in told


def test_silence_is_no_nan_and_bad_files_are_listed(tones: Path, tmp_path: Path) -> None:
    for number in range(3):
        soundfile.write(tones / "low" / f"silent{number}.wav", np.zeros(8000), 16000)
    (tones / "high" / "broken.wav").write_text("no sound")
    (tones / "high" / "empty.wav").touch()
    threads, drawn = torch.get_num_threads(), torch.get_rng_state()
    with pytest.warns(UserWarning, match=r"^2 left out, the first: .*broken\.wav.* \(result\.failures\)"):
        result = train(tones, recipe=recipe(epochs=1), out=tmp_path / "run", threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), drawn)
    assert result.test is not None
    assert [failure.path.name for failure in result.failures] == ["broken.wav", "empty.wav"]
    said = f"accuracy {result.test.accuracy:.3f}, UAR {result.test.uar:.3f}, macro-F1 {result.test.macro_f1:.3f}"
    assert repr(result).startswith(f"<TrainResult {tmp_path / 'run'}: {said}, epoch 1, 2 left out")
    assert repr(es.read_dataset(tones)) == f"<DataSet folder in {tones}: 29 clips from 29 files, 2 labels>"
    report = (tmp_path / "run" / "report.html").read_text()
    assert "2 files are in no score" in report
    assert "broken.wav" in report
    assert "empty file (0 bytes)" in report
    with pytest.raises(EarsightError, match=r"broken\.wav|empty\.wav"):
        train(tones, recipe=recipe(), out=tmp_path / "strict", strict=True, threads=1)


def test_split_none_says_that_it_is_the_training_score(tones: Path, tmp_path: Path) -> None:
    result = train(tones, recipe=recipe(epochs=1), out=tmp_path / "run", split="none", threads=1)
    assert result.test is not None
    assert result.test.clips == 24
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "train" in metrics
    assert "test" not in metrics
    assert "This is the training score" in (tmp_path / "run" / "report.html").read_text()
    assert evaluate(tmp_path / "run").caveat == "training score"


def test_nobody_in_the_test_set_is_heard_in_training(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", speakers=5, takes=1)
    train(tmp_path / "corpus", recipe=recipe(epochs=1), out=tmp_path / "run", threads=1)
    with (tmp_path / "run" / "clips.csv").open() as file:
        groups: dict[str, set[str]] = {}
        for row in csv.DictReader(file):
            groups.setdefault(row["part"], set()).add(row["group"])
    assert sorted(map(len, groups.values())) == [1, 1, 3]
    assert not groups["train"] & groups["test"]
    assert "Synthetic voices" in (tmp_path / "run" / "report.html").read_text()


def test_the_kept_epoch_is_the_last_that_validation_clips_do_not_tell_from_the_best(
    tones: Path, tmp_path: Path
) -> None:
    train(tones, recipe=recipe(epochs=4), out=tmp_path / "run", threads=1)
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    scores = [float(row["valid_uar"]) for row in rows]
    best = max(range(4), key=lambda i: (scores[i], i))
    kept = max(i for i, score in enumerate(scores) if score >= scores[best] - float(rows[best]["valid_error"])) + 1
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert told["best_epoch"] == kept
    assert told["valid"]["uar"] == pytest.approx(scores[kept - 1], abs=1e-5)  # the weights are that epoch's
    assert json.loads((tmp_path / "run" / "model.json").read_text())["epoch"] == kept


def test_refusals_before_anything_is_written(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="is not empty; pass another --out"):
        train(tones, recipe=recipe(), out=tmp_path / "full")
    with pytest.raises(DataError, match="made of RAVDESS's actors"):
        train(tones, recipe=recipe(), out=tmp_path / "new", split="luna5:1")
    with pytest.raises(SettingsError, match="pass --out RUN"):
        train(tones, recipe=recipe(), resume=True)
    (tmp_path / "file").write_text("")
    for out, message in (
        ("file", "is a file"),
        ("file/run", "can't write to --out"),
        ("x" * 300, "can't write to --out .*too long"),
        ("full", "is not empty"),
    ):
        with pytest.raises(SettingsError, match=message):
            train(tones, recipe=recipe(), out=tmp_path / out)
    with pytest.raises(SettingsError, match="--out is empty"):
        train(tones, recipe=recipe(), out="")
    with pytest.raises(SettingsError, match="--threads must be 1 or more, got -1"):
        train(tones, recipe=recipe(), out=tmp_path / "new", threads=-1)
    with pytest.raises(SettingsError, match="--devices must be 1 or more, got 0"):
        train(tones, recipe=recipe(), out=tmp_path / "new", devices=0)
    with pytest.raises(SettingsError, match="--devices 999 is more than"):
        train(tones, recipe=recipe(), out=tmp_path / "new", devices=999)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "new").exists()


def test_real_ravdess_from_real_weights(ravdess: Path, lite0_weights: Path, tmp_path: Path) -> None:
    """One short epoch over an eighth of what 18 speakers say: the numbers are finite and the folds are the published
    ones."""
    for path in ravdess.rglob("*-01-01-01-??.flac"):  # the first statement, not loud, said for the first time
        place = tmp_path / "data" / path.relative_to(ravdess)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    changed = es.Recipe.named(
        "article",
        {
            "epochs": 1,
            "batch_size": 32,
            "audio": {"crop_s": 0.5},
            "network": {"model": "tf_efficientnet_lite0", "weights": str(lite0_weights)},
        },
    )
    result = train(tmp_path / "data", recipe=changed, out=tmp_path / "run", split="luna5:4")
    assert result.test is not None
    assert (result.test.clips, result.valid.clips if result.valid else 0) == (32, 16)
    assert result.test.cross_entropy < 20
    assert sum(row.support for row in result.test.per_class) == 32
    described = json.loads((tmp_path / "run" / "model.json").read_text())
    assert described["data"]["trained_groups"] == sorted(
        {f"{a:02}" for a in range(1, 25)} - {"01", "04", "09", "22", "02", "05"}
    )


def test_a_run_goes_on_with_the_same_division_only(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise clips that it has learned from would be test clips."""
    stop_in_epoch(monkeypatch, 2)
    settings = recipe(epochs=3)
    train(tones, recipe=settings, out=tmp_path / "run", split="group", group_pattern=r"(\d)\.wav$", threads=1)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="names, labels, groups or parts of clips"):
        train(
            tones,
            recipe=settings,
            out=tmp_path / "run",
            split="group",
            group_pattern=r"(\d\d)\.wav$",
            resume=True,
            threads=1,
        )


def test_ctrl_c_before_the_first_epoch_keeps_nothing_and_hinders_nothing(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "augmented_images", interrupt)
    stopped = train(tones, recipe=recipe(epochs=1), out=tmp_path / "run", threads=1)
    assert (stopped.interrupted, stopped.best_epoch) == (True, 0)
    assert not (tmp_path / "run" / "model.json").exists()
    monkeypatch.undo()
    assert train(tones, recipe=recipe(epochs=1), out=tmp_path / "run", resume=True, threads=1).best_epoch == 1


def test_weights_that_are_no_numbers_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    state = load_file(tmp_path / "run" / "model.safetensors")
    key = next(name for name, value in state.items() if value.is_floating_point())
    state[key].view(-1)[-1] = float("nan")
    save_file(state, tmp_path / "run" / "model.safetensors")
    with pytest.raises(
        ModelError, match=rf"model\.safetensors is damaged: {re.escape(key)} has weights that are not num"
    ):
        es.Classifier.load(tmp_path / "run")


def test_a_run_does_not_go_on_in_another_precision(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_history", stop)
        assert train(tones, recipe=recipe(), out=tmp_path / "run", threads=1).interrupted
    again = {"recipe": recipe(), "out": tmp_path / "run", "threads": 1, "resume": True}
    with pytest.raises(TrainingError, match="precision was 32-true, is bf16-mixed; use the same ones"):
        train(tones, precision="bf16-mixed", **again)
    assert train(tones, **again).test is not None


def test_two_processes_do_not_train_into_one_folder(tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom earsight.files import locked_folder\n"
        "with locked_folder(Path(sys.argv[1]), 'busy'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match=r"another process is training in .*run; wait"):
            train(tones, recipe=recipe(epochs=1), out=run, threads=1)
        process.communicate("")
    assert list(run.iterdir()) == []
    assert train(tones, recipe=recipe(epochs=1), out=run, threads=1).test is not None


@pytest.mark.parametrize(("has", "warned"), [("AVX2", True), ("DEFAULT", True), ("AVX512", False)])
def test_bf16_without_instructions_for_it_is_warned_of(has: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: has)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    half = Machine("cpu", precision="bf16-mixed").caution()
    assert (half == "bf16 takes many times as long on a processor without AVX-512; leave --precision out") is warned
    assert Machine("cpu").caution() is None


def test_a_machine_that_can_not_do_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="--nodes 2 needs the addresses of the others: set MASTER_ADDR"):
        Machine("cpu", nodes=2).check()
    with pytest.raises(SettingsError, match="--precision 16-mixed is for GPUs; pass bf16-mixed"):
        Machine("cpu", precision="16-mixed").check()
    with pytest.raises(SettingsError, match="--threads 1000 is too many for "):
        Machine("cpu", threads=1000).check()
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    with pytest.raises(
        SettingsError, match="2 devices are 2 processes, which a notebook or an interactive Python can't"
    ):
        Machine("cpu", devices=2).check()
    Machine("cpu").check()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clips.csv", "", r"clips\.csv is damaged \(cut off after 0 rows\); restore it, or remove it"),
        ("clips.csv", 300, r"clips\.csv is damaged \(cut off after \d rows\)"),
        ("clips.csv", "a,b\n1,2\n", r"clips\.csv is damaged"),
        ("clips.csv", None, "has no list of its test clips"),
        ("model.json", "{", "is damaged"),
        ("model.json", {"labels": 3}, "its labels are not a list of different names"),
        ("model.json", {"labels": ["low", "low"]}, "its labels are not a list of different names"),
        ("model.json", {"split": 3}, "its split is not a table"),
        ("model.json", {"format": "1"}, "has format '1', but this earsight reads 2"),
        ("model.json", {"audio": {"rate_hz": "x"}}, "is damaged: rate_hz: "),
        ("model.json", {"network": {"model": "hf-hub:a/b"}}, "is an address"),
        ("model.json", {"network": {"model": "test_resnet"}}, "does not fit model.json"),
        ("model.safetensors", "text", "does not fit model.json"),
    ],
)
def test_a_damaged_run_folder_says_what_is_damaged(
    run: Path, tmp_path: Path, name: str, content: object, message: str
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    if content is None:
        (damaged / name).unlink()
    elif isinstance(content, dict):
        described = json.loads((damaged / name).read_text())
        (damaged / name).write_text(json.dumps({**described, **content}))
    elif isinstance(content, int):
        (damaged / name).write_text((damaged / name).read_text()[:content])
    else:
        (damaged / name).write_text(str(content))
    with pytest.raises(EarsightError, match=message):
        evaluate(damaged)


def test_a_device_that_is_not_there_is_refused(run: Path, trained: Path) -> None:
    for device in ("nonsense", "", "meta", "cuda:99"):
        with pytest.raises(SettingsError, match=r"no device|this machine has no cuda:99"):
            evaluate(run, device=device)
        with pytest.raises(SettingsError, match=r"no device|this machine has no cuda:99"):
            predict(run, [trained / "tones"], device=device)


def test_names_that_are_not_utf8_are_trained_on_scored_and_predicted(tones: Path, tmp_path: Path) -> None:
    odd = tones / "low" / "odd\udcff.wav"
    (tones / "low" / "low00.wav").rename(odd)
    train(tones, recipe=recipe(epochs=1), out=tmp_path / "run", split="none", threads=1)
    assert evaluate(tmp_path / "run").metrics.clips == 24
    assert [row.error for row in predict(tmp_path / "run", [odd])] == [None]


def test_a_file_with_an_impossible_rate_is_left_out(tones: Path, tmp_path: Path) -> None:
    soundfile.write(tones / "low" / "slow.wav", tone(0.2, 16000, rate_hz=1), 1)
    train(tones, recipe=recipe(epochs=1), out=tmp_path / "run", threads=1)
    failures = json.loads((tmp_path / "run" / "model.json").read_text())["data"]["failures"]
    assert [(Path(path).name, reason[:24]) for path, reason in failures] == [("slow.wav", "a sample rate of 1 Hz is")]


def test_random_on_speakers_says_speaker_dependent_beside_every_number(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", speakers=3, takes=2)
    train(tmp_path / "corpus", recipe=recipe(epochs=1), out=tmp_path / "run", split="random", threads=1)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["caveat"] == metrics["valid"]["caveat"] == metrics["split"]["caveat"] == "speaker-dependent"
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.count("<i>speaker-dependent</i>") == 3  # accuracy, UAR, macro-F1
    assert "clips, speaker-dependent)" in report  # the validation score
    assert evaluate(tmp_path / "run").caveat == "speaker-dependent"


def test_copies_across_a_random_split_are_refused_dropped_or_allowed(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_corpus(corpus, speakers=3, takes=2)
    clips = es.read_dataset(corpus).clips
    parts = split(clips, "random", group_name="speaker")
    heard, tested = clips[parts.train[0]].path, clips[parts.test[0]].path
    shutil.copy(tested, heard)
    options = {"recipe": recipe(epochs=1), "split": "random", "threads": 1}
    with pytest.raises(DataError, match=rf"1 leak between .*{heard.name} \(train\) and .*{tested.name} \(test\)"):
        train(corpus, out=tmp_path / "refused", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "refused").exists()
    train(corpus, out=tmp_path / "dropped", leaks="drop", **options)  # type: ignore[arg-type]
    metrics = json.loads((tmp_path / "dropped" / "metrics.json").read_text())
    assert metrics["clips"]["train"] == len(parts.train) - 1
    assert "left out of train: identical audio, as" in (tmp_path / "dropped" / "report.html").read_text()
    allowed = train(corpus, out=tmp_path / "allowed", leaks="allow", **options)  # type: ignore[arg-type]
    assert allowed.split.caveat == "speaker-dependent, with leaks"
    assert "<i>speaker-dependent, with leaks</i>" in (tmp_path / "allowed" / "report.html").read_text()
