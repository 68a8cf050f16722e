"""W rewritten for speed, with everything that depends on the portrait alone computed once.

- A slot's motion is one translation for the whole volume, so sampling it is three interpolations along the axes, each a
  small matrix, and its heat map is a product of three 1-D Gaussians. Since the masks sum to 1, the deformation is the
  identity plus the mask-weighted mean of 21 translations: no volume of grids exists.
- Batch norms are folded into their convolutions; the hourglass convolves before it upsamples, see `phases`.
- Channels of the motion evidence are reordered (features, then heat maps) and padded to sizes that hardware likes, and
  the weights with them. The occlusion convolution with its single output is a matrix product and an overlap-add.
- Maps are kept channels last with the depth beside the batch, so that one memory layout serves 2-D pooling and 3-D
  convolution.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from visema_liveportrait.model.blocks import ConvBlock3d
from visema_liveportrait.model.dense_motion import DenseMotionNetwork
from visema_liveportrait.model.fast.folding import conv2d_from, conv3d_from, folded, padded
from visema_liveportrait.model.fast.phases import interleave_phases, phase_kernels
from visema_liveportrait.model.grids import HEAT_MAP_VARIANCE, axis_coordinates, coordinate_grid, sample_volume
from visema_liveportrait.model.warping import WarpingNetwork

CHANNEL_MULTIPLE = 16  # convolutions run fastest on multiples of this


@dataclass(frozen=True, slots=True)
class SourceVolume:
    """What the warping network needs of one portrait.

    Attributes:
        feature_3d: float32 (1, 32, 16, 64, 64).
        kp_source: float32 (1, 21, 3).
        thin: float32 (1, 4, 16, 64, 64), the compressed volume that every slot samples.
        unmoved: (1, 16, 64, 64, 4), `thin` sampled by slot 0, which does not move; channels last.
        heat: float32 (1, 21, 16, 64, 64), heat maps of the source keypoints.
    """

    feature_3d: Tensor
    kp_source: Tensor
    thin: Tensor
    unmoved: Tensor
    heat: Tensor

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        parts = (self.feature_3d, self.kp_source, self.thin, self.unmoved, self.heat)
        return sum(part.numel() * part.element_size() for part in parts)


def _rounded(channels: int) -> int:
    return -(-channels // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE


def _as_volume(maps: Tensor, depth: int) -> Tensor:
    """(B*D, C, H, W) channels last -> (B, C, D, H, W) channels last, the same memory."""
    rows = maps.permute(0, 2, 3, 1)
    return rows.reshape(-1, depth, *rows.shape[1:]).permute(0, 4, 1, 2, 3)


def _as_maps(volume: Tensor) -> Tensor:
    """(B, C, D, H, W) channels last -> (B*D, C, H, W) channels last, the same memory."""
    return volume.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def interpolation_matrices(moves: Tensor, size: int) -> Tensor:
    """Linear interpolation along one axis with zeros outside, for the grid of `grids` shifted by a constant.

    Args:
        moves: (B, K), shift of each slot along the axis in grid units.
        size: Cells along the axis.

    Returns: (B, K, size, size); row i holds the weights of all cells for position i.
    """
    coordinates = axis_coordinates(size, moves) + moves[..., None]  # (B, K, size)
    index = ((coordinates + 1) * size - 1) / 2  # -1 and 1 are the outer edges here
    cells = torch.arange(size, dtype=moves.dtype, device=moves.device)
    return F.relu(1 - (index[..., None] - cells).abs())


def separable_heat_maps(keypoints: Tensor, depth: int, height: int, width: int) -> Tensor:
    """Gaussians around keypoints as products over the axes: (B, K, 3) -> (B, K, depth, height, width)."""
    x, y, z = (
        torch.exp(-0.5 * (axis_coordinates(size, keypoints) - keypoints[:, :, axis, None]).square() / HEAT_MAP_VARIANCE)
        for axis, size in enumerate((width, height, depth))
    )
    return torch.einsum("bkd,bkh,bkw->bkdhw", z, y, x)


class FastHourglass(nn.Module):
    """The hourglass on channels-last maps (B*D, C, H, W)."""

    def __init__(self, network: DenseMotionNetwork, order: list[int]) -> None:
        """`order`: for each channel of the rearranged evidence, its place in the original's, -1 for padding."""
        super().__init__()
        encoder = cast("list[ConvBlock3d]", list(network.hourglass.encoder.down_blocks))
        decoder = cast("list[ConvBlock3d]", list(network.hourglass.decoder.up_blocks))
        self.down = nn.ModuleList()
        for level, block in enumerate(encoder):
            weight, bias = folded(block.conv, block.norm)
            self.down.append(conv3d_from(rearranged(weight, order) if level == 0 else weight, bias, (1, 1, 1)))
        self.up = nn.ModuleList()
        self.up_channels = [block.conv.out_channels for block in decoder]
        for block in decoder:
            weight, bias = folded(block.conv, block.norm)
            self.up.append(conv3d_from(phase_kernels(weight, 2), bias.repeat(4), (1, 1, 1)))
        weight, bias = folded(network.hourglass.decoder.conv, network.hourglass.decoder.norm)
        tail = self.up_channels[-1]
        weight = torch.cat((weight[:, :tail], rearranged(weight[:, tail:], order)), dim=1)
        size = _rounded(weight.shape[0])
        self.last = conv3d_from(padded(weight, size), padded(bias, size), (1, 1, 1))

    def forward(self, evidence: Tensor, depth: int) -> Tensor:
        """(B*D, C, 64, 64) -> (B*D, C', 64, 64); channels beyond the original's are 0."""
        levels = [evidence]
        for conv in self.down:
            x = F.relu(_as_maps(conv(_as_volume(levels[-1], depth))), inplace=True)
            levels.append(F.avg_pool2d(x, 2))
        x = levels.pop()
        for conv, channels in zip(self.up, self.up_channels, strict=True):
            skip = levels.pop()
            windows = F.relu(_as_maps(conv(_as_volume(x, depth))), inplace=True)
            shape = (len(skip), channels + skip.shape[1], *skip.shape[2:])
            x = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
            interleave_phases(windows, x[:, :channels], 2, distinct_rows=False)
            x[:, channels:] = skip
        return F.relu(_as_maps(self.last(_as_volume(x, depth))), inplace=True)


