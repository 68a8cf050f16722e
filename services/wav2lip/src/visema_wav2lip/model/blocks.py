"""The two building blocks that every Wav2Lip network is stacked from.

A block owns `conv_block = Sequential(convolution, batch norm)`; those names are the checkpoint's. Evaluation only:
batch norm uses its running statistics, so `folding.fold_batch_norms` can merge it into the convolution before it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

Size = int | tuple[int, int]


class ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU; a residual unit adds its input between batch norm and ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; a residual unit needs the same number.
        kernel: Kernel size, one number or (height, width).
        stride: Stride; a pair where the mel axis shrinks faster than the time axis.
        padding: Zero padding on every side.
        residual: Whether the input is added; needs equal shapes on both sides.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: Size,
        padding: int,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding), nn.BatchNorm2d(out_channels)
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        y: torch.Tensor = self.conv_block(x)
        # In place is safe: `y` was made by this unit and nobody else holds it.
        if self.residual:
            y += x
        return functional.relu_(y)


class UpUnit(nn.Module):
    """Transposed 3x3 convolution, batch norm, ReLU: the step that enlarges the picture in the decoder.

    Output side: `(in - 1) * stride + 3 - 2 * padding + output_padding`; stride 2 with both paddings 1 doubles it.
    The weight is (in, out, 3, 3): the output axis is dim 1, which matters when the batch norm is folded.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, padding: int, output_padding: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 3, stride, padding, output_padding),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        y: torch.Tensor = self.conv_block(x)
        return functional.relu_(y)


def residual_units(channels: int, count: int) -> list[ConvUnit]:
    """`count` residual 3x3 units that keep the shape."""
    return [ConvUnit(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]
