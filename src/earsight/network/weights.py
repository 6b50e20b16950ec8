"""A timm network with its starting weights, or an error that says what to do."""

import pickle
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn

from earsight.errors import ModelError, first_line
from earsight.network.description import NON_NETWORK_KEYS
from earsight.network.hub import offline_if_unreachable
from earsight.network.names import check_model_name
from earsight.network.settings import NetworkSettings


def create_network(settings: NetworkSettings, in_chans: int, classes: int) -> nn.Module:
    """Build the network and load its starting weights. Raises ModelError."""
    check_model_name(settings.model)
    from_hub = settings.pretrained and settings.weights is None
    options: dict[str, Any] = {"in_chans": in_chans, "num_classes": classes, "drop_rate": settings.drop_rate}
    if settings.drop_path_rate:
        options["drop_path_rate"] = settings.drop_path_rate
    try:
        with offline_if_unreachable() if from_hub else nullcontext():
            network = _create(settings.model, from_hub, options)
    except TypeError as error:
        raise ModelError(f"{settings.model} does not support a setting: {error}") from error
    except Exception as error:  # the hub's client raises a dozen kinds, some of them not its own
        if "pretrained tag" in str(error):
            name, _, tag = settings.model.partition(".")
            raise ModelError(
                f"timm has no weights {tag!r} of {name}; pass --model {name} for its own, or a name that "
                "timm.list_pretrained() has"
            ) from error
        if not from_hub:
            raise
        reason = first_line(error).partition(". ")[0]
        raise ModelError(
            f"can't get the pretrained weights of {settings.model} ({reason[:160]}); connect to the network, "
            "or pass --weights FILE (safetensors or pth under timm's names), or --no-pretrained"
        ) from error
    if settings.pretrained and settings.weights is not None:
        load_weights(network, settings.model, Path(settings.weights), in_chans)
    return network


def _create(model: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Without drop_path_rate where the network has no stochastic depth; only trying tells."""
    try:
        return timm.create_model(model, pretrained=pretrained, **options)
    except TypeError as error:
        if "drop_path_rate" not in options or "drop_path_rate" not in str(error):
            raise
    return _create(model, pretrained, {name: value for name, value in options.items() if name != "drop_path_rate"})


def load_weights(network: nn.Module, model: str, path: Path, in_chans: int) -> None:
    """Load a file of weights under timm's names: the stem adapted to ``in_chans``, the classifier left as it is.

    Raises ModelError where the file is missing, unreadable, or not of this network.
    """
    if not path.is_file():
        raise ModelError(f"no weights file: {path}; give a safetensors or pth file under timm's names")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, of an old pickle
            loaded: dict[str, Any] = dict(load_state_dict(str(path), weights_only=True))
    except Exception as error:  # a file of any content: whatever its readers raise
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            raise ModelError(f"refused {path}: it holds more than tensors; save its state_dict alone") from error
        reason = first_line(error)[:160]
        raise ModelError(
            f"can't read weights from {path} ({reason}); give a safetensors or pth file under timm's names"
        ) from error
    for key in NON_NETWORK_KEYS:
        loaded.pop(key, None)  # of a run of earsight
    if strange := [key for key, value in loaded.items() if not isinstance(value, Tensor)]:
        raise ModelError(f"can't use {path}: {strange[0]!r} is not a tensor; save the network's state_dict alone")
    # Before the stem is adapted: sums in half precision would be rounded.
    state = {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}
    config = _config(network)
    for name in _as_tuple(config.get("first_conv")):
        key = f"{name}.weight"
        if key in state and state[key].ndim == 4 and state[key].shape[1] != in_chans:
            try:
                state[key] = adapt_input_conv(in_chans, state[key])
            except NotImplementedError as error:
                had = state[key].shape[1]
                raise ModelError(
                    f"the first layer of {path} takes {had} channel{'s' if had > 1 else ''}, which can't be made "
                    f"{in_chans}; pass --in-chans {had}, or other weights"
                ) from error
    heads = tuple(f"{name}." for name in _as_tuple(config.get("classifier")))
    state = {key: value for key, value in state.items() if not (heads and key.startswith(heads))}
    own = {key: value for key, value in network.state_dict().items() if not (heads and key.startswith(heads))}
    # Batch norm's step counters don't matter for the output, and many published files lack them.
    missing = {key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    unknown = state.keys() - own.keys()
    other_shape = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or unknown or other_shape:
        example = min([*missing, *unknown, *other_shape])
        raise ModelError(
            f"{path} holds the weights of another network than {model}: {len(missing)} tensors missing, "
            f"{len(unknown)} unknown, {len(other_shape)} of another shape (such as {example}); "
            "pass the --model that they belong to"
        )
    network.load_state_dict({**network.state_dict(), **state})


def _config(network: nn.Module) -> dict[str, Any]:
    """timm's ``pretrained_cfg``; empty for a network that is not timm's."""
    config: Any = getattr(network, "pretrained_cfg", None)
    return dict(config or {})


def _as_tuple(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def fixed_size(network: nn.Module) -> tuple[int, int] | None:
    """(height, width) where the network takes one size of image only (ViT, Swin …), else None."""
    config = _config(network)
    return tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None