def rearranged(weight: Tensor, order: list[int]) -> Tensor:
    """`weight` (out, in, ...) with its input channels in `order`; -1 is a channel of zeros."""
    zero = weight.new_zeros((weight.shape[0], 1, *weight.shape[2:]))
    return torch.cat([zero if place < 0 else weight[:, place : place + 1] for place in order], dim=1)


class FastWarp(nn.Module):
    """The warping network with folded and rearranged weights; built from a loaded reference network.

    `depth`, `height` and `width` of the volume come from the tensors; keypoints and sampling stay float32 whatever
    the dtype.
    """

    compress_weight: Tensor
    compress_bias: Tensor
    mask_bias: Tensor
    occlusion_taps: Tensor
    occlusion_bias: Tensor

    def __init__(self, reference: WarpingNetwork) -> None:
        super().__init__()
        dense = reference.dense_motion_network
        self.slots = dense.mask.out_channels
        thin_channels = dense.compress.out_channels
        order = self._evidence_order(self.slots, thin_channels)
        self.evidence_channels = len(order)
        compress_weight, compress_bias = folded(dense.compress, dense.norm)
        self.register_buffer("compress_weight", compress_weight.detach().clone())
        self.register_buffer("compress_bias", compress_bias.detach().clone())
        self.hourglass = FastHourglass(dense, order)
        channels = self.hourglass.last.out_channels
        if dense.mask.bias is None or dense.occlusion.bias is None:
            raise ValueError("mask and occlusion have biases")
        # The depth taps of the 7x7x7 kernel as output channels of a 2-D convolution: 154 channels keep a device busy
        # where 22 do not. `_mask_logits` adds the taps up.
        mask_weight = padded(dense.mask.weight, channels, dim=1).permute(2, 0, 1, 3, 4)  # (7, 22, channels, 7, 7)
        self.mask_depth_taps = len(mask_weight)
        self.mask = conv2d_from(mask_weight.flatten(0, 1), None, padding=self.mask_depth_taps // 2)
        self.register_buffer("mask_bias", dense.mask.bias.detach().clone())
        self.register_buffer("occlusion_taps", self._occlusion_taps(dense, channels))
        self.register_buffer("occlusion_bias", dense.occlusion.bias.detach().clone())
        self.third = conv2d_from(*folded(reference.third.conv, reference.third.norm), padding=1)
        self.third_slope = reference.third.negative_slope
        self.fourth = conv2d_from(reference.fourth.weight, reference.fourth.bias)

    @staticmethod
    def _evidence_order(slots: int, thin_channels: int) -> list[int]:
        """Features slot by slot, then heat maps, then padding. Slot 0 has no heat: left out."""
        per_slot = thin_channels + 1
        heat = [slot * per_slot for slot in range(1, slots)]
        features = [
            slot * per_slot + 1 + channel for slot, channel in itertools.product(range(slots), range(thin_channels))
        ]
        order = features + heat
        return order + [-1] * (_rounded(len(order)) - len(order))

    @staticmethod
    def _occlusion_taps(dense: DenseMotionNetwork, channels: int) -> Tensor:
        """The occlusion kernel as matrices (depth, channels, 49), taps flipped for overlap-add."""
        weight = dense.occlusion.weight[0]  # (channels*depth, 7, 7): channel c*16 + d
        weight = weight.view(dense.hourglass.out_channels, -1, *weight.shape[1:])  # (channels, depth, 7, 7)
        weight = weight.flip(2, 3).flatten(2).transpose(0, 1)  # (depth, channels, 49)
        return padded(weight, channels, dim=1).detach().clone()

    def set_dtypes(self, dtype: torch.dtype, motion_dtype: torch.dtype) -> None:
        """Choose what the projection and what the dense motion network compute in."""
        self.third.to(dtype)
        self.fourth.to(dtype)
        self.hourglass.to(motion_dtype)
        self.mask.to(motion_dtype)
        self.occlusion_taps = self.occlusion_taps.to(motion_dtype)
        for name in ("compress_weight", "compress_bias", "mask_bias", "occlusion_bias"):
            setattr(self, name, getattr(self, name).float())

    @property
    def motion_dtype(self) -> torch.dtype:
        """What the dense motion network computes in."""
        return self.mask.weight.dtype

    def prepare(self, feature_3d: Tensor, kp_source: Tensor) -> SourceVolume:
        """Everything that depends on the portrait only.

        Args:
            feature_3d: (1, 32, 16, 64, 64), from the appearance feature extractor.
            kp_source: (1, 21, 3).
        """
        feature_3d, kp_source = feature_3d.float(), kp_source.float()
        thin = F.relu(F.conv3d(feature_3d, self.compress_weight, self.compress_bias))
        depth, height, width = feature_3d.shape[2:]
        identity = coordinate_grid(depth, height, width, like=feature_3d)
        unmoved = sample_volume(thin, identity[None]).permute(0, 2, 3, 4, 1).to(self.motion_dtype)
        heat = separable_heat_maps(kp_source, depth, height, width)
        return SourceVolume(feature_3d, kp_source, thin, unmoved.contiguous(), heat)

    def _evidence(self, source: SourceVolume, kp_driving: Tensor, moves: Tensor) -> Tensor:
        """Moved features and heat maps of all slots: (B*D, C, H, W), channels last."""
        depth, height, width = source.thin.shape[2:]
        across, down, inward = (
            interpolation_matrices(moves[:, :, axis], size) for axis, size in enumerate((width, height, depth))
        )
        # (B, K, 4, D, H, W): first along x, then y, then z
        moved = torch.einsum("cdhw,bkvw->bkcdhv", source.thin[0], across)
        moved = torch.einsum("bkcdhv,bkuh->bkcduv", moved, down)
        moved = torch.einsum("bkcduv,bked->bkceuv", moved, inward)
        heat = separable_heat_maps(kp_driving, depth, height, width) - source.heat
        batch, keypoints = kp_driving.shape[:2]
        thin_channels = source.thin.shape[1]
        shape = (batch, depth, height, width, self.evidence_channels)
        evidence = torch.empty(shape, dtype=self.motion_dtype, device=moves.device)
        first, second = thin_channels, thin_channels * (keypoints + 1)
        evidence[..., :first] = source.unmoved
        evidence[..., first:second] = moved.flatten(1, 2).permute(0, 2, 3, 4, 1)
        evidence[..., second : second + keypoints] = heat.permute(0, 2, 3, 4, 1)
        evidence[..., second + keypoints :] = 0
        return evidence.flatten(0, 1).permute(0, 3, 1, 2)

    def _occlusion(self, prediction: Tensor, depth: int) -> Tensor:
        """(B*D, C, H, W) -> (B, 1, H, W) in [0, 1], float32."""
        height, width = prediction.shape[2:]
        rows = prediction.permute(0, 2, 3, 1).reshape(-1, depth, height * width, prediction.shape[1])
        taps = torch.matmul(rows, self.occlusion_taps)  # (B, D, H*W, 49)
        taps = taps.sum(dim=1, dtype=torch.float32).transpose(1, 2)  # (B, 49, H*W)
        kernel = round(taps.shape[1] ** 0.5)
        summed = F.fold(taps, (height, width), kernel_size=kernel, padding=kernel // 2)
        return torch.sigmoid(summed + self.occlusion_bias)

    def _mask_logits(self, prediction: Tensor, depth: int) -> Tensor:
        """(B*D, C, H, W) -> (B, D, H, W, 22), float32."""
        maps = self.mask(prediction).permute(0, 2, 3, 1)  # (B*D, H, W, 7*22)
        taps = maps.reshape(-1, depth, *maps.shape[1:3], self.mask_depth_taps, self.slots)
        logits = self.mask_bias.expand(*taps.shape[:4], self.slots).contiguous()
        reach = self.mask_depth_taps // 2
        for tap in range(self.mask_depth_taps):
            offset = tap - reach  # cell d takes this tap from cell d + offset
            first, last = max(0, -offset), min(depth, depth - offset)
            logits[:, first:last] += taps[:, first + offset : last + offset, :, :, tap]
        return logits

    def forward(self, source: SourceVolume, kp_driving: Tensor) -> dict[str, Tensor]:
        """Warp the portrait's volume to the driving keypoints.

        Args:
            kp_driving: (B, 21, 3).

        Returns: as `WarpingNetwork.forward`; `out` is in the dtype of the convolutions, the others are float32.
        """
        kp_driving = kp_driving.float()
        moves = source.kp_source - kp_driving  # (B, 21, 3)
        depth, height, width = source.thin.shape[2:]
        prediction = self.hourglass(self._evidence(source, kp_driving, moves), depth)
        mask = self._mask_logits(prediction, depth).softmax(dim=-1)  # (B, D, H, W, 22)
        identity = coordinate_grid(depth, height, width, like=moves)
        # Slot 0 does not move, so only the others contribute.
        deformation = identity + torch.einsum("bdhwk,bkx->bdhwx", mask[..., 1:], moves)
        occlusion_map = self._occlusion(prediction, depth)

        volume = source.feature_3d.expand(len(moves), -1, -1, -1, -1)
        warped = sample_volume(volume, deformation).flatten(1, 2)  # (B, 512, 64, 64): channel c*16 + d
        warped = warped.to(self.fourth.weight.dtype).contiguous(memory_format=torch.channels_last)
        out = self.fourth(F.leaky_relu(self.third(warped), self.third_slope, inplace=True))
        out = out * occlusion_map.to(out.dtype)
        return {"occlusion_map": occlusion_map, "deformation": deformation, "out": out}
