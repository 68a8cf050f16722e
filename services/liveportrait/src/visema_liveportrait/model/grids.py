"""Coordinates, heat maps and sampling in the feature volume.

Keypoints and grids use (x, y, z) with x to the right, y down, z inward; -1 and +1 are the *centres* of the border
cells. The official networks were trained with grids of that kind while the sampling takes -1 and +1 as the outer
*edges* of the border cells (`align_corners=False`), so even the identity grid does not reproduce the volume: cell w
reads index w*W/(W-1) - 1/2. That is part of what the weights learnt and must stay.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HEAT_MAP_VARIANCE = 0.01  # of the Gaussian around a keypoint, in grid units


def axis_coordinates(size: int, like: Tensor) -> Tensor:
    """Cell centres along one axis: (size,), from -1 to 1, with the dtype and device of `like`."""
    return 2 * torch.arange(size, dtype=like.dtype, device=like.device) / (size - 1) - 1


def coordinate_grid(depth: int, height: int, width: int, like: Tensor) -> Tensor:
    """The identity grid: (depth, height, width, 3), last axis (x, y, z)."""
    z, y, x = torch.meshgrid(
        axis_coordinates(depth, like), axis_coordinates(height, like), axis_coordinates(width, like), indexing="ij"
    )
    return torch.stack((x, y, z), dim=-1)


def gaussian_heat_maps(keypoints: Tensor, grid: Tensor) -> Tensor:
    """A blob around each keypoint: (B, K, 3) and (D, H, W, 3) -> (B, K, D, H, W), 1 at the keypoint itself."""
    distance = grid - keypoints[:, :, None, None, None, :]  # (B, K, D, H, W, 3)
    return torch.exp(-0.5 * distance.square().sum(dim=-1) / HEAT_MAP_VARIANCE)


def sample_volume(volume: Tensor, grid: Tensor) -> Tensor:
    """Tri-linear sampling with zeros outside: (B, C, D, H, W) at (B, D', H', W', 3) -> (B, C, D', H', W')."""
    return F.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
