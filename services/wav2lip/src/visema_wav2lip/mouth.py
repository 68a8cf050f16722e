"""Where the lips are, so that the feathered edge stays away from them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from visema_media.track import FaceTrack

from visema_wav2lip.compositing import Box

# Outer contour of the lips in the MediaPipe mesh.
OUTER_LIPS = (0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405, 409)
FEWEST_POINTS = 4  # corners, top and bottom
MARGIN_RATIO = 0.25  # of the width of the mouth at rest, on every side: how far lips move beyond it


def mouth_bounds(track: FaceTrack) -> list[Box | None]:
    """Pixels that the lips may reach in each frame: left, top, right, bottom; None where the track does not say."""
    tracked = np.flatnonzero(np.isin(track.landmark_ids, OUTER_LIPS))
    if len(tracked) < FEWEST_POINTS:
        return [None] * len(track)
    return [_bounds(points) for points in track.points_px[:, tracked]]


def _bounds(points_px: npt.NDArray[np.float32]) -> Box | None:
    """Bounds of points (K, 2) with the margin; None if they are not known."""
    if not np.isfinite(points_px).all():
        return None
    (left, top), (right, bottom) = points_px.min(axis=0).tolist(), points_px.max(axis=0).tolist()
    margin = MARGIN_RATIO * (right - left)
    return (
        math.floor(left - margin),
        math.floor(top - margin),
        math.ceil(right + margin),
        math.ceil(bottom + margin),
    )
