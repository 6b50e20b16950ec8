"""Which part of an image speaks for a class: HiResCAM, a kin of Grad-CAM, or gradients where there is no feature
map."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from earsight.audio.decode import Samples
from earsight.extras import require
from earsight.network.classifier import Classifier
from earsight.network.ensemble import Ensemble
from earsight.network.eval_mode import eval_mode

_FINEST_REDUCTION = 8
_SMOOTHED = 9


def attribution(classifier: Classifier, crop: Samples, label: str) -> tuple[npt.NDArray[np.float32], str]:
    """The evidence for ``label`` in a crop, and the method by which it was found.

    crop: float32 [channels, crop_samples]. Returns float32 [n_mels, frames] in [0, 1] with maximum 1 (all 0 where
    nothing speaks for the label), and "HiResCAM" (Draelos and Carin 2020: Grad-CAM without averaging the gradients over
    the map) on the deepest features of stride 8 or less, else on the deepest ones; or "gradients" (input times
    gradient) where there is no feature map. For an ensemble, the mean over its members.
    docs/decisions/0008-explanations.md
    """
    target = classifier.labels.index(label)
    device = next(classifier.parameters()).device
    with torch.no_grad():
        image = classifier.image(torch.from_numpy(crop)[None].to(device))
    network = classifier.network
    networks = list(network.members) if isinstance(network, Ensemble) else [network]
    found = [_network_heat(one, image, target) for one in networks]
    size = (classifier.mel.n_mels, classifier.image.frames(crop.shape[1]))
    heats = [heat / heat.max().clamp_min(1e-12) for heat, _ in found]  # of different networks of different sizes
    alike = [nn.functional.interpolate(one[None, None], size, mode="bilinear", antialias=True) for one in heats]
    heat = torch.cat(alike).mean(dim=0)[0].clamp_min(0)
    return (heat / heat.max().clamp_min(1e-12)).cpu().numpy(), found[0][1]


def _network_heat(network: nn.Module, image: Tensor, target: int) -> tuple[Tensor, str]:
    """Evidence ≥ 0, float32 [height, width] of any size, and the method."""
    attr = require("captum.attr")
    with eval_mode(network):
        layer = feature_layer(network, image)
        if layer is not None:
            spoke = attr.LayerGradientXActivation(network, layer).attribute(image, target=target)
            return spoke[0].sum(dim=0).clamp_min(0).detach(), "HiResCAM"
        gradients = attr.InputXGradient(network).attribute(image.clone().requires_grad_(), target=target)
        rough = gradients[0].abs().sum(dim=0, keepdim=True).detach()
        smooth = nn.functional.avg_pool2d(rough, _SMOOTHED, stride=1, padding=_SMOOTHED // 2, count_include_pad=False)
        return smooth[0], "gradients"


@torch.no_grad()
def feature_layer(network: nn.Module, image: Tensor) -> nn.Module | None:
    """The module of the deepest features of stride 8 or less, else of the deepest ones, by timm's ``feature_info``;
    None where its output is no [batch, channels, height, width]."""
    stages = [stage for stage in getattr(network, "feature_info", []) if "module" in stage and "reduction" in stage]
    fine = [stage for stage in stages if stage["reduction"] <= _FINEST_REDUCTION]
    modules = dict(network.named_modules())
    for stage in (*fine[-1:], *stages[-1:]):
        layer = modules.get(stage["module"])
        shape = _shape_of(network, layer, image) if layer is not None else ()
        if len(shape) == 4 and shape[1] == stage["num_chs"] and max(shape[2:]) > 1:
            return layer
    return None


def _shape_of(network: nn.Module, layer: nn.Module, image: Tensor) -> tuple[int, ...]:
    """Shape of the layer's output; () where it is no tensor."""
    shapes: list[tuple[int, ...]] = []
    hook = layer.register_forward_hook(lambda _, __, given: shapes.append(tuple(getattr(given, "shape", ()))))
    try:
        network(image)
    finally:
        hook.remove()
    return shapes[0] if shapes else ()
