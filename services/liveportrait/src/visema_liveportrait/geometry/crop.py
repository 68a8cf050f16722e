"""From landmarks to the square that the networks see, and back.

The square is upright in the face's own frame: its vertical axis runs from the eyes to the mouth. All of it is
computed in float32 like the landmarks, because OpenCV quantises positions to 1/32 pixel and a last-digit change of
the matrix shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visema_liveportrait.geometry import AnyFloatArray, FloatArray, ImageArray

SOURCE_CROP_PX = 512
SOURCE_SCALE = 2.3  # of the landmarks' extent
SOURCE_SHIFT = -0.125  # of the square's side, towards the forehead
DRIVING_SCALE, DRIVING_SHIFT = 2.2, -0.1
NETWORK_INPUT_PX = 256
MAX_SIDE_PX, SIDE_DIVISOR = 1280, 2
MESH_POINTS = 478  # of MediaPipe
_SHORTEST_AXIS_PX = 1e-3

# Landmarks whose mean is the (left eye, right eye, mouth), by the number of landmarks.
_REFERENCE = {
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    101: ((39, 42, 45, 48), (51, 54, 57, 60), (75, 81)),
    68: ((36, 39), (42, 45), (48, 54)),
    5: ((0,), (1,), (3, 4)),
    478: ((33, 159, 133, 145), (362, 386, 263, 374), (61, 291)),
}
# Points of the MediaPipe mesh that cover what the 203-point layout covers: no forehead.
_JAW_MESH = (
    127,
    234,
    93,
    132,
    58,
    172,
    136,
    150,
    149,
    176,
    148,
    152,
    377,
    400,
    378,
    379,
    365,
    397,
    288,
    361,
    323,
    454,
    356,
)
_BROWS_MESH = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_INNER_MESH = (33, 159, 133, 145, 362, 386, 263, 374, 61, 291, 13, 14, 1)  # eyes, lips, nose
_MESH_EXTENT = np.array([*_JAW_MESH, *_BROWS_MESH, *_INNER_MESH])


@dataclass(frozen=True, slots=True)
class CropBox:
    """A square around a face.

    Attributes:
        centre: (2,), pixels.
        side_px: Side of the square.
        angle: Radians from the picture's x axis to the face's.
        x_axis: (2,), unit vector of the face's x axis; y_axis likewise.
    """

    centre: FloatArray
    side_px: float
    angle: float
    x_axis: FloatArray
    y_axis: FloatArray

    def corners(self, *, rotated: bool) -> FloatArray:
        """(4, 2): upper left, upper right, lower right, lower left."""
        half = np.float32(self.side_px / 2)
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
        axes = np.stack([self.x_axis, self.y_axis]) if rotated else np.eye(2, dtype=np.float32)
        return np.asarray(self.centre + half * (signs @ axes), np.float32)


def eye_and_mouth_centres(points: AnyFloatArray) -> tuple[FloatArray, FloatArray]:
    """The two points that give a face its direction, (2,) each.

    Raises: ValueError: an unknown landmark layout.
    """
    count = len(points)
    if count not in _REFERENCE and count > 101:  # noqa: PLR2004 - the original falls back to this layout
        points, count = points[:101], 101
    if count not in _REFERENCE:
        raise ValueError(f"no landmark layout has {count} points")
    left, right, mouth = (points[list(group), :2].mean(axis=0) for group in _REFERENCE[count])
    return np.asarray((left + right) / 2, np.float32), np.asarray(mouth, np.float32)


def crop_box(points: AnyFloatArray, *, scale: float, vertical_shift: float) -> CropBox:
    """The square around a face.

    Args:
        points: (n, 2 or 3), pixels; n is 203, 106, 101, 68, 5 or 478 (MediaPipe).
        scale: Side of the square relative to the larger extent of the landmarks.
        vertical_shift: Shift along the face's y axis relative to the side; negative is towards the forehead.
    """
    eyes, mouth = eye_and_mouth_centres(points)
    down = mouth - eyes
    length = float(np.linalg.norm(down))
    y_axis = np.array([0, 1], np.float32) if length <= _SHORTEST_AXIS_PX else down / np.float32(length)
    x_axis = np.array([y_axis[1], -y_axis[0]], np.float32)
    angle = float(np.arccos(np.clip(x_axis[0], -1, 1)))
    angle = -angle if x_axis[1] < 0 else angle

    extent = (points[_MESH_EXTENT] if len(points) == MESH_POINTS else points)[:, :2].astype(np.float32)
    origin = extent.mean(axis=0)
    along = (extent - origin) @ np.stack([x_axis, y_axis]).T  # (n, 2) in the face's frame
    low, high = along.min(axis=0), along.max(axis=0)
    side = np.float32(scale) * (high - low).max()
    middle = (low + high) / 2
    centre = origin + x_axis * middle[0] + y_axis * middle[1] + y_axis * np.float32(vertical_shift) * side
    return CropBox(centre.astype(np.float32), float(side), angle, x_axis, y_axis.astype(np.float32))


def crop_matrix(box: CropBox, size_px: int, *, rotate: bool = True) -> FloatArray:
    """The affine map from the picture to the crop: (3, 3), for points as columns (x, y, 1)."""
    factor = size_px / box.side_px
    angle = box.angle if rotate else 0.0
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    x, y = float(box.centre[0]), float(box.centre[1])
    half = size_px / 2
    matrix = [[cos, sin, half - (cos * x + sin * y)], [-sin, cos, half - (-sin * x + cos * y)], [0, 0, 1]]
    return np.array(matrix, np.float32)


def invert(matrix: FloatArray) -> FloatArray:
    """The inverse of a (3, 3) affine map."""
    return np.asarray(np.linalg.inv(matrix), np.float32)


def map_points(points: AnyFloatArray, matrix: FloatArray) -> FloatArray:
    """(..., 2) points through a (3, 3) affine map."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], np.float32)


