"""What steers the training beside the optimizer: means of weights, the loss, which clips are drawn, what is mixed."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from torch import nn

import earsight as es
from earsight.audio.settings import AudioSettings
from earsight.errors import DataError, SettingsError
from earsight.network.classifier import Classifier
from earsight.tasks.machine.devices import Machine
from earsight.tasks.train import train
from earsight.tasks.training import loop
from earsight.tasks.training.averaging import best_epochs, mean_of_epochs, update_kept_epochs
from earsight.tasks.training.banks import check_banks, read_bank
from earsight.tasks.training.learner import Learner
from earsight.tasks.training.plan import plan_training
from tests.conftest import learned, stop_in_epoch, tone, write_mixtures
from tests.tasks.test_train import recipe, same, weights


def learner(**changes: object) -> Learner:
    chosen = recipe(**{"optimizer": {"name": "sgd", "lr": 0.1, "clip_grad_norm": 0.0}, **changes})
    torch.manual_seed(0)
    built = Classifier(("a", "b"), chosen.audio, chosen.mel, chosen.network)
    built.train()
    weights = np.array([0.5, 2.0], dtype=np.float32) if chosen.loss.class_weights != "none" else None
    return Learner.of(Machine().fabric(), built, chosen, class_weights=weights)


IMAGES = torch.randn(4, 1, 32, 51, generator=torch.Generator().manual_seed(1))
TARGETS = torch.eye(2)[[0, 1, 1, 0]]


def test_the_running_mean_of_the_weights_is_what_is_scored() -> None:
    learning = learner(optimizer={"name": "sgd", "lr": 0.1, "ema_decay": 0.5})
    expected, network = None, learning.classifier.network
    for step in range(5):
        learning.step(IMAGES, TARGETS)
        now = network.state_dict()["classifier.weight"].clone()
        # the warm-up of timm: 1 − step^(−2/3) until that reaches the decay that was asked for
        decay = 0.0 if step <= 1 else min(0.5, 1 - step ** (-2 / 3))
        expected = now if expected is None else decay * expected + (1 - decay) * now
    with learning.with_ema() as scored:
        mean = scored.network.state_dict()["classifier.weight"]
        assert torch.allclose(mean, expected, atol=1e-6)
        assert not torch.allclose(mean, now, atol=1e-6)
    assert learning.classifier.network is network


def test_label_smoothing_and_class_weights_are_in_the_loss() -> None:
    plain, smooth, weighted = (
        learner(loss={"label_smoothing": 0.0}),
        learner(loss={"label_smoothing": 0.2}),
        learner(loss={"label_smoothing": 0.0, "class_weights": "balanced"}),
    )
    for one in (plain, smooth, weighted):
        one.classifier.eval()
    logits, loss = plain.step(IMAGES, TARGETS)
    log_p = torch.log_softmax(logits, dim=1)
    assert float(loss) == pytest.approx(float(-(TARGETS * log_p).sum(1).mean()), rel=1e-5)
    _, loss = smooth.step(IMAGES, TARGETS)
    assert float(loss) == pytest.approx(float(-((0.8 * TARGETS + 0.1) * log_p).sum(1).mean()), rel=1e-5)
    _, loss = weighted.step(IMAGES, TARGETS)
    assert float(loss) == pytest.approx(float(-(TARGETS * torch.tensor([0.5, 2.0]) * log_p).sum(1).mean()), rel=1e-5)


def lopsided(root: Path, high: int, low: int) -> Path:
    for label, count, hz in (("high", high, 2000.0), ("low", low, 300.0)):
        (root / label).mkdir(parents=True)
        for n in range(count):
            soundfile.write(root / label / f"{n}.wav", tone(hz + 20 * n, 0.6), 16000)
    return root


def learners_seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Filled by the trainings that follow: the learner of each."""
    seen: list[Any] = []
    real = Learner.of

    def look(*args: object, **more: object) -> Learner:
        seen.append(real(*args, **more))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(Learner, "of", look)
    return seen


