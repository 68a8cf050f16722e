"""Where the mouth is: mouth axes, lip contours and the motion of the face from frame to frame.

Local coordinates: origin midway between the inner mouth corners, x towards the picture's right along them, y down,
unit W (the distance of the inner corners) of the reference frame. All lip geometry lives once in these coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from visema_media.track import FaceTrack

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# MediaPipe mesh ids, from the picture's left corner to the right one.
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LEFT_CORNER, RIGHT_CORNER = 78, 308
UPPER_MIDDLE, LOWER_MIDDLE = 13, 14
NOSE_BASE, NOSE_TIP, CHIN, FOREHEAD = 2, 4, 152, 10
CHEEKS = (205, 425, 50, 280, 101, 330)
EARS = (234, 454)
EYE_OUTLINES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))

_FACE_AROUND = (1, 2, 98, 327, 94, 152, 148, 377, 176, 400, 199, 200, 18, 205, 425, 50, 280, 164, 58, 288, 136, 365)
_FACE_ABOVE = (172, 397, 6, 168, 33, 263, 133, 362)
ALIGNMENT = tuple(
    sorted({*UPPER_INNER, *LOWER_INNER, *UPPER_OUTER, *LOWER_OUTER, *_FACE_AROUND, *_FACE_ABOVE}),
)  # lips, nose, chin and eye corners: no lids and brows, which move on their own
NEEDED = tuple(
    sorted({*UPPER_INNER, *LOWER_INNER, *UPPER_OUTER, *LOWER_OUTER, NOSE_BASE, CHIN, FOREHEAD}),
)

COLUMNS = 768  # samples of a contour table
HALF_SPAN = 0.9  # contour tables cover x in [-HALF_SPAN, HALF_SPAN]
_CONTOUR_SMOOTHING = 0.014 * COLUMNS / (2 * HALF_SPAN)  # W; hides the mesh's corners, keeps the cupid's bow
_MAX_MIDDLE_OFFSET = 0.18  # beyond, the turned mouth's half widths no longer give a monotone `side`


class LandmarksMissing(ValueError):
    """The face track does not hold the landmarks that the lips need."""


@dataclass(frozen=True, slots=True)
class MouthAxes:
    """Similarity from local mouth coordinates to pixels of the reference frame.

    Attributes:
        origin_px: float64 (2,).
        rotation: float64 (2, 2), rows are the local x and y axes in the picture.
        width_px: W, distance of the inner corners.
    """

    origin_px: Doubles
    rotation: Doubles
    width_px: float

    def to_local(self, points_px: npt.NDArray[np.floating]) -> Doubles:
        """Pixels (..., 2) to local coordinates (..., 2)."""
        return np.asarray((points_px - self.origin_px) @ self.rotation.T / self.width_px)

    def to_pixels(self, local: npt.NDArray[np.floating]) -> Doubles:
        """Local coordinates (..., 2) to pixels (..., 2)."""
        return np.asarray(self.origin_px + self.width_px * (local @ self.rotation))


@dataclass(frozen=True, slots=True)
class LipContours:
    """Lip lines of the reference frame as functions of local x; all float32 (COLUMNS,), in W.

    `upper_inner <= lower_inner`; they are equal where the lips touch. `side` is -1 at the left corner, 0 at the
    middle of the lips, 1 at the right corner, also for a turned head whose halves look unequally wide.
    """

    x: Floats
    side: Floats
    upper_outer: Floats
    upper_inner: Floats
    lower_inner: Floats
    lower_outer: Floats

    @property
    def gap(self) -> float:
        """Largest distance of the inner contours in W."""
        return float(np.max(self.lower_inner - self.upper_inner))

    def at_middle(self, table: Floats) -> float:
        """Value of a contour table at the middle of the lips."""
        return float(np.interp(0.0, self.side, table))


@dataclass(frozen=True, slots=True)
class FaceFrame:
    """Landmarks of the reference frame by mesh id, float64 (2,) in pixels."""

    points: dict[int, Doubles]

    @classmethod
    def from_row(cls, row: FaceTrack) -> FaceFrame:
        """The single frame of `row`. Raises: LandmarksMissing: lips, nose base, chin or forehead are not tracked."""
        points = {
            int(landmark): point.astype(np.float64)
            for landmark, point in zip(row.landmark_ids, row.points_px[0], strict=True)
        }
        missing = [landmark for landmark in NEEDED if landmark not in points]
        if missing:
            raise LandmarksMissing(f"the face track lacks the landmarks {missing[:8]}")
        return cls(points)

    def stack(self, ids: tuple[int, ...]) -> Doubles:
        """The points of those ids that are tracked: float64 (K, 2), K may be 0."""
        return np.array([self.points[i] for i in ids if i in self.points], np.float64).reshape(-1, 2)

    @property
    def height_px(self) -> float:
        """Distance of forehead and chin, F."""
        return float(np.linalg.norm(self.points[FOREHEAD] - self.points[CHIN]))


def mouth_axes(face: FaceFrame) -> MouthAxes:
    """Axes through the inner mouth corners."""
    left, right = face.points[LEFT_CORNER], face.points[RIGHT_CORNER]
    along = right - left
    width = max(float(np.linalg.norm(along)), 1.0)
    axis_x = along / width
    axis_y = np.array([-axis_x[1], axis_x[0]])
    return MouthAxes((left + right) / 2, np.stack([axis_x, axis_y]), width)


def mesh_contours(face: FaceFrame, axes: MouthAxes) -> LipContours:
    """Lip contours as the mesh has them, smoothed; refined by `seam`."""
    x = np.linspace(-HALF_SPAN, HALF_SPAN, COLUMNS).astype(np.float32)

    def table(ids: tuple[int, ...]) -> Floats:
        local = axes.to_local(face.stack(ids))
        local = local[np.argsort(local[:, 0])]
        knots = np.maximum.accumulate(local[:, 0]) + np.arange(len(local)) * 1e-4
        curve = PchipInterpolator(knots, local[:, 1])(np.clip(x, knots[0], knots[-1]))
        return np.asarray(gaussian_filter1d(curve, _CONTOUR_SMOOTHING), np.float32)

    upper_inner, lower_inner = table(UPPER_INNER), table(LOWER_INNER)
    middle = axes.to_local((face.points[UPPER_MIDDLE] + face.points[LOWER_MIDDLE]) / 2)[0]
    return LipContours(
        x=x,
        side=_side(x, float(np.clip(middle, -_MAX_MIDDLE_OFFSET, _MAX_MIDDLE_OFFSET))),
        upper_outer=np.minimum(table(UPPER_OUTER), upper_inner),
        upper_inner=upper_inner,
        lower_inner=np.maximum(lower_inner, upper_inner),
        lower_outer=np.maximum(table(LOWER_OUTER), lower_inner),
    )


def _side(x: Floats, middle: float) -> Floats:
    """-1 at x = -0.5, 0 at `middle`, 1 at 0.5, monotone; 2x outside the mouth."""
    bend = -2 * middle / (1 - 4 * middle**2)
    return np.where(np.abs(x) < 0.5, 2 * x + bend * (1 - 4 * x * x), 2 * x).astype(np.float32)  # noqa: PLR2004 - corners


def face_motion(row: FaceTrack, track: FaceTrack) -> Doubles:
    """Least-squares affine from the reference frame to every frame: float64 (N, 2, 3).

    Raises: LandmarksMissing: the track lacks landmarks of the reference.
    """
    tracked = {int(landmark) for landmark in row.landmark_ids} & {int(landmark) for landmark in track.landmark_ids}
    ids = [landmark for landmark in ALIGNMENT if landmark in tracked]
    if not set(UPPER_INNER) <= tracked or len(ids) < len(UPPER_INNER) + 1:
        raise LandmarksMissing("the face track lacks the landmarks of the lips")
    before = row.select(ids)[0].astype(np.float64)  # (K, 2)
    after = track.select(ids).astype(np.float64)  # (N, K, 2)
    solver = np.linalg.pinv(np.concatenate([before, np.ones((len(ids), 1))], axis=1))  # (3, K)
    return np.asarray(np.swapaxes(solver @ after, 1, 2))  # (N, 2, 3)


def depth_shift(row: FaceTrack, track: FaceTrack, motion: Doubles, axes: MouthAxes) -> Doubles:
    """How far the nose tip moves against the ears when the head turns: float64 (N, 2), local units of W.

    What lies behind the lips moves the other way in proportion to its depth. Zero where the landmarks are not tracked.
    """
    tracked = {int(landmark) for landmark in row.landmark_ids} & {int(landmark) for landmark in track.landmark_ids}
    if not {NOSE_TIP, *EARS} <= tracked:
        return np.zeros((len(track), 2))
    ids = [NOSE_TIP, *EARS]
    before = row.select(ids)[0].astype(np.float64)
    after = track.select(ids).astype(np.float64)
    turn = np.linalg.inv(motion[:, :, :2])  # (N, 2, 2): takes roll and scale out of the comparison
    seen = np.einsum("nij,nkj->nki", turn, after - motion[:, None, :, 2]) - before  # (N, 3, 2), reference pixels
    against = seen[:, 0] - seen[:, 1:].mean(axis=1)
    return np.asarray(against @ axes.rotation.T / axes.width_px)
