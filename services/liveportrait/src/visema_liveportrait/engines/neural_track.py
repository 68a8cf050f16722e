"""Where the landmarks go when LivePortrait moves a face: computed from its keypoints, never measured in the frames."""

from __future__ import annotations

import numpy as np
from visema_media.track import MESH_POINT_COUNT, FaceTrack

from visema_liveportrait.engines.embedded.mesh_points import LEFT_EYE, RIGHT_EYE
from visema_liveportrait.geometry import AnyFloatArray, FloatArray
from visema_liveportrait.geometry.crop import SOURCE_CROP_PX, map_points

# Keypoints that neither eyes, brows nor lips move: what they do, the whole head does.
RIGID_KEYPOINTS = (0, 3, 4, 5, 7, 8, 9, 10)
_RIDGE = 1e-3  # keeps the fit sane when the keypoints of a strange face lie in a plane
# Landmarks of the lips: (upper, lower) inner pairs, then what follows the upper and the lower ones.
_INNER_LIPS = ((13, 14), (82, 87), (81, 178), (80, 88), (312, 317), (311, 402), (310, 318), (191, 95), (415, 324))
_OUTER_LIPS = ((0, 17), (37, 84), (39, 181), (40, 91), (185, 146), (267, 314), (269, 405), (270, 321), (409, 375))


class LandmarkMotion:
    """Carries the mesh of a portrait along with the keypoints.

    The rigid keypoints of a frame are fitted as an affine function of the source's keypoints in three dimensions; for a
    turned, shifted and scaled head that is exact. Landmarks take part with their depth.
    """

    def __init__(self, points_px: FloatArray, to_crop: FloatArray, x_s: FloatArray) -> None:
        """Remember the portrait.

        Args:
            points_px: (478, 3), the mesh in pixels of the frame.
            to_crop: (3, 3), from the frame to the crop.
            x_s: (1, 21, 3), source keypoints.
        """
        self._points_px = points_px[:, :2].astype(np.float32)
        linear = to_crop[:2, :2].astype(np.float64)
        zoom = float(np.sqrt(abs(np.linalg.det(linear))))
        self._units_per_px = 2.0 / (SOURCE_CROP_PX - 1)
        self._to_frame_px = np.linalg.inv(linear) / self._units_per_px
        self._rigid = x_s[0, list(RIGID_KEYPOINTS)].astype(np.float64)
        in_crop = map_points(points_px[:, :2], to_crop).astype(np.float64)
        depth = points_px[:, 2].astype(np.float64) * zoom * self._units_per_px
        depth += self._rigid[:, 2].mean() - depth.mean()  # the mesh's zero of depth is another one
        landmarks = np.column_stack([in_crop * self._units_per_px - 1, depth])
        centre = self._rigid.mean(axis=0)
        self._basis = np.column_stack([landmarks - centre, np.ones(len(landmarks))])  # (478, 4)
        rows = np.column_stack([self._rigid - centre, np.ones(len(self._rigid))])  # (8, 4)
        ridge = np.diag([_RIDGE, _RIDGE, _RIDGE, 0.0])
        self._fit = np.linalg.solve(rows.T @ rows + ridge, rows.T)  # (4, 8)

    def track(self, x_d: FloatArray, openness: FloatArray, *, lips_closed: bool) -> FaceTrack:
        """The track of N frames.

        Args:
            x_d: (N, 21, 3), driving keypoints.
            openness: (N,), of the eyes, 1 as in the portrait.
            lips_closed: The frames show the mouth closed.
        """
        moved = x_d[:, list(RIGID_KEYPOINTS), :2] - self._rigid[None, :, :2]  # (N, 8, 2)
        shift = self._basis @ (self._fit @ moved)  # (N, 478, 2) in keypoint units
        resting = np.repeat(self._points_px[None].astype(np.float64), len(x_d), axis=0)
        for eye in (RIGHT_EYE, LEFT_EYE):
            upper, lower = list(eye.upper), list(eye.lower)
            opening = resting[:, lower] - resting[:, upper]
            resting[:, upper] += np.clip(1 - openness, -1, 1)[:, None, None] * opening
        if lips_closed:
            _close_lips(resting)
        points = (resting + shift @ self._to_frame_px.T).astype(np.float32)
        low, high = points.min(axis=1), points.max(axis=1)
        boxes = np.concatenate([low, high - low], axis=1).astype(np.float32)
        return FaceTrack(np.arange(MESH_POINT_COUNT, dtype=np.int32), points, boxes)


def _close_lips(points: AnyFloatArray) -> None:
    """Bring the inner lips together in place; the outer ones follow their neighbours."""
    for (upper, lower), (above, below) in zip(_INNER_LIPS, _OUTER_LIPS, strict=True):
        half = (points[:, lower] - points[:, upper]) / 2
        points[:, [upper, above]] += half[:, None]
        points[:, [lower, below]] -= half[:, None]
