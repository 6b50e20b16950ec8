"""Settings of the network and of its optimizer. No torch here: they are checked before it is imported."""

from typing import Literal

from pydantic import Field

from earsight.settings import Settings


class NetworkSettings(Settings):
    model: str = "efficientnet_b0"
    """Any timm network by name, with or without the tag of its weights."""
    in_chans: int | None = Field(default=None, ge=1, le=64)
    """Number of image channels: a multiple of those that audio.channels and mel.planes give, which are repeated; none:
    without repetition."""
    size_multiple: int = Field(default=1, ge=1, le=512)
    """Enlarge images until height and width are multiples of this. With 1 they keep their size, unless the network
    refuses it; then multiples of 32, 64, 128 and 256 are tried."""
    pretrained: bool = True
    """Start from ImageNet weights: timm's own, or those of network.weights."""
    weights: str | None = None
    """A safetensors or pth file with timm's parameter names, instead of a download from timm's hub."""
    drop_rate: float = Field(default=0.2, ge=0, lt=1)
    """Dropout rate before the classifier."""
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1)
    """Stochastic depth rate, for networks that support it."""


class OptimizerSettings(Settings):
    name: Literal["sgd", "adamw"] = "adamw"
    """Optimizer."""
    lr: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum, for sgd only."""
    weight_decay: float = Field(default=0.02, ge=0)
    """Weight decay; not applied to biases and normalisation layers."""
    warmup_epochs: float = Field(default=2.0, ge=0)
    """Epochs in which the learning rate rises linearly from zero."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up: constant, or falling to zero along a half cosine."""
    clip_grad_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0: no clipping."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of each layer, relative to that of the layer after it; 1: the same for all."""
    ema_decay: float = Field(default=0.98, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is scored and kept; 0: no averaging."""


class UnknownSettings(Settings):
    coverage: float = Field(default=0.98, gt=0, le=1)
    """Share of the validation clips that should be answered; those least familiar to the network are unknown."""
    risk: float | None = Field(default=None, ge=0, lt=1)
    """Largest share of wrong answers among the answered validation clips; less confident answers become unknown (nearly
    all, if no confidence is enough). none: no limit."""


class LossSettings(Settings):
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target probability that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: clips of rare classes weigh more, so that every class counts the same; none: all clips weigh the
    same."""
