import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earsight.audio.load import load_waveform
from earsight.audio.settings import AudioSettings
from earsight.errors import DecodeError, ModelError, SettingsError
from earsight.mel.settings import MelSettings
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.description import read_description
from earsight.network.prediction import UnknownLimits
from earsight.network.settings import NetworkSettings
from tests.conftest import tone

LABELS = ("a", "b", "ü")
AUDIO = AudioSettings(crop_s=0.5)


def tiny(model: str = "test_efficientnet", audio: AudioSettings = AUDIO, in_chans: int | None = None) -> Classifier:
    torch.manual_seed(0)
    mel = MelSettings(n_mels=32)
    network = NetworkSettings(model=model, pretrained=False, in_chans=in_chans, drop_rate=0, drop_path_rate=0)
    return Classifier(LABELS, audio, mel, network).eval()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("test_efficientnet", (32, 51)),
        ("test_resnet", (32, 51)),
        ("test_vit", (160, 160)),
        ("vit_tiny_patch16_224", (224, 224)),
        ("swin_tiny_patch4_window7_224", (224, 224)),
    ],
)
def test_networks_of_free_and_of_fixed_size(model: str, shape: tuple[int, int]) -> None:
    classifier = tiny(model, in_chans=3)
    waveform = torch.randn(2, 1, 8000)
    assert classifier.image(waveform).shape == (2, 3, *shape)
    assert classifier(waveform).shape == (2, 3)


def test_an_item_does_not_hear_its_neighbours() -> None:
    classifier = tiny()
    batch = torch.randn(4, 1, 8000, generator=torch.Generator().manual_seed(0))
    batch[2] = 0
    with torch.inference_mode():
        whole = classifier(batch)
        alone = torch.cat([classifier(item[None]) for item in batch])
    assert torch.allclose(whole, alone, atol=1e-5)
    assert torch.isfinite(whole).all()


def test_stereo_goes_in_as_two_channels_of_the_image(tmp_path: Path) -> None:
    classifier = tiny(audio=AudioSettings(crop_s=0.5, channels=2))
    soundfile.write(tmp_path / "s.wav", np.stack([tone(300, 1), tone(900, 1)], axis=1), 16000)
    assert sum(classifier.predict(tmp_path / "s.wav").probabilities.values()) == pytest.approx(1)
    with pytest.raises(SettingsError, match=r"in_chans 3 is not a multiple of 2 \(audio\.channels 2"):
        tiny(audio=AudioSettings(channels=2), in_chans=3)


def test_saved_and_loaded_answers_the_same(tmp_path: Path) -> None:
    classifier = tiny()
    save_classifier(classifier, tmp_path / "run", {"epoch": 7})
    loaded = Classifier.load(tmp_path / "run")
    waveform = torch.randn(2, 1, 8000)
    with torch.inference_mode():
        assert torch.equal(classifier(waveform), loaded(waveform))
    assert loaded.labels == LABELS
    assert loaded.audio == AUDIO
    assert read_description(tmp_path / "run")["epoch"] == 7
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"model.json", "model.safetensors"}


def test_a_model_that_was_fitted_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(500, 0.7), 16000)
    classifier = tiny()
    features, _ = classifier.features_and_logits(np.zeros((1, 1, 8000), dtype=np.float32))
    classifier.directions = torch.cat([features, torch.eye(features.shape[1])[:1]])
    classifier.temperature, classifier.unknown = 1.7, UnknownLimits(0.999, 0.1)
    told = classifier.predict(path)
    assert told.familiarity < 0.999
    for _ in range(2):  # over its own
        classifier.save(tmp_path / "model")
        assert Classifier.load(tmp_path / "model").predict(path) == told
    again = tiny()
    again.load_state_dict(classifier.state_dict())
    assert again.predict(path).familiarity == 1
    assert [*again.state_dict()] == [f"network.{key}" for key in again.network.state_dict()]
    for name in ("report.html", "model.json"):
        (tmp_path / name.partition(".")[0]).mkdir(exist_ok=True)
        (tmp_path / name.partition(".")[0] / name).write_text("{}")
        with pytest.raises(SettingsError, match="holds something else"):
            classifier.save(tmp_path / name.partition(".")[0])
    with pytest.raises(SettingsError, match="is a file; name a folder"):
        classifier.save(path)


