"""Batch norms folded into the convolution before them, and convolutions padded to sizes that hardware likes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def folded(conv: nn.Conv2d | nn.Conv3d, norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Kernel and bias of `norm(conv(x))` in evaluation mode.

    Only for a norm that *follows* its convolution: folding one into a following zero-padded convolution would let the
    norm's shift leak in at the border.
    """
    if norm.running_var is None or norm.running_mean is None or conv.bias is None:
        raise ValueError("a batch norm without running statistics, or a convolution without bias, cannot be folded")
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = (conv.bias - norm.running_mean) * gain + norm.bias
    return conv.weight * gain.view(-1, *(1,) * (conv.weight.dim() - 1)), bias


def padded(tensor: Tensor, size: int, dim: int = 0) -> Tensor:
    """`tensor` with zeros appended along `dim` up to `size`."""
    shape = list(tensor.shape)
    shape[dim] = size - shape[dim]
    return torch.cat((tensor, tensor.new_zeros(shape)), dim=dim)


def conv2d_from(
    weight: Tensor, bias: Tensor | None, padding: int | tuple[int, int] = 0, stride: tuple[int, int] = (1, 1)
) -> nn.Conv2d:
    """A module around given values, channels last."""
    out_channels, in_channels, height, width = weight.shape
    conv = nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def conv3d_from(weight: Tensor, bias: Tensor, padding: tuple[int, int, int]) -> nn.Conv3d:
    """A module around given values, channels last."""
    out_channels, in_channels, *size = weight.shape
    conv = nn.Conv3d(in_channels, out_channels, (size[0], size[1], size[2]), padding=padding, device="meta")
    conv.weight = nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last_3d), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv
