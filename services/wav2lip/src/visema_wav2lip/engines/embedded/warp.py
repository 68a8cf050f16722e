"""Moves the skin: two smooth displacement fields, one for all above the lips' contact, one for all below.

Fields are computed on a coarse local grid, brought to the frame by an affine resampling, and applied by one cubic remap
each. At the border of the region both fields are exactly zero, so every pixel outside keeps its value.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.embedded.curves import smooth_step
from visema_wav2lip.engines.embedded.geometry import HALF_SPAN, Doubles, Floats, LipContours, MouthAxes
from visema_wav2lip.engines.embedded.pose import FaceProportions, LipTargets

_GRID_PER_W = 36  # 1.5 px at a mouth of 55 px: far finer than the fields change
_REACH_X, _REACH_UP, _REACH_DOWN = 1.30, 0.62, 0.64  # W around the mouth, above its axis, below the chin
_JAW_HALF_WIDTH = 0.80
_FADE_BELOW_CHIN = 0.55
_STILL_W = 2e-5  # displacements below are set to zero, so that nothing is resampled for nothing


@dataclass(frozen=True, slots=True)
class LocalGrid:
    """Regular grid in local coordinates; `x` (1, C), `y` (R, 1), float32."""

    x: Floats
    y: Floats

    @classmethod
    def around(cls, face: FaceProportions) -> LocalGrid:
        """Grid over all that the mouth may move."""
        step = 1 / _GRID_PER_W
        bottom = face.chin + _REACH_DOWN
        return cls(
            np.arange(-_REACH_X, _REACH_X + step, step, dtype=np.float32)[None],
            np.arange(-_REACH_UP, bottom + step, step, dtype=np.float32)[:, None],
        )

    @property
    def corners(self) -> Floats:
        """Local coordinates of the four corners: float32 (4, 2)."""
        left, right, top, bottom = self.x[0, 0], self.x[0, -1], self.y[0, 0], self.y[-1, 0]
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


@dataclass(frozen=True, slots=True)
class Region:
    """Rectangle of the frame that the mouth may change, and its relation to local coordinates.

    Attributes:
        left, top, right, bottom: Pixels, half open.
        from_pixels: float64 (2, 3), frame pixels to local coordinates; `to_pixels`: its 2x2 inverse.
        pixel_w: Size of a pixel in W.
    """

    left: int
    top: int
    right: int
    bottom: int
    from_pixels: Doubles
    to_pixels: Doubles
    pixel_w: float

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the region in the frame."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def empty(self) -> bool:
        """True when the mouth lies outside the frame."""
        return self.right <= self.left or self.bottom <= self.top

    def local_axes(self) -> tuple[Floats, Floats]:
        """Local x and y of every pixel of the region, float32 (h, w) each."""
        columns = np.arange(self.left, self.right, dtype=np.float32)[None]
        rows = np.arange(self.top, self.bottom, dtype=np.float32)[:, None]
        matrix = self.from_pixels.astype(np.float32)
        return (
            matrix[0, 0] * columns + (matrix[0, 1] * rows + matrix[0, 2]),
            matrix[1, 0] * columns + (matrix[1, 1] * rows + matrix[1, 2]),
        )


def region_of(grid: LocalGrid, axes: MouthAxes, motion: Doubles, frame_shape: tuple[int, ...]) -> Region:
    """The part of a frame that `grid` covers, for a face moved by `motion` (2, 3) from the reference."""
    linear, offset = motion[:, :2], motion[:, 2]
    corners = axes.to_pixels(grid.corners) @ linear.T + offset
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, frame_shape[1::-1])
    inverse = np.linalg.inv(linear)
    to_local = axes.rotation @ inverse / axes.width_px
    shift = axes.rotation @ (-inverse @ offset - axes.origin_px) / axes.width_px
    scale = axes.width_px * float(np.sqrt(abs(np.linalg.det(linear))))
    return Region(
        int(left),
        int(top),
        int(right),
        int(bottom),
        np.column_stack([to_local, shift]),
        linear @ axes.rotation.T * axes.width_px,
        1 / scale,
    )


@dataclass(frozen=True, slots=True)
class MouthFields:
    """What the mouth does at the grid's points; all float32 (R, C), in W.

    Attributes:
        source_x: Column of the reference that is seen there.
        upper, lower: Inner lip edges at that column.
        above, below: Downward displacement of what lies above and below the lips' contact.
        sideways: Displacement to the right.
    """

    source_x: Floats
    upper: Floats
    lower: Floats
    above: Floats
    below: Floats
    sideways: Floats


def mouth_fields(grid: LocalGrid, contours: LipContours, lips: LipTargets, face: FaceProportions) -> MouthFields:
    """Displacement fields for `lips`."""
    x, y = grid.x, grid.y
    across = x * np.exp(-((x / 0.62) ** 2)) * 2
    along = np.exp(-(((y - lips.middle) / 0.42) ** 2))
    border = _border_fade(grid)
    sideways = np.float32(lips.narrowing) * across * along * border
    source_x = x - sideways

    place = (source_x + HALF_SPAN) * ((len(contours.x) - 1) / (2 * HALF_SPAN))
    index = np.clip(np.rint(place).astype(np.int32), 0, len(contours.x) - 1)
    upper, lower = lips.upper[index], lips.lower[index]
    outer_top_shift, outer_bottom_shift = lips.upper_outer_shift[index], lips.lower_outer_shift[index]
    outer_top = contours.upper_outer[index] + outer_top_shift
    outer_bottom = contours.lower_outer[index] + outer_bottom_shift

    # Above: still at the nose base (at the corners: in the cheek), full at the lip, easing over the lip's height.
    still = face.nose - 0.34 * smooth_step((np.abs(x) - 0.22) / 0.34)
    skin = smooth_step((y - still) / np.maximum(outer_top - still, 0.05))
    lip = np.clip((y - outer_top) / np.maximum(upper - outer_top, 0.02), 0, 1)
    above = (outer_top_shift + (lips.upper_inner_shift[index] - outer_top_shift) * lip) * skin * border

    # Below: lip, then the jaw as one broad piece, then fading under the chin.
    jaw = np.float32(lips.chin_shift) * np.exp(-((np.abs(source_x) / _JAW_HALF_WIDTH) ** 2.6))
    lip = np.clip((outer_bottom - y) / np.maximum(outer_bottom - lower, 0.02), 0, 1)
    at_lip = outer_bottom_shift + (lips.lower_inner_shift[index] - outer_bottom_shift) * lip
    to_jaw = smooth_step((y - outer_bottom) / np.maximum(0.75 * face.chin - outer_bottom, 0.12))
    under_chin = 1 - smooth_step((y - (face.chin + lips.chin_shift - 0.02)) / _FADE_BELOW_CHIN)
    below = (at_lip * (1 - to_jaw) + jaw * to_jaw) * under_chin * border
    return MouthFields(source_x, upper, lower, above, below, sideways)


def _border_fade(grid: LocalGrid) -> Floats:
    """1 inside, 0 at the border of the grid."""
    edge_x = smooth_step((_REACH_X - 0.04 - np.abs(grid.x)) / 0.30)
    edge_y = smooth_step((grid.y[-1, 0] - 0.04 - grid.y) / 0.08) * smooth_step((grid.y - grid.y[0, 0] - 0.04) / 0.16)
    return np.asarray(edge_x * edge_y, np.float32)


@dataclass(frozen=True, slots=True)
class WarpedRegion:
    """Region of one frame with the lips moved, before the interior is painted.

    Attributes:
        pixels: uint8 (h, w, 3).
        x, y: local coordinates of the pixels; `source_x`, `upper`, `lower` as in `MouthFields`, all float32 (h, w).
    """

    pixels: npt.NDArray[np.uint8]
    x: Floats
    y: Floats
    source_x: Floats
    upper: Floats
    lower: Floats


def warp_region(
    frame: npt.NDArray[np.uint8],
    region: Region,
    grid: LocalGrid,
    fields: MouthFields,
) -> WarpedRegion:
    """Apply the fields to the region of one frame."""
    step = 1 / _GRID_PER_W
    to_grid = region.from_pixels.copy()
    to_grid[:, 2] += to_grid[:, :2] @ np.array([region.left, region.top], np.float64)
    to_grid[:, 2] -= [float(grid.x[0, 0]), float(grid.y[0, 0])]
    to_grid /= step
    size = (region.right - region.left, region.bottom - region.top)

    def sample(*planes: Floats) -> tuple[Floats, ...]:
        stacked = np.ascontiguousarray(np.stack(np.broadcast_arrays(*planes), axis=-1), np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(stacked, to_grid, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return tuple(np.asarray(plane, np.float32) for plane in cv2.split(out))

    bend, upper, lower = sample(fields.source_x - grid.x, fields.upper, fields.lower)
    above, below = sample(fields.above, fields.below)
    x, y = region.local_axes()
    source_x = x + bend
    is_below = y > (upper + lower) / 2
    down = np.where(is_below, below, above)
    down[np.abs(down) < _STILL_W] = 0
    bend[np.abs(bend) < _STILL_W] = 0
    matrix = region.to_pixels.astype(np.float32)
    columns = np.arange(region.left, region.right, dtype=np.float32)[None]
    rows = np.arange(region.top, region.bottom, dtype=np.float32)[:, None]

    map_x = columns + (matrix[0, 0] * bend - matrix[0, 1] * down)
    map_y = rows + (matrix[1, 0] * bend - matrix[1, 1] * down)
    pixels = cv2.remap(frame, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return WarpedRegion(np.asarray(pixels, np.uint8), x, y, source_x, upper, lower)
