"""What happens outside the mouth, sampled on a coarse grid of a few frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.protocol import Frame

STRIDE_FRAMES = 5  # frames of the clip that are looked at
_GRID = 48  # points along the picture's short side
_LOWER_FACE = 0.40  # of the face's height, where lip-sync may begin to change it
_BESIDE, _BELOW = 0.20, 0.25  # of its width and height, beside and below the face: what a falling jaw may reach
_STILL_SHARE = 2  # the stiller half

Box = tuple[float, float, float, float]  # left, top, width, height in pixels
Grid = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class PictureSums:
    """Sums as in `visema.common.v1.QualityStatistics`."""

    outside_value_count: int = 0
    outside_square_sum: float = 0.0
    flicker_pair_count: int = 0
    flicker_sum: float = 0.0

    def __add__(self, other: PictureSums) -> PictureSums:
        return PictureSums(
            self.outside_value_count + other.outside_value_count,
            self.outside_square_sum + other.outside_square_sum,
            self.flicker_pair_count + other.flicker_pair_count,
            self.flicker_sum + other.flicker_sum,
        )


def picture_sums(
    sources: Sequence[Frame], results: Sequence[Frame], boxes: Sequence[Box], first_frame: int
) -> PictureSums:
    """Compare every fifth frame of the clip with its input, and with the frame that follows it in `results`.

    Args: boxes: Of the face in each frame; one that is not finite is left out. first_frame: Position of `results[0]`.
    """
    sums = PictureSums()
    for place in range(-first_frame % STRIDE_FRAMES, len(results), STRIDE_FRAMES):
        if np.isfinite(boxes[place]).all():
            sums += _outside_sums(sources[place], results[place], boxes[place])
        if place + 1 < len(results):
            change = np.abs(_grid(results[place + 1]) - _grid(results[place])).sum(axis=2).ravel()
            half = max(change.size // _STILL_SHARE, 1)
            still = np.partition(change, half - 1)[:half]
            sums += PictureSums(flicker_pair_count=1, flicker_sum=float(still.mean()) / 3)
    return sums


def _outside_sums(source: Frame, result: Frame, box: Box) -> PictureSums:
    """Squared change on the grid outside the lower face."""
    step = _step(result)
    rows, columns = np.arange(0, result.shape[0], step), np.arange(0, result.shape[1], step)
    left, top, width, height = box
    inside_rows = (rows >= top + _LOWER_FACE * height) & (rows <= top + (1 + _BELOW) * height)
    inside_columns = (columns >= left - _BESIDE * width) & (columns <= left + (1 + _BESIDE) * width)
    count = result.shape[2] * (rows.size * columns.size - int(inside_rows.sum()) * int(inside_columns.sum()))
    if result is source or not count:
        return PictureSums(outside_value_count=count)
    change = np.square((_grid(result) - _grid(source)).astype(np.float32))
    change[np.ix_(inside_rows, inside_columns)] = 0
    return PictureSums(outside_value_count=count, outside_square_sum=float(change.sum(dtype=np.float64)))


def _step(frame: Frame) -> int:
    height, width = frame.shape[:2]
    return int(max(1, min(height, width) // _GRID))


def _grid(frame: Frame) -> Grid:
    """Every few pixels of a frame: int16 (h, w, 3)."""
    step = _step(frame)
    return frame[::step, ::step].astype(np.int16)
