"""Whether a network can be trained on images of this size: tried on noise before any recording is decoded."""

import copy

import torch

from earsight.errors import ModelError, first_line
from earsight.network.classifier import Classifier
from earsight.network.familiarity import features_and_logits
from earsight.network.weights import fixed_size

_MULTIPLES = (32, 64, 128, 256)
"""Image sizes to try: multiples of the total stride of most networks, and of stride times window size of some."""

_REFUSALS = (RuntimeError, AssertionError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What networks raise for images that they don't take: each author checks in another way."""


def ensure_trainable(classifier: Classifier, clips: int = 2) -> str:
    """Try one training step on ``clips`` images of noise, and an answer. Where the network refuses the image size but
    takes a larger one (a multiple of 32, 64, 128 or 256), set that.

    Returns what was changed, in words; "" for nothing. Weights, running statistics and torch's random state are not
    changed. Raises ModelError where the network can't be trained.
    """
    model, shape = classifier.network_settings.model, classifier.image_shape
    reason = untrainable_reason(classifier, clips)
    if not reason:
        return ""
    if clips == 1 and not untrainable_reason(classifier, 2):
        raise ModelError(
            f"{model} can't be trained on a batch of one clip ({reason}), which occurs here; change --batch-size"
        )
    free = fixed_size(classifier.network) is None
    if free and classifier.network_settings.size_multiple == 1:
        for multiple in _MULTIPLES:
            classifier.enlarge(multiple)
            reason = untrainable_reason(classifier, clips)
            if not reason:
                return (
                    f"{model} takes no images of {_written(shape)}: they are enlarged to "
                    f"{_written(classifier.image_shape)} (network.size_multiple {multiple})"
                )
        classifier.enlarge(1)
    ways = ["choose another --model"]
    ways += ["--in-chans 3"] if shape[0] != 3 else []
    ways += ["another size by --network.size-multiple, --mel.n-mels, --audio.crop-s"] if free else []
    raise ModelError(f"{model} can't learn from images of {_written(shape)}: {reason}; {', or '.join(ways)}")


def untrainable_reason(classifier: Classifier, clips: int) -> str:
    """Why the network can't train on ``clips`` images, or can't answer them; "" where it can. Tried on a copy."""
    classes = len(classifier.labels)
    with torch.random.fork_rng(devices=[]):
        images = torch.randn(clips, *classifier.image_shape).contiguous(memory_format=torch.channels_last)
        try:
            network = copy.deepcopy(classifier.network).to(memory_format=torch.channels_last)
            logits = network.train()(images)
            if not isinstance(logits, torch.Tensor) or logits.shape != (clips, classes):
                got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
                return f"its output for {clips} clips is {got}, not one number per class, {[clips, classes]}"
            logits.sum().backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                features_and_logits(network.eval(), images)
        except _REFUSALS as error:
            return first_line(error)[:160]
    return ""


def _written(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