def test_class_weights_let_every_class_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = learners_seen(monkeypatch)
    data = lopsided(tmp_path / "data", 12, 4)
    for loss in ({"class_weights": "balanced"}, {}):
        learned(data, recipe(epochs=1, loss=loss), tmp_path / str(len(seen)), split="none")
    assert seen[1].class_weights is None
    assert seen[0].class_weights.tolist() == pytest.approx([16 / 2 / 12, 16 / 2 / 4])


def test_balanced_sampling_draws_every_class_as_often(tmp_path: Path) -> None:
    from earsight.dataset.clip import Clip
    from earsight.dataset.loader import training_order
    from earsight.dataset.store import build_store

    data = lopsided(tmp_path / "data", 20, 4)
    clips = [Clip(path, path.parent.name) for path in sorted(data.rglob("*.wav"))]
    store = build_store(clips, AudioSettings(crop_s=0.5))
    rng = np.random.default_rng(0)
    epochs = [np.concatenate(list(training_order(store, range(24), 8, rng, balanced=True))) for _ in range(50)]
    assert all(len(epoch) == 24 for epoch in epochs)
    low = np.mean([clips[i].label == "low" for i in np.concatenate(epochs)])
    assert 0.45 < low < 0.55
    every = np.concatenate(list(training_order(store, range(24), 8, rng)))
    assert sorted(every) == list(range(24))


def test_the_best_epochs_are_kept_and_their_mean_is_theirs(tmp_path: Path) -> None:
    assert best_epochs([0.1, 0.5, 0.3, 0.5], 2) == [2, 4]
    assert best_epochs([0.1, 0.5, 0.5, 0.5], 2) == [3, 4]  # of equal ones the later
    network, states = nn.BatchNorm1d(2), []
    for epoch, scores in enumerate(([0.5], [0.5, 0.1], [0.5, 0.1, 0.7]), 1):
        nn.init.constant_(network.weight, epoch)
        network.num_batches_tracked += 10
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        update_kept_epochs(tmp_path, network, scores, 2)
    assert sorted(path.name for path in tmp_path.rglob("*.safetensors")) == [
        "epoch-00001.safetensors",
        "epoch-00003.safetensors",
    ]
    mean = mean_of_epochs(tmp_path, [1, 3])
    assert torch.equal(mean["weight"], torch.full((2,), 2.0))
    assert int(mean["num_batches_tracked"]) == 30


def test_an_epoch_of_layers_that_share_weights_is_kept(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    update_kept_epochs(tmp_path, nn.Sequential(layer, nn.ReLU(), layer), [0.5], 1)
    state = mean_of_epochs(tmp_path, [1])
    assert state.keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert torch.equal(state["2.weight"], layer.weight)


def test_a_run_keeps_the_mean_of_its_best_epochs_where_it_is_no_worse(tones: Path, tmp_path: Path) -> None:
    train(tones, recipe=recipe(epochs=30, average_best=3), out=tmp_path / "run", threads=1)
    history = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    best = max(float(row["valid_uar"]) for row in history)
    described = json.loads((tmp_path / "run" / "model.json").read_text())
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert told["valid"]["uar"] >= best - 1e-6
    assert len(described["mean_of_epochs"]) == 3
    assert told["mean_of_epochs"] == described["mean_of_epochs"]
    named = ", ".join(map(str, described["mean_of_epochs"]))
    assert f"30, kept: the mean of epochs {named}" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "best-epochs").exists()


