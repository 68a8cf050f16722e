"""G rewritten for speed: the same picture with a fifth less arithmetic and half the memory traffic.

- All `mlp_shared` at the size of the label map are one convolution; gain and offset of a norm are one convolution; the
  1 in (1 + gamma) sits in its bias; the spectral norms are divided into the kernels once.
- In the upsampling blocks `mlp_shared` runs on the small label map, see `phases`. In the last block, where the label is
  repeated four times, a quarter of the hidden rows are copies: they are never made, and the next convolution sums the
  taps that would have read them.
- Repetition does not change a channel's mean and variance, so instance norms run before the upsampling, and the main
  path and the shortcut share one.
- Wide maps are worked through in bands of rows so that what a band needs stays in the cache. One sample at a time: on
  one sample a band of rows is contiguous memory, so cutting it costs nothing.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from visema_liveportrait.model.fast.folding import conv2d_from
from visema_liveportrait.model.fast.phases import interleave_phases, phase_kernels, row_kernels
from visema_liveportrait.model.spade import (
    HIDDEN_CHANNELS,
    NEGATIVE_SLOPE,
    NORM_EPS,
    SPADEDecoder,
    SpadeNorm,
    SpadeResidualBlock,
    SpectralConv2d,
)

BAND_CELLS = 16  # rows of the 64-row label map that are worked on together in the upsampling blocks


def _spectral(conv: SpectralConv2d) -> nn.Conv2d:
    return conv2d_from(conv.normalised_weight(), conv.bias, padding=conv.weight_orig.shape[2] // 2)


def _modulation_weights(norm: SpadeNorm) -> tuple[Tensor, Tensor]:
    """Kernel and bias that give gain (with its 1) and offset at once: (2n, 128, 3, 3), (2n,)."""
    if norm.mlp_gamma.bias is None or norm.mlp_beta.bias is None:
        raise ValueError("a modulation without bias")
    weight = torch.cat((norm.mlp_gamma.weight, norm.mlp_beta.weight))
    return weight, torch.cat((norm.mlp_gamma.bias + 1, norm.mlp_beta.bias))


def _hidden_conv(norm: SpadeNorm) -> nn.Conv2d:
    conv = norm.mlp_shared[0]
    if not isinstance(conv, nn.Conv2d):
        raise TypeError("the first layer of mlp_shared is a convolution")
    return conv


def normalise(x: Tensor) -> Tensor:
    """Instance norm without parameters, statistics in float32."""
    if len(x) == 1:  # then it is the batch norm of training mode, which has the faster kernel
        return F.batch_norm(x, None, None, training=True, eps=NORM_EPS)
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
    return ((x - mean) * torch.rsqrt(variance + NORM_EPS)).to(x.dtype)


def _modulate(normalised: Tensor, gain_and_offset: Tensor) -> Tensor:
    gain, offset = gain_and_offset.chunk(2, dim=1)
    return torch.addcmul(offset, normalised, gain)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class MiddleBlock(nn.Module):
    """A residual block at the size of the label map."""

    def __init__(self, block: SpadeResidualBlock) -> None:
        super().__init__()
        self.modulation_0 = conv2d_from(*_modulation_weights(block.norm_0), padding=1)
        self.modulation_1 = conv2d_from(*_modulation_weights(block.norm_1), padding=1)
        self.conv_0, self.conv_1 = _spectral(block.conv_0), _spectral(block.conv_1)

    def forward(self, x: Tensor, hidden_0: Tensor, hidden_1: Tensor) -> Tensor:
        """`x` (B, 512, 64, 64), hidden maps (B, 128, 64, 64) of both norms -> (B, 512, 64, 64)."""
        y = _modulate(normalise(x), self.modulation_0(hidden_0))
        y = self.conv_0(F.leaky_relu(y, NEGATIVE_SLOPE, inplace=True))
        y = _modulate(normalise(y), self.modulation_1(hidden_1))
        y = self.conv_1(F.leaky_relu(y, NEGATIVE_SLOPE, inplace=True))
        total: Tensor = y.add_(x)
        return total


class UpBlock(nn.Module):
    """A residual block whose input is repeated twice and whose label map `factor` times.

    Hidden rows come in groups: `factor` 2 has two distinct rows per cell of the label map, `factor` 4 three.
    """

    def __init__(self, block: SpadeResidualBlock, factor: int) -> None:
        super().__init__()
        self.factor = factor
        norms = (block.norm_0, block.norm_s, block.norm_1)
        hidden = [_hidden_conv(norm) for norm in norms]
        # One convolution for each norm: together their result would be three times 9 * 128 channels wide.
        self.hidden = nn.ModuleList(
            conv2d_from(
                phase_kernels(conv.weight, factor),
                None if conv.bias is None else conv.bias.repeat((2 if factor == 2 else 3) ** 2),  # noqa: PLR2004
                padding=1,
            )
            for conv in hidden
        )
        self.group_rows = 2 if factor == 2 else 3  # noqa: PLR2004 - distinct rows per cell
        self.modulations = nn.ModuleList(self._modulation(norm) for norm in norms)
        self.conv_0, self.conv_1, self.conv_s = (_spectral(conv) for conv in (block.conv_0, block.conv_1, block.conv_s))

    def _modulation(self, norm: SpadeNorm) -> nn.ModuleList:
        """Convolutions from the hidden rows to gain and offset; `first_taps` tells where each begins."""
        weight, bias = _modulation_weights(norm)
        if self.factor == 2:  # noqa: PLR2004 - all rows are distinct: the kernel as it is
            self.first_taps = [-1]
            return nn.ModuleList([conv2d_from(weight, bias, padding=(0, 1))])
        kernels = row_kernels(weight)
        self.first_taps = [offset for offset, _ in kernels]
        return nn.ModuleList(conv2d_from(kernel, bias, padding=(0, 1), stride=(3, 1)) for _, kernel in kernels)

    def _hidden_rows(self, index: int, label: Tensor) -> Tensor:
        """Hidden map of one norm at full width, distinct rows only, a row of zeros above and below."""
        windows = F.relu(self.hidden[index](label), inplace=True)
        batch, _, cells, width = label.shape
        rows = torch.zeros(
            (batch, HIDDEN_CHANNELS, self.group_rows * cells + 2, self.factor * width),
            dtype=label.dtype,
            device=label.device,
        ).contiguous(memory_format=torch.channels_last)
        interleave_phases(windows, rows[:, :, 1:-1], self.factor, distinct_rows=True)
        return rows

    def _gain_and_offset(self, index: int, rows: Tensor, first_cell: int, cells: int) -> list[Tensor]:
        """For each convolution of a norm, its result for a band of cells."""
        result = []
        for first_tap, conv in zip(self.first_taps, self.modulations[index].children(), strict=True):
            top = self.group_rows * first_cell + first_tap + 1  # + 1: the row of zeros
            stride = self.group_rows if self.factor == 4 else 1  # noqa: PLR2004
            taps = cast("nn.Conv2d", conv).weight.shape[2]
            count = cells if self.factor == 4 else self.factor * cells  # noqa: PLR2004
            result.append(conv(rows[:, :, top : top + (count - 1) * stride + taps]))
        return result

    def _banded(self, index: int, rows: Tensor, first_cell: int, cells: int, normalised: Tensor) -> Tensor:
        """Modulated rows of a band; `normalised` holds them at full height and width."""
        parts = self._gain_and_offset(index, rows, first_cell, cells)
        step = len(parts)
        if step == 1:
            return _modulate(normalised, parts[0])
        modulated = torch.empty_like(normalised)
        for row, part in enumerate(parts):
            modulated[:, :, row::step] = _modulate(normalised[:, :, row::step], part)
        return modulated

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """`x` (1, in, h, w), not yet repeated; `label` (1, 256, 64, 64) -> (1, out, 2h, 2w)."""
        normalised = normalise(x)
        hidden_0, hidden_s, hidden_1 = (self._hidden_rows(index, label) for index in range(3))
        cells, factor = label.shape[2], self.factor
        rows_per_cell = x.shape[2] // cells
        batch, channels, height, width = x.shape
        main = torch.empty((batch, channels, 2 * height, 2 * width), dtype=x.dtype, device=x.device)
        main = main.contiguous(memory_format=torch.channels_last)
        shortcut = []
        for first in range(0, cells, BAND_CELLS):
            band = _twice(normalised[:, :, first * rows_per_cell : (first + BAND_CELLS) * rows_per_cell])
            modulated = self._banded(0, hidden_0, first, BAND_CELLS, band)
            main[:, :, first * factor : (first + BAND_CELLS) * factor] = F.leaky_relu(
                modulated, NEGATIVE_SLOPE, inplace=True
            )
            shortcut.append(self.conv_s(self._banded(1, hidden_s, first, BAND_CELLS, band)))
        y = normalise(self.conv_0(main))
        for first in range(0, cells, BAND_CELLS):
            top, bottom = first * factor, (first + BAND_CELLS) * factor
            modulated = self._banded(2, hidden_1, first, BAND_CELLS, y[:, :, top:bottom])
            y[:, :, top:bottom] = F.leaky_relu(modulated, NEGATIVE_SLOPE, inplace=True)
        total: Tensor = self.conv_1(y).add_(torch.cat(shortcut, dim=2))
        return total


class FastDecoder(nn.Module):
    """The SPADE decoder with folded and rearranged weights; built from a loaded reference decoder."""

    def __init__(self, reference: SPADEDecoder) -> None:
        super().__init__()
        blocks = reference.middle_blocks
        hidden = [_hidden_conv(norm) for block in blocks for norm in (block.norm_0, block.norm_1)]
        biases = [conv.bias for conv in hidden if conv.bias is not None]
        self.fc = conv2d_from(reference.fc.weight, reference.fc.bias, padding=1)
        self.hidden = conv2d_from(torch.cat([conv.weight for conv in hidden]), torch.cat(biases), padding=1)
        self.middle = nn.ModuleList(MiddleBlock(block) for block in blocks)
        self.up_0 = UpBlock(reference.up_0, factor=2)
        self.up_1 = UpBlock(reference.up_1, factor=4)
        image, shuffle = reference.conv_img
        if not isinstance(image, nn.Conv2d) or not isinstance(shuffle, nn.PixelShuffle):
            raise TypeError("conv_img is a convolution and a pixel shuffle")
        self.conv_img = conv2d_from(image.weight, image.bias, padding=1)
        self.upscale = shuffle.upscale_factor

    def forward(self, feature: Tensor) -> Tensor:
        """(B, 256, 64, 64) -> (B, 3, 512, 512), RGB in [0, 1]."""
        feature = feature.contiguous(memory_format=torch.channels_last)
        return torch.cat([self._one(feature[index : index + 1]) for index in range(len(feature))])

    def _one(self, feature: Tensor) -> Tensor:
        hidden = torch.split(F.relu(self.hidden(feature), inplace=True), HIDDEN_CHANNELS, dim=1)
        x = self.fc(feature)
        for index, block in enumerate(self.middle):
            x = block(x, hidden[2 * index], hidden[2 * index + 1])
        x = self.up_1(self.up_0(x, feature), feature)
        picture = self.conv_img(F.leaky_relu(x, NEGATIVE_SLOPE, inplace=True))
        return F.pixel_shuffle(picture, self.upscale).float().sigmoid()
