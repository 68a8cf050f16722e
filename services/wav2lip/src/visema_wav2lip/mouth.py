"""Where the lips are, so that the feathered edge stays away from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from visema_media.track import FaceTrack

# Outer contour of the lips in the MediaPipe mesh.
OUTER_LIPS = (0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405, 409)
FEWEST_POINTS = 4  # corners, top and bottom
MARGIN_RATIO = 0.25  # of the width of the mouth at rest, on every side: how far lips move beyond it


def mouth_bounds(track: FaceTrack) -> npt.NDArray[np.int64] | None:
    """Pixels that the lips may reach: int64 (N, 4) left, top, right, bottom; None if the track does not say.

    A frame whose points are not finite gets an empty box at the origin.
    """
    tracked = np.flatnonzero(np.isin(track.landmark_ids, OUTER_LIPS))
    if len(tracked) < FEWEST_POINTS:
        return None
    points = track.points_px[:, tracked].astype(np.float64)  # (N, K, 2)
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=(1, 2)))
    points = np.where(known[:, None, None], points, 0)
    low, high = points.min(axis=1), points.max(axis=1)  # (N, 2) each
    margin = MARGIN_RATIO * (high - low)[:, :1]
    bounds = np.concatenate((np.floor(low - margin), np.ceil(high + margin)), axis=1)
    return bounds.astype(np.int64)