def warp(picture: ImageArray, matrix: FloatArray, width_px: int, height_px: int) -> ImageArray:
    """`picture` seen through the affine map `matrix` (from it to the result), bilinear, black outside."""
    size = (width_px, height_px)
    return np.asarray(cv2.warpAffine(picture, matrix[:2], size, flags=cv2.INTER_LINEAR, borderValue=0), np.uint8)


def shrink_to_network(crop: ImageArray) -> ImageArray:
    """(512, 512, 3) -> (256, 256, 3) by area, as the original does for source pictures."""
    return np.asarray(cv2.resize(crop, (NETWORK_INPUT_PX, NETWORK_INPUT_PX), interpolation=cv2.INTER_AREA), np.uint8)


def network_input(picture: ImageArray) -> FloatArray:
    """A picture of any size, RGB -> (1, 3, 256, 256) in [0, 1]; resized bilinearly if need be."""
    if picture.shape[:2] != (NETWORK_INPUT_PX, NETWORK_INPUT_PX):
        picture = np.asarray(cv2.resize(picture, (NETWORK_INPUT_PX, NETWORK_INPUT_PX)), np.uint8)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def limited_size(height_px: int, width_px: int) -> tuple[int, int]:
    """Height and width after the size limit: the longer side at most 1280, both even."""
    longer = max(height_px, width_px)
    if longer > MAX_SIDE_PX:
        if height_px > width_px:
            height_px, width_px = MAX_SIDE_PX, int(width_px * MAX_SIDE_PX / height_px)
        else:
            height_px, width_px = int(height_px * MAX_SIDE_PX / width_px), MAX_SIDE_PX
    return height_px - height_px % SIDE_DIVISOR, width_px - width_px % SIDE_DIVISOR


def driving_box(points: AnyFloatArray) -> AnyFloatArray:
    """The upright square around one driving frame's face: (4,), left, top, right, bottom."""
    box = crop_box(points, scale=DRIVING_SCALE, vertical_shift=DRIVING_SHIFT)
    corners = box.corners(rotated=False).astype(np.float64)
    return np.concatenate([corners[0], corners[2]])


def fixed_crop_matrix(box: AnyFloatArray, size_px: int = SOURCE_CROP_PX) -> FloatArray:
    """The affine map from a picture to the crop of an upright box (left, top, right, bottom): (3, 3)."""
    left, top, right, bottom = (float(edge) for edge in box)
    factor = size_px / (right - left)
    half = size_px / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([[factor, 0, half - factor * x], [0, factor, half - factor * y], [0, 0, 1]], np.float32)
