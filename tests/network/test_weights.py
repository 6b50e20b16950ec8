import pickle
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from earsight.errors import ModelError
from earsight.network.names import check_model_name, timm_names
from earsight.network.settings import NetworkSettings
from earsight.network.weights import create_network


def build(weights: Path, model: str = "test_efficientnet", in_chans: int = 1) -> torch.nn.Module:
    settings = NetworkSettings(model=model, weights=str(weights), drop_path_rate=0)
    return create_network(settings, in_chans, classes=5)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("in_chans", [1, 2, 3])
def test_stem_is_folded_as_timm_does_and_the_rest_taken(saved: Path, in_chans: int) -> None:
    ours = build(saved, in_chans=in_chans).state_dict()
    theirs = timm.create_model(
        "test_efficientnet",
        pretrained=True,
        in_chans=in_chans,
        num_classes=5,
        pretrained_cfg_overlay={"file": str(saved)},
    ).state_dict()
    assert ours["conv_stem.weight"].shape[1] == in_chans
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if not key.startswith("classifier."))


def test_a_run_of_earsight_is_a_file_of_weights(saved: Path, tmp_path: Path) -> None:
    """One channel, and beside the network what its features lie along."""
    own = build(saved).state_dict()
    save_file({**own, "earsight.directions": torch.ones(5, 8)}, tmp_path / "model.safetensors")
    again = build(tmp_path / "model.safetensors").state_dict()
    assert again.keys() == own.keys()
    assert all(torch.equal(own[key], again[key]) for key in own if not key.startswith("classifier."))
    with pytest.raises(ModelError, match=r"takes 1 channel, which can't be made 2; pass --in-chans 1, or other"):
        build(tmp_path / "model.safetensors", in_chans=2)


@pytest.mark.parametrize("pretrained", [False, True])
def test_weights_that_timm_does_not_name_are_told(pretrained: bool) -> None:
    settings = NetworkSettings(model="test_efficientnet.nonsense", pretrained=pretrained)
    with pytest.raises(ModelError, match=r"timm has no weights 'nonsense' of test_efficientnet; pass --model test_e"):
        create_network(settings, 1, 5)


def test_pth_is_read_like_safetensors(saved: Path, tmp_path: Path) -> None:
    torch.save(load_file(saved), tmp_path / "w.pth")
    first, second = build(saved).state_dict(), build(tmp_path / "w.pth").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first if not key.startswith("classifier."))


def test_half_precision_file_becomes_single_precision(lite0_weights: Path) -> None:
    state = build(lite0_weights, "tf_efficientnet_lite0").state_dict()
    stored = load_file(lite0_weights)
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
    assert torch.equal(state["blocks.0.0.conv_dw.weight"], stored["blocks.0.0.conv_dw.weight"].float())
    assert torch.allclose(state["conv_stem.weight"], stored["conv_stem.weight"].float().sum(1, keepdim=True))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 / 0",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"conv": Evil()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(ModelError, match=r"holds more than tensors|can't read weights"):
            build(tmp_path / name)


def test_absent_damaged_and_foreign_weights(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights file"):
        build(tmp_path / "absent.pth")
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(ModelError, match="can't read weights"):
        build(tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match=r"another network than test_resnet: \d+ tensors missing, \d+ unknown"):
        build(saved, "test_resnet")


def test_without_a_network_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that can't be resolved stands in for a machine without a network."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=r"can't get the pretrained weights .*--weights FILE.*--no-pretrained"):
        create_network(NetworkSettings(model="test_efficientnet"), 1, 5)
    assert constants.HF_HUB_OFFLINE is False


def test_names_are_timms_own() -> None:
    assert timm_names()[0] == set(timm.list_models())
    check_model_name("efficientnet_b0.ra_in1k")
    check_model_name("tf_efficientnet_b0_ns")  # deprecated, and still built by timm
    with pytest.raises(ModelError, match=r"no network 'efficientnet_bo'; did you mean .*efficientnet_b0"):
        check_model_name("efficientnet_bo")
    with pytest.raises(ModelError, match=r"timm\.list_models"):
        check_model_name("qqqqqqqqqq")


def test_dropout_and_stochastic_depth_are_as_they_were_asked_for() -> None:
    settings = NetworkSettings(model="test_efficientnet", pretrained=False, drop_rate=0.6, drop_path_rate=0.2)
    network = create_network(settings, 1, 5)
    assert network.drop_rate == 0.6
    depths = [module.drop_prob for module in network.modules() if hasattr(module, "drop_prob")]
    assert 0 < max(depths) <= 0.2


def test_a_file_without_steps_of_batch_norm_is_taken_and_one_without_weights_is_not(tmp_path: Path) -> None:
    state = create_network(NetworkSettings(model="test_efficientnet", pretrained=False), 1, 5).state_dict()
    path = tmp_path / "w.pth"
    settings = NetworkSettings(model="test_efficientnet", weights=str(path))
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, path)
    taken = create_network(settings, 1, 5).state_dict()
    assert torch.equal(taken["conv_stem.weight"], state["conv_stem.weight"])
    told = {
        "1 tensors missing, 0 unknown, 0 of another shape": {"conv_head.weight": ...},
        "0 tensors missing, 1 unknown, 0 of another shape": {"more.weight": torch.ones(1)},
        "0 tensors missing, 0 unknown, 1 of another shape": {"conv_head.weight": torch.ones(1)},
        "'epoch' is not a tensor": {"epoch": 3},
    }
    for words, changes in told.items():
        torch.save({name: value for name, value in {**state, **changes}.items() if value is not ...}, path)
        with pytest.raises(ModelError, match=words):
            create_network(settings, 1, 5)
