"""Settings of the network and of its optimizer. No torch here: they are checked before it is imported."""

from typing import Literal

from pydantic import Field

from earsight.settings import Settings


class NetworkSettings(Settings):
    model: str = "efficientnet_b0"
    """Any timm network by name, with or without the tag of its weights."""
    in_chans: int | None = Field(default=None, ge=1, le=64)
    """Channels of the image; a multiple of the audio channels, which are repeated. none: the audio channels."""
    size_multiple: int = Field(default=1, ge=1, le=512)
    """Images are enlarged until height and width are multiples of so many. 1: they stay as they are, unless the network
    refuses them: then multiples of 32, 64, 128 and 256 are tried."""
    pretrained: bool = True
    """Start from ImageNet weights: timm's own, or those of `weights`."""
    weights: str | None = None
    """A safetensors or pth file under timm's names instead of timm's hub."""
    drop_rate: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the classifier."""
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1)
    """Stochastic depth, for networks that have it."""


class OptimizerSettings(Settings):
    name: Literal["sgd", "adamw"] = "adamw"
    """Optimizer, of torch."""
    lr: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum; used by SGD only."""
    weight_decay: float = Field(default=0.02, ge=0)
    """Not on biases and normalisation layers."""
    warmup_epochs: float = Field(default=2.0, ge=0)
    """Epochs of linear rise of the learning rate from zero."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """After the rise: constant, or a half cosine down to zero."""
    clip_grad_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0: not clipped."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer learns so many times as fast as the one after it; 1: all alike."""
    ema_decay: float = Field(default=0.98, ge=0, lt=1)
    """Score and keep a running mean of the weights, which holds so much of itself at each step; 0: the weights."""


class UnknownSettings(Settings):
    coverage: float = Field(default=0.98, gt=0, le=1)
    """Share of the validation clips that are to be answered; what is less familiar than the others is unknown."""
    risk: float | None = Field(default=None, ge=0, lt=1)
    """Answer only what is confident enough that no larger share of wrong answers is left among the validation clips,
    or nothing where no confidence is enough; none: however unsure."""


class LossSettings(Settings):
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: clips of rare classes count for more, so that every class counts the same."""
