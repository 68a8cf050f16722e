"""Where the landmarks of the face go: the track is computed from the motion, never measured in the frames."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from visema_media.track import MESH_POINT_COUNT, FaceTrack

from visema_liveportrait.engines.embedded.eyelids import LOWER_RISE, Eyelids
from visema_liveportrait.engines.embedded.mesh_points import EyePoints
from visema_liveportrait.engines.embedded.regions import Window

INVERSION_STEPS = 4  # the field's slope is below 0.3, so each step gains half a digit


def carried(points: npt.NDArray[np.float32], field: npt.NDArray[np.float32], window: Window) -> npt.NDArray[np.float32]:
    """Move points of the portrait to where the frame shows them.

    The frame at p shows the portrait at p - field(p), so the new place is the fixed point of p = point + field(p).

    Args:
        points: float32 (K, 2) in pixels of the portrait.
        field: float32 (2, h, w), displacement in pixels over `window`.
    """
    step_x, step_y = window.width / field.shape[2], window.height / field.shape[1]
    place = points.astype(np.float32)
    for _ in range(INVERSION_STEPS):
        map_x = ((place[:, 0] - window.left + 0.5) / step_x - 0.5).astype(np.float32)
        map_y = ((place[:, 1] - window.top + 0.5) / step_y - 0.5).astype(np.float32)
        moved = [
            cv2.remap(part, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel() for part in field
        ]
        place = points + np.stack(moved, axis=1)
    return np.asarray(place, np.float32)


class LidMotion:
    """Landmarks of one eye as its lids and iris move, in the portrait's own pose."""

    def __init__(self, eye: EyePoints, eyelids: Eyelids, points: npt.NDArray[np.float64], enlargement: int) -> None:
        """Remember where the landmarks lie.

        Args:
            eye: Which eye.
            eyelids: Its layers.
            points: float64 (478, 2) in pixels of the enlarged portrait.
            enlargement: Of the enlarged portrait.
        """
        self._eye, self._eyelids, self._enlargement = eye, eyelids, enlargement
        shape = eyelids.shape
        upper = points[list(eye.upper)]
        self._columns = np.clip(
            np.round(upper - (shape.window.left, shape.window.top)).astype(int),
            0,
            (shape.window.width - 1, shape.window.height - 1),
        )
        self._openings = np.linalg.norm(points[list(eye.lower)] - upper, axis=1)

    def apply(self, points: npt.NDArray[np.float32], openness: float, gaze_x_deg: float, gaze_y_deg: float) -> None:
        """Move lids and iris in `points`, float32 (478, 2) in pixels of the portrait."""
        shape = self._eyelids.shape
        closure = self._eyelids.closure(openness)
        if closure > 0.0:
            drop = self._eyelids.lid_drop(closure)[self._columns[:, 1], self._columns[:, 0]]
            drop[[0, -1]] = 0.0  # corners stay
            rise = LOWER_RISE * closure * self._openings
            normal = (shape.normal / self._enlargement).astype(np.float32)
            points[list(self._eye.upper)] += drop[:, None] * normal
            points[list(self._eye.lower)] -= rise[:, None].astype(np.float32) * normal
        shift = self._eyelids.gaze_shift(gaze_x_deg, gaze_y_deg)
        points[list(self._eye.iris)] += np.array(shift, np.float32) / self._enlargement


def track_of(points_px: npt.NDArray[np.float32]) -> FaceTrack:
    """A track of the whole mesh from float32 (N, 478, 2)."""
    low, high = points_px.min(axis=1), points_px.max(axis=1)
    return FaceTrack(
        landmark_ids=np.arange(MESH_POINT_COUNT, dtype=np.int32),
        points_px=points_px,
        boxes_px=np.concatenate([low, high - low], axis=1).astype(np.float32),
    )
