"""G: paints the picture from the warped features with spatially adaptive normalisation (SPADE, arXiv 1903.07291)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HIDDEN_CHANNELS = 128  # between the label map and the modulation
NEGATIVE_SLOPE = 0.2
NORM_EPS = 1e-5


class SpectralConv2d(nn.Conv2d):
    """A convolution whose kernel is divided by its largest singular value, as stored by the training code.

    The file holds the undivided kernel and the two singular vectors found in training, so evaluation needs no
    iteration: sigma = u . (W v).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        kernel = self.weight.detach()
        del self.weight
        self.weight_orig = nn.Parameter(kernel)
        self.register_buffer("weight_u", F.normalize(torch.ones(out_channels), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.ones(kernel[0].numel()), dim=0))

    def normalised_weight(self) -> Tensor:
        """The kernel that is used: (out_channels, in_channels, k, k)."""
        sigma = torch.dot(cast("Tensor", self.weight_u), self.weight_orig.flatten(1) @ cast("Tensor", self.weight_v))
        return self.weight_orig / sigma

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return F.conv2d(x, self.normalised_weight(), self.bias, padding=self.padding)


class SpadeNorm(nn.Module):
    """Instance norm whose gain and offset are painted by the label map, cell by cell."""

    def __init__(self, channels: int, label_channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(label_channels, HIDDEN_CHANNELS, kernel_size=3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(HIDDEN_CHANNELS, channels, kernel_size=3, padding=1)
        self.mlp_beta = nn.Conv2d(HIDDEN_CHANNELS, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """`x` (B, channels, H, W), `label` (B, label_channels, h, w) of any size -> (B, channels, H, W)."""
        label = F.interpolate(label, size=x.shape[2:], mode="nearest")
        hidden = self.mlp_shared(label)  # (B, 128, H, W)
        normalised = F.instance_norm(x, eps=NORM_EPS)
        modulated: Tensor = normalised * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)
        return modulated


class SpadeResidualBlock(nn.Module):
    """Two modulated convolutions beside a shortcut, which is modulated too where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, label_channels: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.conv_0 = SpectralConv2d(in_channels, middle, 3)
        self.conv_1 = SpectralConv2d(middle, out_channels, 3)
        self.norm_0 = SpadeNorm(in_channels, label_channels)
        self.norm_1 = SpadeNorm(middle, label_channels)
        self.learned_shortcut = in_channels != out_channels
        if self.learned_shortcut:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 1, bias=False)
            self.norm_s = SpadeNorm(in_channels, label_channels)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """`x` (B, in_channels, H, W) -> (B, out_channels, H, W)."""
        shortcut = self.conv_s(self.norm_s(x, label)) if self.learned_shortcut else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, label), NEGATIVE_SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, label), NEGATIVE_SLOPE))
        total: Tensor = shortcut + y
        return total


class SPADEDecoder(nn.Module):
    """Paints a 512 x 512 picture from the features that W warped, which also serve as the label map of every norm.

    The keywords are those of the official configuration.
    """

    def __init__(
        self, *, upscale: int = 2, block_expansion: int = 64, max_features: int = 512, num_down_blocks: int = 2
    ) -> None:
        super().__init__()
        label = min(max_features, block_expansion * 2**num_down_blocks)  # 256
        wide = 2 * label
        self.fc = nn.Conv2d(label, wide, kernel_size=3, padding=1)
        self.G_middle_0 = SpadeResidualBlock(wide, wide, label)
        self.G_middle_1 = SpadeResidualBlock(wide, wide, label)
        self.G_middle_2 = SpadeResidualBlock(wide, wide, label)
        self.G_middle_3 = SpadeResidualBlock(wide, wide, label)
        self.G_middle_4 = SpadeResidualBlock(wide, wide, label)
        self.G_middle_5 = SpadeResidualBlock(wide, wide, label)
        self.up_0 = SpadeResidualBlock(wide, label, label)
        self.up_1 = SpadeResidualBlock(label, block_expansion, label)
        self.conv_img = nn.Sequential(
            nn.Conv2d(block_expansion, 3 * upscale**2, kernel_size=3, padding=1), nn.PixelShuffle(upscale)
        )

    @property
    def middle_blocks(self) -> list[SpadeResidualBlock]:
        """The six blocks that work at the size of the label map."""
        return [
            self.G_middle_0,
            self.G_middle_1,
            self.G_middle_2,
            self.G_middle_3,
            self.G_middle_4,
            self.G_middle_5,
        ]

    def forward(self, feature: Tensor) -> Tensor:
        """(B, 256, 64, 64) -> (B, 3, 512, 512), RGB in [0, 1]."""
        x = self.fc(feature)  # (B, 512, 64, 64)
        for block in self.middle_blocks:
            x = block(x, feature)
        x = self.up_0(F.interpolate(x, scale_factor=2, mode="nearest"), feature)  # (B, 256, 128, 128)
        x = self.up_1(F.interpolate(x, scale_factor=2, mode="nearest"), feature)  # (B, 64, 256, 256)
        x = self.conv_img(F.leaky_relu(x, NEGATIVE_SLOPE))  # (B, 3, 512, 512)
        picture: Tensor = x.sigmoid()
        return picture
