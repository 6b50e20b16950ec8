"""A faster weight gradient of depthwise convolutions on a CPU, where the image is lower than the kernel."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad


def use_fast_depthwise(network: nn.Module) -> None:
    """Give depthwise convolutions of stride 1 the faster gradient, in place, for training on a CPU. Weights, their
    names and the output stay the same; gradients change in their last digits.

    The last layers of an EfficientNet see an image of 3 s as 4 rows of 10 columns, with 5×5 kernels. oneDNN 3.13 (torch
    2.15, AVX2) takes 30 to 50 ms there for the weight gradient of 1152 kernels and 32 clips, and 2 ms for each of the
    other two passes: it has no fast code for images lower than the kernel. It has for narrow ones, so the images are
    transposed: 9 to 16 ms.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = Depthwise


def _fits(conv: nn.Conv2d) -> bool:
    height, width = conv.kernel_size
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and height == width > 1
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding == (height // 2, width // 2)
        and height % 2 == 1
        and conv.padding_mode == "zeros"
    )


class Depthwise(nn.Conv2d):
    """``nn.Conv2d`` with another way to the same weight gradient."""

    def forward(self, image: Tensor) -> Tensor:
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if image.shape[-2] >= self.kernel_size[0] or not learns or torch.is_autocast_enabled(image.device.type):
            return super().forward(image)
        out: Tensor = _Convolution.apply(image, self.weight, self.bias)
        return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(image, weight)
        return conv2d(image, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        image, weight = ctx.saved_tensors
        of_image, of_weight, of_bias = ctx.needs_input_grad
        return (
            _gradient(slope, image, weight, 0) if of_image else None,
            _weight_gradient(slope, image, weight) if of_weight else None,
            slope.sum(dim=(0, 2, 3)) if of_bias else None,
        )


def _weight_gradient(slope: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    kernel = weight.shape[-1]
    if image.shape[-1] >= kernel:
        return _gradient(_transposed(slope), _transposed(image), _transposed(weight), 1).transpose(2, 3)
    rows = (0, 0, 0, kernel - image.shape[-2])  # zeros below the image add nothing
    return _gradient(pad(slope, rows), pad(image, rows), weight, 1)


def _transposed(plane: Tensor) -> Tensor:
    return plane.transpose(2, 3).contiguous(memory_format=torch.channels_last)


def _gradient(slope: Tensor, image: Tensor, weight: Tensor, of: int) -> Tensor:
    """The gradient with respect to the image (of = 0) or the weight (of = 1)."""
    half, mask = weight.shape[-1] // 2, [of == 0, of == 1, False]
    found: Tensor = torch.ops.aten.convolution_backward(
        slope, image, weight, None, [1, 1], [half, half], [1, 1], False, [0, 0], len(weight), mask
    )[of]
    return found