def test_the_mean_of_the_best_epochs_is_not_kept_where_it_is_worse(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(run: Path, epochs: list[int]) -> dict[str, torch.Tensor]:
        return {name: -value if "classifier" in name else value for name, value in mean_of_epochs(run, epochs).items()}

    monkeypatch.setattr(loop, "mean_of_epochs", spoilt)
    result = train(tones, recipe=recipe(epochs=8, average_best=3), out=tmp_path / "run", threads=1)
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    described = json.loads((tmp_path / "run" / "model.json").read_text())
    assert "mean_of_epochs" not in {*told, *described}
    assert described["epoch"] == told["best_epoch"] == result.best_epoch
    assert not (tmp_path / "run" / "best-epochs").exists()


def test_a_run_that_keeps_a_mean_goes_on_after_a_stop_while_it_is_scored(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from earsight.tasks.training import finish

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    settings = recipe(epochs=3, average_best=2)
    monkeypatch.setattr(finish, "finish", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(tones, recipe=settings, out=tmp_path / "cut", threads=1)
    monkeypatch.undo()
    train(tones, recipe=settings, out=tmp_path / "cut", resume=True, threads=1)
    train(tones, recipe=settings, out=tmp_path / "whole", threads=1)
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert not (tmp_path / "cut" / "best-epochs").exists()


@pytest.mark.parametrize(
    "changes", [{"average_best": 3}, {"optimizer": {"lr": 3e-3, "ema_decay": 0.9}}], ids=["best", "ema"]
)
def test_means_survive_a_stop(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    settings = recipe(epochs=4, **changes)
    learned(tones, settings, tmp_path / "whole")
    stop_in_epoch(monkeypatch, 3)
    assert train(tones, recipe=settings, out=tmp_path / "cut", threads=1).interrupted
    monkeypatch.undo()
    learned(tones, settings, tmp_path / "cut", resume=True)
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_the_mean_of_a_running_mean_differs_from_the_weights(tones: Path, tmp_path: Path) -> None:
    for name, decay in (("plain", 0.0), ("mean", 0.95)):
        learned(tones, recipe(epochs=2, optimizer={"lr": 3e-3, "ema_decay": decay}), tmp_path / name)
    one, two = weights(tmp_path / "plain"), weights(tmp_path / "mean")
    assert one.keys() == two.keys()
    assert not all(torch.allclose(one[key], two[key]) for key in one)


def test_layers_learn_the_slower_the_earlier_they_are() -> None:
    rates = {}
    layered = learner(optimizer={"name": "adamw", "lr": 1.0, "layer_decay": 0.5})
    names = {id(parameter): name for name, parameter in layered.classifier.network.named_parameters()}
    for group in layered.optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr_scale"]
    assert rates["classifier.weight"] == 1.0
    assert rates["conv_stem.weight"] == min(rates.values()) < 0.2


def test_sounds_are_mixed_in_from_folders(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "street").mkdir()
    soundfile.write(tmp_path / "street" / "tram.wav", 0.1 * tone(900, 1.0), 22050)
    soundfile.write(tmp_path / "street" / "silence.wav", np.zeros(800), 16000)
    (tmp_path / "street" / "bad.wav").write_text("no sound")
    sounds, reasons = read_bank(str(tmp_path / "street"), AudioSettings())
    assert [sound.shape for sound in sounds] == [(1, round(16000 * 16000 / 22050))]
    assert np.abs(sounds[0]).max() == pytest.approx(1.0)
    assert len(reasons) == 2
    for name, folder in (("plain", None), ("mixed", str(tmp_path / "street"))):
        settings = recipe(epochs=1, augment={"background": folder, "background_share": 1.0, "reverb": folder})
        learned(tones, settings, tmp_path / name)
    assert not same(tmp_path / "plain", tmp_path / "mixed")


def test_folders_without_sounds_are_refused_before_training(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("absent", "is not a folder"), ("empty", "no recordings in augment.reverb")):
        settings = recipe(augment={"reverb": str(tmp_path / name)})
        with pytest.raises(SettingsError, match=message):
            check_banks(settings.augment)
        with pytest.raises(SettingsError, match=message):
            train(tones, recipe=settings, out=tmp_path / "run")
    soundfile.write(tmp_path / "empty" / "silence.wav", np.zeros(800), 16000)
    with pytest.raises(SettingsError, match="none of 1 recordings"):
        read_bank(str(tmp_path / "empty"), AudioSettings())
    assert not (tmp_path / "run").exists()


def test_what_is_to_be_scored_is_no_background_of_what_is_learned_from(tones: Path, tmp_path: Path) -> None:
    settings = recipe(augment={"background": str(tones / "low")})
    with pytest.raises(DataError, match=r"augment\.background .*low holds \d+ recordings of the validation and"):
        train(tones, recipe=settings, out=tmp_path / "run")
    assert plan_training(tones, settings, out=tmp_path / "run", split_kind="none").split.training_score


def test_a_shift_moves_crops_beyond_the_ends_of_a_clip(tones: Path) -> None:
    from earsight.dataset.clip import Clip
    from earsight.dataset.loader import random_starts
    from earsight.dataset.store import build_store

    settings = AudioSettings(crop_s=0.4, trim_db=None)
    path = next(iter(sorted(tones.rglob("*.wav"))))
    store = build_store([Clip(path, "x")], settings)
    whole = store.waveform(0)[0]
    starts = random_starts(store, np.zeros(300, dtype=np.int64), np.random.default_rng(0), 6400, shift_samples=1600)
    assert starts.min() < -1000
    assert starts.max() > len(whole) - 6400 + 1000
    for start in (-1500, 40, len(whole) - 5000):
        crop = store.crops(np.array([0]), np.array([start]))[0, 0]
        padded = np.pad(whole, 6400)
        assert np.array_equal(crop, padded[6400 + start : 6400 + start + 6400])
    sizes = store.crops(np.zeros(2, dtype=np.int64), np.array([10, 20]), np.array([100, 300]))
    assert sizes.shape == (2, 1, 300)
    assert np.array_equal(sizes[0, 0, :100], whole[10:110])
    assert not sizes[0, 0, 100:].any()
    assert np.array_equal(sizes[1, 0], whole[20:320])


def test_every_setting_of_the_learning_is_in_the_model(tones: Path, tmp_path: Path) -> None:
    settings = recipe(epochs=1, sampling="balanced", loss={"label_smoothing": 0.1, "class_weights": "balanced"})
    train(tones, recipe=settings, out=tmp_path / "run", threads=1)
    kept = json.loads((tmp_path / "run" / "model.json").read_text())["recipe"]
    assert kept["sampling"] == "balanced"
    assert kept["loss"] == {"label_smoothing": 0.1, "class_weights": "balanced"}
    assert load_file(tmp_path / "run" / "model.safetensors")
    assert es.Classifier.load(tmp_path / "run").labels == ("high", "low")


def test_labels_of_test_speakers_move_no_choice(tmp_path: Path) -> None:
    """Only test speakers are labelled the wrong way round: weights, epochs, temperature and choice stay; their score
    does not."""
    from tests.conftest import write_tones

    clips = sorted(write_tones(tmp_path / "tones").rglob("*.wav"))
    other = {"high": "low", "low": "high"}
    for name in ("true", "swapped"):
        rows = ["path,label,group,part"]
        for number, path in enumerate(clips):
            part = ("train", "train", "valid", "test")[number % 4]
            label = other[path.parent.name] if (name, part) == ("swapped", "test") else path.parent.name
            rows.append(f"{path},{label},speaker{number % 4},{part}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
        settings = recipe(epochs=20, average_best=2)
        train(tmp_path / f"{name}.csv", recipe=settings, split="column:part", out=tmp_path / name, threads=1)
    assert same(tmp_path / "true", tmp_path / "swapped")
    true, swapped = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("true", "swapped"))
    assert true["test"]["accuracy"] == pytest.approx(1 - swapped["test"]["accuracy"])
    assert true["test"]["accuracy"] != swapped["test"]["accuracy"]
    for same_in_both in ("best_epoch", "epochs", "valid"):
        assert true[same_in_both] == swapped[same_in_both]
    assert true["calibration"]["temperature"] == swapped["calibration"]["temperature"]
    histories = [
        [row | {"seconds": "", "clips_per_s": ""} for row in csv.DictReader((tmp_path / name / "history.csv").open())]
        for name in ("true", "swapped")
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 20


def test_a_run_tells_intervals_by_speaker_and_what_data_it_heard(tmp_path: Path) -> None:
    from earsight.scores.crossval import jackknife_scores
    from earsight.scores.predictions import read_csv
    from tests.conftest import write_tones

    clips = sorted(write_tones(tmp_path / "tones").rglob("*.wav"))
    parts = ("train", "train", "valid", *["test"] * 5)
    other = {"high": "low", "low": "high"}  # what the last speaker's clips are called, so that speakers differ
    rows = [
        f"{path},{other[path.parent.name] if n % 8 == 7 else path.parent.name},s{n % 8},{parts[n % 8]}"
        for n, path in enumerate(clips)
    ]
    told = []
    for name, order, epochs in (("one", rows, 20), ("other", rows[::-1], 1)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label,group,part", *order]) + "\n")
        learning = {"lr": 3e-3, "warmup_epochs": 0.5, "ema_decay": 0.0}  # of 20 steps
        settings = recipe(epochs=epochs, mel={"n_mels": 32, "win_length": 1024}, optimizer=learning)
        train(tmp_path / f"{name}.csv", recipe=settings, split="column:part", out=tmp_path / name, threads=1)
        told.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    test = told[0]["test"]
    scored = read_csv(tmp_path / "one" / "predictions.csv")
    low, high = jackknife_scores([scored]).interval("accuracy") or (1.0, 0.0)
    assert told[0]["intervals95"]["accuracy"] == pytest.approx([low, high])
    assert low <= test["accuracy"] <= high
    of = np.array(scored.groups)
    by_hand = {group: np.mean((scored.predicted == scored.truth)[of == group]) for group in set(scored.groups)}
    assert {one["group"]: one["accuracy"] for one in told[0]["groups"]} == pytest.approx(by_hand)
    assert len(by_hand) == 5
    assert len(told[0]["fingerprint"]) == 32
    assert told[0]["fingerprint"] == told[1]["fingerprint"]  # the same clips in another order
    changed = [rows[0].replace(",high,", ",low,"), *rows[1:]]
    (tmp_path / "changed.csv").write_text("\n".join(["path,label,group,part", *changed]) + "\n")
    train(tmp_path / "changed.csv", recipe=recipe(epochs=1), split="column:part", out=tmp_path / "changed", threads=1)
    assert json.loads((tmp_path / "changed" / "metrics.json").read_text())["fingerprint"] != told[0]["fingerprint"]


def test_of_several_labels_the_rare_count_as_much_where_they_are_as_where_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = learners_seen(monkeypatch)
    table = write_mixtures(tmp_path / "data")
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    for number, row in enumerate(rows):  # high stays in eight clips alone, and noise is in all
        names = [one for one in row[1].split(";") if one and (number < 8 or one != "high")]
        row[1] = ";".join([*names, "noise"])
    table.write_text("\n".join(map(",".join, [["path", "label", "group"], *rows])) + "\n")
    learned(table, recipe(epochs=1, loss={"class_weights": "balanced"}), tmp_path / "run", split="none")
    (made,) = seen
    counts = np.array([sum(name in row[1].split(";") for row in rows) for name in made.classifier.labels])
    expected = np.where(counts < len(rows), (len(rows) - counts) / counts, 1.0)
    assert made.class_weights.tolist() == pytest.approx(expected)
    # With it, saying "half" of every label is best for one that knows nothing: all labels pull alike.
    targets = torch.tensor([[name in row[1].split(";") for name in made.classifier.labels] for row in rows]).float()
    logits = torch.zeros(4, requires_grad=True)
    made.classifier.head.loss(logits.expand(len(rows), 4), targets, made.class_weights).backward()
    assert logits.grad is not None
    everywhere = made.classifier.labels.index("noise")
    assert logits.grad[everywhere] == pytest.approx(-0.5 / 4)  # it is learned that it is there
    assert np.delete(logits.grad.numpy(), everywhere) == pytest.approx(0, abs=1e-6)


def test_a_gradient_is_no_longer_than_it_may_be() -> None:
    moved = []
    for norm in (0.01, 0.0):
        learning = learner(optimizer={"name": "sgd", "lr": 1.0, "weight_decay": 0.0, "clip_grad_norm": norm})
        before = [weight.detach().clone() for weight in learning.classifier.network.parameters()]
        logits, loss = learning.step(IMAGES, TARGETS)
        assert not logits.requires_grad
        assert not loss.requires_grad
        after = learning.classifier.network.parameters()
        moved.append(math.sqrt(sum(float((b - a).detach().square().sum()) for a, b in zip(after, before, strict=True))))
    assert moved[0] == pytest.approx(0.01, rel=1e-3)
    assert moved[1] > 0.1


def test_the_network_that_learns_is_back_where_scoring_it_fails() -> None:
    learning = learner(optimizer={"name": "sgd", "lr": 0.1, "ema_decay": 0.5})
    network = learning.classifier.network
    with pytest.raises(KeyError), learning.with_ema():
        raise KeyError
    assert learning.classifier.network is network
