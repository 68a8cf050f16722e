"""M: where the person's head is and what the face does, as keypoints and pose.

The trunk is ConvNeXt V2 (arXiv 2301.00808), tiny. The convolutions run channels first, norms and the pointwise layers
channels last, as in the paper.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

NORM_EPS = 1e-6  # layer norms and response norms of ConvNeXt V2, unlike the 1e-5 of batch and instance norms
POSE_BINS = 66  # 3 degrees each, -97.5 to 97.5: visema_liveportrait.geometry.pose decodes them
STAGE_DEPTHS = {"convnextv2_tiny": (3, 3, 9, 3)}
STAGE_WIDTHS = {"convnextv2_tiny": (96, 192, 384, 768)}


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a channels-first map."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Lets channels compete: each is scaled by its energy in the picture relative to the mean channel's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> same shape."""
        energy = x.square().sum(dim=(1, 2), keepdim=True).sqrt()  # (B, 1, 1, C)
        relative = energy / (energy.mean(dim=-1, keepdim=True) + NORM_EPS)
        return self.gamma * (x * relative) + self.beta + x


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise convolution, then a pointwise bottleneck four times as wide, then the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = GlobalResponseNorm(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape."""
        y = self.dwconv(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = F.gelu(self.pwconv1(self.norm(y)))  # the exact erf form
        y = self.pwconv2(self.grn(y))
        total: Tensor = x + y.permute(0, 3, 1, 2)
        return total


class ConvNeXtV2(nn.Module):
    """Trunk and the seven linear heads."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], num_kp: int) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList()
        # The stem convolves first and normalises after; the other three do it the other way round.
        self.downsample_layers.append(
            nn.Sequential(nn.Conv2d(3, widths[0], kernel_size=4, stride=4), ChannelNorm(widths[0], eps=NORM_EPS))
        )
        for narrow, wide in pairwise(widths):
            self.downsample_layers.append(
                nn.Sequential(ChannelNorm(narrow, eps=NORM_EPS), nn.Conv2d(narrow, wide, kernel_size=2, stride=2))
            )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=NORM_EPS)
        self.fc_kp = nn.Linear(widths[-1], 3 * num_kp)
        self.fc_scale = nn.Linear(widths[-1], 1)
        self.fc_pitch = nn.Linear(widths[-1], POSE_BINS)
        self.fc_yaw = nn.Linear(widths[-1], POSE_BINS)
        self.fc_roll = nn.Linear(widths[-1], POSE_BINS)
        self.fc_t = nn.Linear(widths[-1], 3)
        self.fc_exp = nn.Linear(widths[-1], 3 * num_kp)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, 256, 256) -> see `MotionExtractor.forward`."""
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))  # (B, 96, 64, 64), (B, 192, 32, 32), (B, 384, 16, 16), (B, 768, 8, 8)
        x = self.norm(x.mean(dim=(2, 3)))  # (B, 768)
        return {
            "pitch": self.fc_pitch(x),
            "yaw": self.fc_yaw(x),
            "roll": self.fc_roll(x),
            "t": self.fc_t(x),
            "exp": self.fc_exp(x),
            "scale": self.fc_scale(x),
            "kp": self.fc_kp(x),
        }


class MotionExtractor(nn.Module):
    """Predicts canonical keypoints, head pose, expression, translation and scale of a face."""

    def __init__(self, *, num_kp: int = 21, backbone: str = "convnextv2_tiny") -> None:
        super().__init__()
        self.detector = ConvNeXtV2(STAGE_DEPTHS[backbone], STAGE_WIDTHS[backbone], num_kp)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Raw motion parameters of a face.

        Args:
            x: (B, 3, 256, 256), RGB in [0, 1].

        Returns: `pitch`, `yaw`, `roll` (B, 66) bin logits; `t` (B, 3); `exp` (B, 63) keypoint offsets, to be read as
            21 x xyz; `scale` (B, 1); `kp` (B, 63) canonical keypoints, likewise. In this order.
        """
        motion: dict[str, Tensor] = self.detector(x)
        return motion
