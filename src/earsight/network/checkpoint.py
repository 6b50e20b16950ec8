"""A model as a folder: model.safetensors + model.json. Loads without pickle and without any other file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from earsight.audio.settings import AudioSettings
from earsight.errors import ModelError, SettingsError
from earsight.files import write_atomic, write_json
from earsight.mel.settings import MelSettings
from earsight.network.description import (
    DIRECTIONS_KEY,
    FORMAT,
    LEGACY_KEY,
    SETTINGS_NAME,
    WEIGHTS_NAME,
    damaged,
    read_description,
)
from earsight.network.ensemble import Ensemble, join_classifiers
from earsight.network.prediction import UnknownLimits
from earsight.network.settings import NetworkSettings

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier

C = TypeVar("C", bound="Classifier")
_OWN_KEY = "own_network"


def check_folder(folder: Path) -> None:
    """Raise SettingsError where ``save`` must not write: into a folder of anything but an earlier ``save``."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"{folder} is a file; name a folder")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if strange := sorted(names - {SETTINGS_NAME, WEIGHTS_NAME}):
        raise SettingsError(f"{folder} holds something else ({strange[0]}); name a new folder, or an empty one")
    try:
        read_description(folder)
    except ModelError as error:
        raise SettingsError(f"{folder} holds something else ({error}); name a new folder, or an empty one") from error


def save_classifier(classifier: "Classifier", folder: Path, facts: Mapping[str, Any]) -> None:
    """Write model.safetensors, then model.json. facts: more entries of model.json (recipe, data, epoch …)."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {
        "format": FORMAT,
        "labels": list(classifier.labels),
        "audio": classifier.audio.model_dump(),
        "mel": classifier.mel.model_dump(),
        "network": classifier.network_settings.model_dump(),
        **_members(classifier),
        **_own_network(classifier),
        "task": "multilabel" if classifier.multilabel else "single",
        **_fitted_values(classifier),
        **facts,
    }
    _write_weights(classifier, folder)
    write_json(folder / SETTINGS_NAME, described)


def _members(classifier: "Classifier") -> dict[str, Any]:
    if not isinstance(classifier.network, Ensemble):
        return {}
    members = zip(classifier.members, classifier.network.temperatures, strict=True)
    return {"members": [{"network": one.model_dump(), "temperature": temperature} for one, temperature in members]}


def _own_network(classifier: "Classifier") -> dict[str, Any]:
    """The class of a network that timm can't make, which ``load`` must be given."""
    network = classifier.network
    if isinstance(network, Ensemble) or hasattr(network, "pretrained_cfg"):
        return {}
    return {_OWN_KEY: type(network).__name__}


def save_fitted(classifier: "Classifier", folder: Path) -> None:
    """Write what was fitted after training: temperature, thresholds, directions, limits of the unknown."""
    described = read_description(folder)
    described |= _fitted_values(classifier)
    _write_weights(classifier, folder)
    write_json(folder / SETTINGS_NAME, described)


def _fitted_values(classifier: "Classifier") -> dict[str, Any]:
    return {
        "temperature": classifier.temperature,
        "unknown": classifier.unknown.to_dict(),
        **({"thresholds": list(classifier.thresholds)} if classifier.thresholds is not None else {}),
    }


def _write_weights(classifier: "Classifier", folder: Path) -> None:
    state = state_to_save(classifier.network)
    if classifier.directions is not None:
        state[DIRECTIONS_KEY] = classifier.directions.detach().cpu().contiguous()
    write_atomic(folder / WEIGHTS_NAME, save(state))


def state_to_save(network: nn.Module) -> dict[str, Tensor]:
    """The ``state_dict`` on the CPU, each tensor a copy: safetensors refuses tensors that share memory, as layers of
    some networks do (CoaT)."""
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in network.state_dict().items()
    }


def _temperature(described: Mapping[str, Any], folder: Path) -> float:
    value = described.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-9 < value < 1e9:
        raise damaged(folder / SETTINGS_NAME, f"its temperature is {value!r}")
    return float(value)


def _multilabel(described: Mapping[str, Any], folder: Path) -> bool:
    task = described.get("task", "single")
    if task not in {"single", "multilabel"}:
        raise damaged(folder / SETTINGS_NAME, f"its task is {task!r}")
    return bool(task == "multilabel")


def _thresholds(described: Mapping[str, Any], folder: Path) -> tuple[float, ...]:
    values = described.get("thresholds")
    if (
        not isinstance(values, list)
        or len(values) != len(described["labels"])
        or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    ):
        raise damaged(folder / SETTINGS_NAME, "its thresholds are no number from 0 to 1 for each label")
    return tuple(map(float, values))


def load_classifier(kind: type[C], folder: Path, network: nn.Module | None = None) -> C:
    """The model of a folder, on the CPU. network: gets the weights; None: timm's is made. Raises ModelError."""
    described = read_description(folder)
    own = described.get(_OWN_KEY)
    if own is not None and network is None:
        raise ModelError(f"the network of {folder} is {own!r}, not timm's; pass one: Classifier.load(…, network=…)")
    if network is not None and described.get("members"):
        raise ModelError(f"{folder} has an ensemble, whose networks are timm's; leave network out")
    try:
        members = [(member["network"], _temperature(member, folder)) for member in described.get("members", [])]
        settings_of = [settings for settings, _ in members] or [described["network"]]
        built = [_build_classifier(kind, described, settings, folder, network) for settings in settings_of]
    except (KeyError, TypeError, AttributeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise damaged(folder / SETTINGS_NAME, what) from error
    for one, (_, temperature) in zip(built, members, strict=False):
        one.temperature = temperature
    whole = join_classifiers(built) if members else built[0]
    whole.temperature = _temperature(described, folder)
    if whole.multilabel:
        whole.thresholds = _thresholds(described, folder)
    whole.unknown = UnknownLimits.from_dict(described.get("unknown"), folder / SETTINGS_NAME)
    try:
        state = load_file(folder / WEIGHTS_NAME)
        whole.directions = state.pop(DIRECTIONS_KEY, None)
        if state.pop(LEGACY_KEY, None) is not None:
            whole.unknown = UnknownLimits()  # limits of another measure of familiarity
        whole.network.load_state_dict(state)
        lost = next((key for key, value in state.items() if not torch.isfinite(value).all()), None)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        if "Error(s) in loading state_dict" in reason:  # torch lists all names
            reason = "they are of two networks"
        raise ModelError(
            f"{folder / WEIGHTS_NAME} does not fit {SETTINGS_NAME} ({reason[:200]}); restore it or train again"
        ) from error
    if lost is not None:
        raise damaged(folder / WEIGHTS_NAME, f"{lost} has weights that are not numbers")
    return whole


def _build_classifier(
    kind: type[C], described: Mapping[str, Any], settings: Any, folder: Path, network: nn.Module | None
) -> C:
    """The classifier with untrained weights, on the CPU. Raises ModelError where model.json is damaged."""
    try:
        of_network = NetworkSettings.model_validate(settings)
        audio = AudioSettings.model_validate(described["audio"])
        mel = MelSettings.model_validate(described["mel"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(folder / SETTINGS_NAME, f"{where}: {first['msg']}") from error
    plain = of_network.model_copy(update={"pretrained": False, "weights": None})
    several = _multilabel(described, folder)
    built = kind(tuple(described["labels"]), audio, mel, plain, multilabel=several, network=network)
    built.network_settings = of_network
    return built
