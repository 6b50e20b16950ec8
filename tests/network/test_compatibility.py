import re
from pathlib import Path

import pytest
import torch
from torch import nn

from earsight.audio.settings import AudioSettings
from earsight.errors import ModelError
from earsight.mel.settings import MelSettings
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.compatibility import ensure_trainable
from earsight.network.settings import NetworkSettings


def heard(model: str, network: nn.Module | None = None, mels: int = 20, **changes: object) -> Classifier:
    """Of images of mels × 26."""
    settings = NetworkSettings(model=model, pretrained=False, **changes)
    return Classifier(("a", "b", "c"), AudioSettings(crop_s=0.25), MelSettings(n_mels=mels), settings, network=network)


class Stub(nn.Module):
    """Takes images whose sides are multiples of so many, and gives so many numbers a clip."""

    def __init__(self, multiple: int = 1, numbers: int = 3) -> None:
        super().__init__()
        self.pretrained_cfg: dict[str, object] = {}
        self.multiple = multiple
        self.last = nn.Linear(1, numbers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if any(side % self.multiple for side in image.shape[2:]):
            raise AssertionError
        return self.last(image.mean(dim=(1, 2, 3))[:, None])


@pytest.mark.parametrize("model", ["test_efficientnet", "test_vit"])
def test_trying_leaves_everything_as_it_was(model: str) -> None:
    classifier = heard(model)
    shape, settings, training = classifier.image_shape, classifier.network_settings, classifier.network.training
    before = {key: value.clone() for key, value in classifier.network.state_dict().items()}
    random = torch.get_rng_state()
    assert ensure_trainable(classifier) == ""
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in classifier.network.state_dict().items())
    assert all(weight.grad is None for weight in classifier.network.parameters())
    assert (classifier.image_shape, classifier.network_settings) == (shape, settings)
    assert classifier.network.training is training


def test_a_network_that_takes_multiples_gets_them_and_keeps_them_when_loaded(tmp_path: Path) -> None:
    classifier = heard("dla46x_c")
    with pytest.raises(RuntimeError, match="must match"):
        classifier(torch.randn(2, 1, 4000))
    assert ensure_trainable(classifier) == (
        "dla46x_c takes no images of 1×20×26: they are enlarged to 1×32×32 (network.size_multiple 32)"
    )
    save_classifier(classifier, tmp_path, {})
    loaded = Classifier.load(tmp_path)
    assert (loaded.image_shape, loaded.network_settings.size_multiple) == ((1, 32, 32), 32)
    sound = torch.randn(2, 1, 4000)
    assert torch.equal(loaded(sound), classifier.eval()(sound))
    assert ensure_trainable(loaded) == ""


@pytest.mark.parametrize(("multiple", "size"), [(1, (20, 26)), (13, None), (32, (32, 32)), (128, (128, 128))])
def test_powers_of_two_are_tried(multiple: int, size: tuple[int, int] | None) -> None:
    classifier = heard("stub", Stub(multiple))
    if size is None:
        message = (
            "stub can't learn from images of 1×20×26: AssertionError; choose another --model, or --in-chans 3, "
            "or another size by --network.size-multiple, --mel.n-mels, --audio.crop-s"
        )
        with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
            ensure_trainable(classifier)
        assert classifier.image_shape == (1, 20, 26)
        assert ensure_trainable(heard("stub", Stub(multiple), size_multiple=13)) == ""
    else:
        ensure_trainable(classifier)
        assert classifier.image_shape[1:] == size


def test_what_was_asked_for_is_not_changed() -> None:
    with pytest.raises(ModelError, match=r"can't learn from images of 1×24×32"):
        ensure_trainable(heard("stub", Stub(32), size_multiple=8))


def test_one_clip_a_batch_where_the_network_needs_two() -> None:
    assert ensure_trainable(heard("test_resnet", mels=9), clips=2) == ""
    with pytest.raises(
        ModelError, match=r"test_resnet can't be trained on a batch of one clip .*; change --batch-size"
    ):
        ensure_trainable(heard("test_resnet", mels=9), clips=1)
    assert ensure_trainable(heard("test_vit", mels=9), clips=1) == ""


def test_a_network_without_one_number_a_class() -> None:
    with pytest.raises(ModelError, match=r"its output for 2 clips is \[2, 5\], not one number per class, \[2, 3\];"):
        ensure_trainable(heard("stub", Stub(numbers=5)))


@pytest.mark.filterwarnings("ignore:CSATv2 is designed")
def test_channels_that_a_network_needs_are_named() -> None:
    with pytest.raises(
        ModelError, match=r"csatv2 can't learn from images of 1×20×26: .*or --in-chans 3, or another size"
    ):
        ensure_trainable(heard("csatv2"))
    assert "csatv2 takes no images of 3×20×26: they are enlarged" in ensure_trainable(heard("csatv2", in_chans=3))