class Own(torch.nn.Module):
    def __init__(self, outputs: int, pair: bool = False) -> None:
        super().__init__()
        self.last, self.pair = torch.nn.Linear(32, outputs), pair

    def forward(self, image: torch.Tensor) -> object:
        logits = self.last(image.mean(dim=(1, 3)))
        return (logits, logits) if self.pair else logits


def test_a_network_that_is_not_timms_answers_and_is_saved(tmp_path: Path) -> None:
    def of(network: torch.nn.Module) -> Classifier:
        return Classifier(LABELS, AUDIO, MelSettings(n_mels=32), NetworkSettings(), network=network)

    classifier = of(Own(3))
    crops = torch.randn(2, 1, 8000)
    expected = classifier(crops).softmax(1).detach()
    assert np.allclose(classifier.probabilities(crops.numpy()), expected, atol=1e-6)
    classifier.save(tmp_path / "own")
    loaded = Classifier.load(tmp_path / "own", network=Own(3))
    assert np.allclose(loaded.probabilities(crops.numpy()), expected, atol=1e-6)
    with pytest.raises(ModelError, match=r"is 'Own', not timm's; pass one"):
        Classifier.load(tmp_path / "own")
    with pytest.raises(ModelError, match="does not fit"):
        Classifier.load(tmp_path / "own", network=Own(4))
    for network, given in ((Own(4), r"\[2, 4\]"), (Own(3, pair=True), "tuple")):
        with pytest.raises(ModelError, match=f"the network gives {given}, where logits"):
            of(network)(crops)
        with pytest.raises(ModelError, match=f"the network gives {given}, where logits"):
            of(network).probabilities(crops.numpy())


@pytest.mark.parametrize("labels", ["ab", (), ("a", "a"), ("a", ""), ("a", 1)])
def test_labels_are_different_names(labels: Any) -> None:
    with pytest.raises(SettingsError, match="labels must be different names"):
        Classifier(labels, AUDIO, MelSettings(n_mels=32), NetworkSettings(), network=Own(2))


def test_path_bytes_file_and_many_agree(tmp_path: Path) -> None:
    classifier = tiny()
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(500, 0.7), 16000)
    first = classifier.predict(path)
    assert first.label == max(first.probabilities, key=lambda name: first.probabilities[name])
    assert first.probability == first.probabilities[first.label]
    assert first == classifier.predict(path.read_bytes()) == classifier.predict(io.BytesIO(path.read_bytes()))
    many = list(classifier.predict_many([path] * 5, batch_size=2))
    assert [p.probabilities for p in many] == [pytest.approx(first.probabilities, abs=1e-6)] * 5
    samples, rate_hz = soundfile.read(path, dtype="int16")
    assert classifier.predict(samples, rate_hz=rate_hz) == first
    for single in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert list(classifier.predict_many(single)) == [first]
    pairs = list(classifier.predict_many([path, (samples / 32768, rate_hz)]))
    (alone,) = classifier.predict_many((samples / 32768, rate_hz))
    assert alone.probabilities == pytest.approx(first.probabilities, abs=1e-6)
    assert [p.probabilities for p in pairs] == [pytest.approx(first.probabilities, abs=1e-6)] * 2
    with pytest.raises(SettingsError, match="batch_size must be a whole number, 1 or more, got 0"):
        classifier.predict_many([path], batch_size=0)
    with pytest.raises(DecodeError, match=r"ndarray is not a recording; .* samples with their rate_hz"):
        classifier.predict(samples)
    with pytest.raises(DecodeError, match="no such recording"):
        classifier.predict(tmp_path / "absent.wav")


