"""Convolution after nearest upsampling, computed before it.

Repeating every cell N times and then convolving with a 3-tap kernel (w0, w1, w2) multiplies the same value several
times. The output of cell i has phases 0..N-1, and each needs at most two different inputs:

    phase 0            w0 in[i-1] + (w1 + w2) in[i]
    phases 1 .. N-2    (w0 + w1 + w2) in[i]              all of them equal
    phase N-1          (w0 + w1) in[i] + w2 in[i+1]

So a 2-tap kernel per distinct phase on the small map does it, with the zero padding of one small cell standing for
the original padding. All distinct phases together are one convolution with more output channels over windows of two
cells: window j covers cells j-1 and j, phase 0 of cell i reads window i, every other phase window i+1.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

# Rows: taps of the small kernel; columns: taps of the original one.
_FIRST = ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0))
_MIDDLE = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
_LAST = ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0))
DISTINCT_PHASES = {2: (_FIRST, _LAST), 4: (_FIRST, _MIDDLE, _LAST)}
# Which distinct phase each of the N phases is.
PHASE_OF_ROW = {2: (0, 1), 4: (0, 1, 1, 2)}


def phase_kernels(weight: Tensor, factor: int) -> Tensor:
    """The kernels of all distinct phases.

    Args:
        weight: (out, in, ..., 3, 3); height and width are last.
        factor: 2 or 4, of the upsampling.

    Returns: (P*P*out, in, ..., 2, 2) with P distinct phases per axis, phase of height major, out minor.
    """
    mixes = torch.tensor(DISTINCT_PHASES[factor], dtype=weight.dtype, device=weight.device)  # (P, 2, 3)
    kernels = torch.einsum("pyh,qxw,oi...hw->pqoi...yx", mixes, mixes, weight)
    return kernels.flatten(0, 2)


def interleave_phases(windows: Tensor, target: Tensor, factor: int, *, distinct_rows: bool) -> None:
    """Put the phases where they belong.

    Args:
        windows: (B, P*P*out, H+1, W+1), result of the convolution with `phase_kernels` on the map padded by one cell.
        target: (B, out, factor*H, factor*W); with `distinct_rows` (B, out, P*H, factor*W), equal rows kept once.
        factor: 2 or 4.
    """
    distinct = len(DISTINCT_PHASES[factor])
    columns = PHASE_OF_ROW[factor]
    rows = tuple(range(distinct)) if distinct_rows else columns
    height, width = windows.shape[2] - 1, windows.shape[3] - 1
    channels = target.shape[1]
    for (row, row_phase), (column, column_phase) in itertools.product(enumerate(rows), enumerate(columns)):
        first = (row_phase * distinct + column_phase) * channels
        top, left = int(row_phase > 0), int(column_phase > 0)
        target[:, :, row :: len(rows), column::factor] = windows[
            :, first : first + channels, top : top + height, left : left + width
        ]


# A further 3-tap convolution over a map upsampled four times, on its distinct rows only: those of cell i lie at 3i,
# 3i+1, 3i+2, and equal rows share their taps.
ROW_KERNELS_4 = (
    (-1, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),  # row 0 reads 3i-1, 3i, 3i+1
    (0, ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0))),  # row 1 reads 3i, and 3i+1 twice
    (1, ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0))),  # row 2 reads 3i+1 twice, and 3i+2
    (1, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),  # row 3 reads 3i+1, 3i+2, 3i+3
)


def row_kernels(weight: Tensor) -> list[tuple[int, Tensor]]:
    """Kernels of the four rows of a cell on its three distinct rows.

    Args:
        weight: (out, in, 3, 3).

    Returns: for each row, the offset of its first tap from 3i and the kernel (out, in, 2 or 3, 3), stride 3 over rows.
    """
    return [
        (offset, torch.einsum("th,oihw->oitw", torch.tensor(mix, dtype=weight.dtype, device=weight.device), weight))
        for offset, mix in ROW_KERNELS_4
    ]
