"""Merge batch norms into the convolutions in front of them: the same function with a third of the memory traffic.

In evaluation a batch norm is `y = (x - mean) / sqrt(variance + eps) * gain + shift` with fixed numbers per channel,
so it only scales the filters that made `x` and moves their bias. This holds where the norm *follows* the convolution,
as it does everywhere in Wav2Lip; before a zero-padded convolution the shift would leak in at the border.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from visema_wav2lip.model.blocks import ConvUnit, UpUnit

Network = TypeVar("Network", bound=nn.Module)


def fold_batch_norms(network: Network) -> Network:
    """A copy of `network` in which no `ConvUnit` or `UpUnit` has a batch norm any more. Computed in float64.

    The copy's state dict has other names: load checkpoints before folding.
    """
    folded = copy.deepcopy(network)
    for unit in folded.modules():
        if isinstance(unit, ConvUnit | UpUnit):
            convolution = folded_convolution(*unit.conv_block)
            unit.conv_block = nn.Sequential(convolution)
    return folded


def folded_convolution(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    """`convolution`, changed in place so that it does what both did.

    Raises: TypeError, ValueError: not a convolution with bias and a batch norm with running statistics.
    """
    if not isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"cannot fold {type(norm).__name__} into {type(convolution).__name__}")
    mean, variance = norm.running_mean, norm.running_var
    bias = convolution.bias
    if mean is None or variance is None or bias is None:
        raise ValueError("only a convolution with bias and a norm with running statistics can be folded")
    gain = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)  # (out,)
    # A transposed kernel is (in, out, kh, kw): its output axis is the second.
    out_axis = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
    shape = [1] * convolution.weight.dim()
    shape[out_axis] = -1
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight.double() * gain.view(shape))
        bias.copy_((bias.double() - mean.double()) * gain + norm.bias.double())
    return convolution