def test_run_folders_that_are_half_written_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such run folder"):
        Classifier.load(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no model\.json in"):
        Classifier.load(tmp_path)
    run = tmp_path / "run"
    save_classifier(tiny(), run, {})
    description = (run / "model.json").read_text()
    weights = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=r"model\.safetensors does not fit model\.json"):
        Classifier.load(run)
    (run / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="half a run folder"):
        Classifier.load(run)
    (run / "model.json").write_text(description[:50])
    with pytest.raises(ModelError, match="is damaged"):
        Classifier.load(run)
    for name, value in (("temperature", 10**400), ("temperature", 1e-320), ("unknown", {"familiar": 10**400})):
        (run / "model.json").write_text(json.dumps(json.loads(description) | {name: value}))
        (run / "model.safetensors").write_bytes(weights)
        with pytest.raises(ModelError, match=f"is damaged: .*{name}"):
            Classifier.load(run)
    odd = json.loads(description)["network"] | {"model": "resnet18.hf-hub:evil/x"}
    (run / "model.json").write_text(json.dumps(json.loads(description) | {"network": odd}))
    with pytest.raises(ModelError, match=r"'resnet18\.hf-hub:evil/x' is an address"):
        Classifier.load(run)
    (run / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="is not a model of earsight"):
        Classifier.load(run)
    (run / "model.json").write_text(description.replace('"format": 2', '"format": 3'))
    with pytest.raises(ModelError, match="has format 3, but this earsight reads 2; upgrade"):
        Classifier.load(run)


def test_the_logits_of_several_crops_are_averaged(tmp_path: Path) -> None:
    one, three = (tiny(audio=AudioSettings(crop_s=0.25, trim_db=None, score_crops=count)) for count in (1, 3))
    three.load_state_dict(one.state_dict())
    three.temperature = one.temperature = 2.0
    sound = np.concatenate([tone(300, 0.5), tone(2500, 0.5)])
    soundfile.write(tmp_path / "a.wav", sound, 16000)
    for classifier in (one, three):
        classifier.eval()
    heard = load_waveform(tmp_path / "a.wav", one.audio)
    starts = (0, (heard.shape[1] - 4000) // 2, heard.shape[1] - 4000)
    with torch.inference_mode():
        logits = one(torch.from_numpy(np.stack([heard[:, start : start + 4000] for start in starts]))).double()
    expected = torch.softmax(logits.mean(0) / 2.0, dim=0).numpy()
    found = three.predict(tmp_path / "a.wav").probabilities
    assert np.allclose(list(found.values()), expected, atol=1e-6)
    assert not np.allclose(list(one.predict(tmp_path / "a.wav").probabilities.values()), expected, atol=1e-6)


def test_what_was_read_before_a_bad_file_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(500, 0.7), 16000)
    found = tiny().predict_many([path, path, path, tmp_path / "absent.wav", path], batch_size=2)
    assert len([next(found) for _ in range(3)]) == 3
    with pytest.raises(DecodeError, match="no such recording"):
        next(found)


def test_an_answer_is_of_eval_mode_and_leaves_modes_and_statistics_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(500, 0.7), 16000)
    classifier = tiny()
    expected = classifier.predict(path)
    classifier.train()
    next(module for module in classifier.modules() if isinstance(module, torch.nn.BatchNorm2d)).eval()
    modes = [module.training for module in classifier.modules()]
    assert {True, False} == set(modes)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    answers = classifier.predict_many([path] * 4, batch_size=2)
    assert next(answers).probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert [module.training for module in classifier.modules()] == modes  # while the generator waits
    classifier.train()  # whose owner goes on meanwhile
    assert all(found.probabilities == pytest.approx(expected.probabilities, abs=1e-6) for found in answers)
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())
    assert all(module.training for module in classifier.modules())


def test_threads_that_ask_one_network_in_training_mode_get_its_answers() -> None:
    classifier = tiny()
    crops = torch.randn(6, 1, 1, 8000, generator=torch.Generator().manual_seed(0)).numpy()
    expected = [classifier.probabilities(one) for one in crops]
    classifier.train()
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(classifier.probabilities, np.concatenate([crops] * 4)))
    assert np.allclose(found, expected * 4, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())
    assert all(module.training for module in classifier.modules())


def test_features_can_be_learned_from_and_gradients_flow_after_an_answer() -> None:
    classifier = tiny()
    crops = torch.randn(2, 1, 8000)
    features, _ = classifier.features_and_logits(crops.numpy())
    layer = torch.nn.Linear(features.shape[1], 1)
    layer(features).sum().backward()
    assert layer.weight.grad is not None
    assert torch.allclose(layer.weight.grad[0], features.sum(0))
    classifier(crops.requires_grad_()).sum().backward()
    assert crops.grad is not None
    assert crops.grad.abs().max() > 0
