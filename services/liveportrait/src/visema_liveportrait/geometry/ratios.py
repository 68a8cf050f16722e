"""How far eyes and lips are open, and where a face's two reference points lie, from landmarks of several layouts.

A ratio is the distance between the lids (or inner lips) over the distance between the corners: 0 is closed, an open
eye is about 0.3. Left and right are those of the picture. Any uniform scale of the points gives the same ratios.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from visema_liveportrait.geometry import AnyFloatArray, FloatArray

_T = TypeVar("_T")
RATIO_EPS = 1e-6
# Each group: upper lid or lip, lower one, both corners.
EYES_203 = ((6, 18, 0, 12), (30, 42, 24, 36))
LIPS_203 = (90, 102, 48, 66)
EYES_MESH = ((159, 145, 33, 133), (386, 374, 362, 263))
LIPS_MESH = (13, 14, 61, 291)
LANDMARKS_203, LANDMARKS_MESH = 203, 478


def _ratio(points: AnyFloatArray, indices: tuple[int, int, int, int]) -> FloatArray:
    upper, lower, near, far = (points[:, index, :2] for index in indices)
    opening = np.linalg.norm(upper - lower, axis=1)
    width = np.linalg.norm(near - far, axis=1)
    return np.asarray(opening / (width + RATIO_EPS), np.float32)


def eye_ratios(points: AnyFloatArray) -> FloatArray:
    """Openness of both eyes.

    Args:
        points: (N, 203, 2), the original's landmark model, or (N, 478, 2 or 3), the MediaPipe mesh.

    Returns: (N, 2), left and right in the picture.

    Raises: ValueError: another layout.
    """
    layout = _layout(points, EYES_203, EYES_MESH)
    return np.stack([_ratio(points, eye) for eye in layout], axis=1)


def lip_ratio(points: AnyFloatArray) -> FloatArray:
    """Openness of the lips: layouts as for `eye_ratios` -> (N, 1)."""
    return _ratio(points, _layout(points, LIPS_203, LIPS_MESH))[:, None]


def _layout(points: AnyFloatArray, of_203: _T, of_mesh: _T) -> _T:
    if points.ndim == 3 and points.shape[1] == LANDMARKS_203:  # noqa: PLR2004 - frames, points, axes
        return of_203
    if points.ndim == 3 and points.shape[1] == LANDMARKS_MESH:  # noqa: PLR2004
        return of_mesh
    raise ValueError(f"landmarks of shape {points.shape}: neither 203 points nor the 478-point mesh")
