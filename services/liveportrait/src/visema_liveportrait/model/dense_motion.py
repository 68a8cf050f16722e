"""The dense motion network inside W: from sparse keypoints to a motion for every cell of the volume.

Each keypoint suggests that the whole volume moved by (source - driving). The network looks at all 21 suggestions plus
"nothing moved", each applied to a thin version of the volume, and decides cell by cell how far to believe each
(face-vid2vid, arXiv 2011.15126).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from visema_liveportrait.model.blocks import ConvBlock3d, DownBlock3d, UpBlock3d
from visema_liveportrait.model.grids import coordinate_grid, gaussian_heat_maps, sample_volume


class HourglassEncoder(nn.Module):
    """Five blocks down; keeps what every level saw."""

    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        sizes = [in_channels, *widths]
        self.down_blocks = nn.ModuleList(DownBlock3d(narrow, wide) for narrow, wide in pairwise(sizes))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the input and the output of every block, finest first."""
        levels = [x]
        for down_block in self.down_blocks:
            levels.append(down_block(levels[-1]))
        return levels


class HourglassDecoder(nn.Module):
    """Five blocks up, each joined with the encoder's view at its size, and a last convolution."""

    def __init__(self, in_channels: int, widths: list[int], block_expansion: int) -> None:
        super().__init__()
        outputs = [block_expansion, *widths[:-1]][::-1]  # 512, 256, 128, 64, 32
        skips = [in_channels, *widths[:-1]][::-1]  # 512, 256, 128, 64, 110
        inputs = [widths[-1], *(output + skip for output, skip in zip(outputs, skips, strict=True))]
        self.up_blocks = nn.ModuleList(UpBlock3d(wide, narrow) for wide, narrow in zip(inputs, outputs, strict=False))
        self.out_channels = inputs[-1]
        block = ConvBlock3d(self.out_channels, self.out_channels)
        self.conv, self.norm = block.conv, block.norm

    def forward(self, levels: list[Tensor]) -> Tensor:
        """`levels` as the encoder returns them -> (B, out_channels, D, H, W)."""
        x = levels.pop()
        for up_block in self.up_blocks:
            x = torch.cat((up_block(x), levels.pop()), dim=1)  # the new tensor comes first
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """A U-shaped network over height and width; the depth of 16 is never resampled."""

    def __init__(self, in_channels: int, block_expansion: int, num_blocks: int, max_features: int) -> None:
        super().__init__()
        widths = [min(max_features, block_expansion * 2 ** (level + 1)) for level in range(num_blocks)]
        self.encoder = HourglassEncoder(in_channels, widths)
        self.decoder = HourglassDecoder(in_channels, widths, block_expansion)
        self.out_channels = self.decoder.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, 110, 16, 64, 64) -> (B, 142, 16, 64, 64)."""
        y: Tensor = self.decoder(self.encoder(x))
        return y


class DenseMotionNetwork(nn.Module):
    """Predicts a deformation of the feature volume and an occlusion map from source and driving keypoints."""

    def __init__(
        self,
        *,
        num_kp: int,
        feature_channel: int,
        block_expansion: int = 32,
        max_features: int = 1024,
        num_blocks: int = 5,
        reshape_depth: int = 16,
        compress: int = 4,
    ) -> None:
        super().__init__()
        slots = num_kp + 1  # slot 0 is the background: nothing moves
        self.compress = nn.Conv3d(feature_channel, compress, kernel_size=1)
        self.norm = nn.BatchNorm3d(compress)
        self.hourglass = Hourglass(slots * (compress + 1), block_expansion, num_blocks, max_features)
        self.mask = nn.Conv3d(self.hourglass.out_channels, slots, kernel_size=7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.out_channels * reshape_depth, 1, kernel_size=7, padding=3)

    def forward(self, feature: Tensor, kp_driving: Tensor, kp_source: Tensor) -> tuple[Tensor, Tensor]:
        """Deformation and occlusion.

        Args:
            feature: (B, 32, 16, 64, 64), the appearance volume.
            kp_driving: (B, 21, 3).
            kp_source: (B, 21, 3).

        Returns: the sampling grid (B, 16, 64, 64, 3) and the occlusion map (B, 1, 64, 64) in [0, 1], 1 = visible.
        """
        batch, _, depth, height, width = feature.shape
        thin = F.relu(self.norm(self.compress(feature)))  # (B, 4, 16, 64, 64)
        identity = coordinate_grid(depth, height, width, like=feature)
        moves = kp_source - kp_driving  # (B, 21, 3)
        moves = F.pad(moves, (0, 0, 1, 0))  # (B, 22, 3): slot 0 does not move
        grids = identity + moves[:, :, None, None, None, :]  # (B, 22, 16, 64, 64, 3)

        slots = moves.shape[1]
        moved = sample_volume(thin.repeat_interleave(slots, dim=0), grids.flatten(0, 1))
        moved = moved.view(batch, slots, *moved.shape[1:])  # (B, 22, 4, 16, 64, 64)
        heat = gaussian_heat_maps(kp_driving, identity) - gaussian_heat_maps(kp_source, identity)
        heat = F.pad(heat, (0, 0, 0, 0, 0, 0, 1, 0))  # (B, 22, 16, 64, 64): slot 0 has no heat
        evidence = torch.cat((heat.unsqueeze(2), moved), dim=2).flatten(1, 2)  # (B, 22*5, 16, 64, 64)

        prediction = self.hourglass(evidence)  # (B, 142, 16, 64, 64)
        mask = self.mask(prediction).softmax(dim=1)  # (B, 22, 16, 64, 64)
        deformation = (mask.unsqueeze(-1) * grids).sum(dim=1)  # (B, 16, 64, 64, 3)
        occlusion = self.occlusion(prediction.flatten(1, 2)).sigmoid()  # channel c*16 + d
        return deformation, occlusion
