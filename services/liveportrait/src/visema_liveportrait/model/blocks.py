"""Convolution blocks that several LivePortrait networks share.

The attribute names `conv` and `norm` are the names in the official checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch reader knows


class ConvBlock2d(nn.Module):
    """Convolution, batch norm, (leaky) ReLU on (B, C, H, W).

    Args:
        negative_slope: Slope for negative values; 0 is the plain ReLU.
        pool: Halve height and width by averaging afterwards.
    """

    def __init__(self, in_channels: int, out_channels: int, *, negative_slope: float = 0.0, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.negative_slope = negative_slope
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W), or half of it with `pool`."""
        x = F.leaky_relu(self.norm(self.conv(x)), self.negative_slope)
        return F.avg_pool2d(x, 2) if self.pool else x


class ConvBlock3d(nn.Module):
    """Convolution, batch norm, ReLU on a volume (B, C, D, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) -> (B, out_channels, D, H, W)."""
        return F.relu(self.norm(self.conv(x)))


class DownBlock3d(ConvBlock3d):
    """A convolution block, then height and width halved by averaging; the depth stays."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) -> (B, out_channels, D, H/2, W/2)."""
        return F.avg_pool3d(super().forward(x), (1, 2, 2))


class UpBlock3d(ConvBlock3d):
    """Height and width doubled by repetition, then a convolution block; the depth stays."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) -> (B, out_channels, D, 2H, 2W)."""
        return super().forward(F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest"))


class ResidualBlock3d(nn.Module):
    """Pre-activation residual block on a volume: twice batch norm, ReLU, convolution, then the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) -> same shape; unbounded, nothing follows the sum."""
        residual = self.conv1(F.relu(self.norm1(x)))
        residual = self.conv2(F.relu(self.norm2(residual)))
        total: Tensor = x + residual
        return total
