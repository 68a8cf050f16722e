"""The shape of one eye, column by column along its own axis.

`along` runs from corner to corner (0 in the middle), `down` at right angles towards the cheek. Every quantity of the
lids is a function of the column, so turned and tilted eyes need no special case.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from visema_liveportrait.engines.embedded.mesh_points import EyePoints
from visema_liveportrait.engines.embedded.regions import Window

Plane = npt.NDArray[np.float32]

# In eye widths.
PATCH_SIDE, PATCH_UP, PATCH_DOWN = 0.85, 0.95, 0.75
CORNER_TAPER = 0.12
NEAREST_BROW = 0.22  # above the upper contour
OPEN_RATIO = (0.09, 0.16)  # height / width of the opening: below, the eye counts as closed in the portrait


@dataclass(frozen=True, slots=True, eq=False)
class EyeShape:
    """Geometry of one eye over a patch of the enlarged portrait; planes are float32 (h, w).

    Attributes:
        window: The patch.
        centre: Middle between the corners in pixels of the enlarged portrait.
        axis: Unit vector from the left corner to the right one.
        normal: Unit vector down, towards the cheek.
        width: Distance between the corners.
        height: Opening in the middle.
        along, down: Coordinates of each pixel, 0 at the centre.
        upper, lower: `down` of the contours in the pixel's column.
        opening: `lower - upper`, tapered to 0 beyond the corners.
        brow: `down` of the brow's middle line.
        mobility: 1 for an open eye, 0 for one that is closed in the portrait.
    """

    window: Window
    centre: npt.NDArray[np.float64]
    axis: npt.NDArray[np.float64]
    normal: npt.NDArray[np.float64]
    width: float
    height: float
    along: Plane
    down: Plane
    upper: Plane
    lower: Plane
    opening: Plane
    brow: Plane
    mobility: float

    def local(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, 2) pixels of the enlarged portrait to (along, down)."""
        offset = points - self.centre
        return np.stack([offset @ self.axis, offset @ self.normal], axis=1)


def shape_eye(points: npt.NDArray[np.float64], eye: EyePoints, width: int, height: int) -> EyeShape:
    """Measure an eye.

    Args:
        points: float64 (478, 2) in pixels of the enlarged portrait.
        eye: Which eye.
        width, height: Of the enlarged portrait.
    """
    upper, lower, brow = points[list(eye.upper)], points[list(eye.lower)], points[list(eye.brow)]
    centre = (upper[0] + upper[-1]) / 2.0
    axis = upper[-1] - upper[0]
    length = max(float(np.linalg.norm(axis)), 1.0)
    axis = axis / length
    normal = np.array([-axis[1], axis[0]])
    window = Window(
        int(np.clip(np.floor(centre[0] - PATCH_SIDE * length), 0, width - 2)),
        int(np.clip(np.floor(centre[1] - PATCH_UP * length), 0, height - 2)),
        int(np.clip(np.ceil(centre[0] + PATCH_SIDE * length), 2, width)),
        int(np.clip(np.ceil(centre[1] + PATCH_DOWN * length), 2, height)),
    )
    y, x = np.mgrid[window.top : window.bottom, window.left : window.right].astype(np.float64)
    along = (x - centre[0]) * axis[0] + (y - centre[1]) * axis[1]
    down = (x - centre[0]) * normal[0] + (y - centre[1]) * normal[1]

    def local(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack([(line - centre) @ axis, (line - centre) @ normal], axis=1)

    upper_line, lower_line, brow_line = local(upper), local(lower), local(brow)
    upper_plane, lower_plane = _curve(upper_line, along), _curve(lower_line, along)
    taper = np.clip(1.0 - np.maximum(np.abs(along) - length / 2.0, 0.0) / (CORNER_TAPER * length), 0.0, 1.0)
    slope, offset = np.polyfit(brow_line[:, 0], brow_line[:, 1], 1)
    opening = float(lower_line[4, 1] - upper_line[4, 1])
    closed, opened = OPEN_RATIO
    return EyeShape(
        window=window,
        centre=centre,
        axis=axis,
        normal=normal,
        width=length,
        height=max(opening, 1.0),
        along=along.astype(np.float32),
        down=down.astype(np.float32),
        upper=upper_plane.astype(np.float32),
        lower=lower_plane.astype(np.float32),
        opening=(np.maximum(lower_plane - upper_plane, 0.0) * taper).astype(np.float32),
        brow=np.minimum(slope * along + offset, upper_plane - NEAREST_BROW * length).astype(np.float32),
        mobility=float(np.clip((opening / length - closed) / (opened - closed), 0.0, 1.0)),
    )


def _curve(line: npt.NDArray[np.float64], along: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`down` of a contour at any column; constant beyond its ends."""
    order = np.argsort(line[:, 0])
    places = np.maximum.accumulate(line[order, 0] + np.arange(len(line)) * 1e-3)
    curve = PchipInterpolator(places, line[order, 1])
    return np.asarray(curve(np.clip(along, places[0], places[-1])))


def outline_mask(shape: EyeShape, outline: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Pixels of the patch inside a polygon given in pixels of the enlarged portrait."""
    mask = np.zeros(shape.along.shape, np.uint8)
    polygon = np.round(outline - (shape.window.left, shape.window.top)).astype(np.int32)
    cv2.fillPoly(mask, [polygon], 1)
    return mask > 0
