import copy

import pytest
import timm
import torch
from torch import nn

from earsight.network.depthwise import Depthwise, use_fast_depthwise


def gradients(conv: nn.Conv2d, image: torch.Tensor, slope: torch.Tensor) -> dict[str, torch.Tensor]:
    conv.zero_grad()
    image = image.detach().requires_grad_()
    out = conv(image)
    out.backward(slope)
    found = {name: weight.grad.double() for name, weight in conv.named_parameters() if weight.grad is not None}
    assert image.grad is not None
    return {"out": out.detach().double(), "image": image.grad.double(), **found}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "height", "width"),
    [(5, 4, 10), (5, 4, 2), (5, 1, 5), (5, 1, 1), (7, 4, 9), (7, 6, 3), (3, 2, 5), (3, 2, 1), (5, 8, 4)],
)
def test_gradients_are_those_of_the_convolution(kernel: int, height: int, width: int, bias: bool) -> None:
    """Beside torch's own in float64: images lower than the kernel, narrower too, and neither."""
    torch.manual_seed(0)
    conv = nn.Conv2d(12, 12, kernel, padding=kernel // 2, groups=12, bias=bias)
    exact = copy.deepcopy(conv).double()
    use_fast_depthwise(conv)
    assert type(conv) is Depthwise
    image, slope = (torch.randn(3, 12, height, width).contiguous(memory_format=torch.channels_last) for _ in range(2))
    found, expected = gradients(conv, image, slope), gradients(exact, image.double(), slope.double())
    assert found.keys() == expected.keys() == {"out", "image", "weight"} | ({"bias"} if bias else set())
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-5)


def test_another_way_is_taken_below_the_kernels_height() -> None:
    conv = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    use_fast_depthwise(conv)
    names = {
        height: type(conv(torch.zeros(1, 8, height, 9)).grad_fn).__name__  # of the function that goes back
        for height in (4, 5)
    }
    assert names == {4: "_ConvolutionBackward", 5: "ConvolutionBackward0"}
    with torch.no_grad():
        assert conv(torch.zeros(1, 8, 4, 9)).grad_fn is None
    with torch.autocast("cpu", torch.bfloat16):  # whose gradients have another type than what they belong to
        mixed = conv(torch.zeros(1, 8, 4, 9))
    assert (type(mixed.grad_fn).__name__, mixed.dtype) == ("ConvolutionBackward0", torch.bfloat16)


def test_a_network_keeps_its_weights_and_its_answers() -> None:
    torch.manual_seed(0)
    network = timm.create_model("efficientnet_b0", in_chans=1, num_classes=3).eval()
    image = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        before, names = network(image), list(network.state_dict())
        use_fast_depthwise(network)
        assert torch.equal(network(image), before)
        assert torch.equal(copy.deepcopy(network)(image), before)
    assert list(network.state_dict()) == names
    quick = [module for module in network.modules() if isinstance(module, Depthwise)]
    assert {module.stride for module in quick} == {(1, 1)}
    assert len(quick) == 12  # of 16 blocks: the others have a stride


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, 1, groups=8),
        nn.Conv2d(8, 16, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=0, groups=8),
        nn.Conv2d(8, 8, 5, padding="same", groups=8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, padding_mode="reflect"),
    ],
)
def test_other_convolutions_stay(conv: nn.Conv2d) -> None:
    use_fast_depthwise(conv)
    assert type(conv) is nn.Conv2d
