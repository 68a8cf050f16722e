"""Portraits whose own grain is finer than the motion: weave and cracks of a painting, seen large.

A head that turns moves the parts of its face against each other, by about a five-hundredth of the face's height on
average. In a photo nobody sees that. Grain as fine as this loses its pattern: the paint swims. Such a portrait turns,
looks and lifts its brows less; tilts and shifts keep the whole face together and stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from visema_liveportrait.engines.embedded.mesh_points import CHIN, FACE_OVAL, FOREHEAD
from visema_liveportrait.motion_plan import MotionPlan

Picture = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

RELATIVE_MOTION = 0.0021  # face heights: root mean square of full motion in a face, less its best affine fit
TOLERATED_LOSS = 0.06  # of structural similarity; photos stay below 0.02
LEAST_SHARE = 0.5  # with less the head looks frozen
# Structural similarity (Wang et al., 2004): Gaussian window of 11 pixels, (0.01 L)^2 and (0.03 L)^2 for L = 255.
WINDOW_PX, WINDOW_SIGMA = 11, 1.5
STABLE_MEAN, STABLE_VARIANCE = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2


def motion_share(bgr: Picture, points: npt.NDArray[np.float32]) -> float:
    """Share of the full motion within the face that its picture bears: `LEAST_SHARE` to 1.

    Args:
        bgr: uint8 (H, W, 3), the framed portrait.
        points: float32 (478, 3), the face in it, in pixels.
    """
    lost = _similarity_lost(bgr, points)
    # The loss grows with the square of a small motion.
    return float(np.clip(math.sqrt(TOLERATED_LOSS / max(lost, 1e-6)), LEAST_SHARE, 1.0))


def within_share(plan: MotionPlan, share: float) -> MotionPlan:
    """The plan with this share of all that moves parts of the face against each other; blinks stay whole."""
    if share >= 1.0:
        return plan
    scale = np.float32(share)
    return replace(
        plan,
        yaw_deg=plan.yaw_deg * scale,
        pitch_deg=plan.pitch_deg * scale,
        brow_lift=plan.brow_lift * scale,
        gaze_x_deg=plan.gaze_x_deg * scale,
        gaze_y_deg=plan.gaze_y_deg * scale,
    )


def _similarity_lost(bgr: Picture, points: npt.NDArray[np.float32]) -> float:
    """1 - structural similarity between the face and the face moved by `RELATIVE_MOTION`, mean of both directions."""
    height, width = bgr.shape[:2]
    outline = points[list(FACE_OVAL), :2]
    left, top = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 1, (left + 1, top + 1), (width, height))
    inside = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull((outline - (left, top)).astype(np.int32)), 255)
    grey = cv2.cvtColor(bgr[top:bottom, left:right], cv2.COLOR_BGR2GRAY).astype(np.float32)
    distance = RELATIVE_MOTION * float(np.linalg.norm(points[FOREHEAD, :2] - points[CHIN, :2]))
    lost = [
        1.0 - cv2.mean(_similarity(grey, _shifted(grey, *shift)), inside)[0]
        for shift in ((distance, 0.0), (0.0, distance))
    ]
    return sum(lost) / len(lost)


def _shifted(grey: Plane, right: float, down: float) -> Plane:
    move = np.array([[1.0, 0.0, right], [0.0, 1.0, down]])
    size = (grey.shape[1], grey.shape[0])
    return np.asarray(
        cv2.warpAffine(grey, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.float32
    )


def _similarity(first: Plane, second: Plane) -> Plane:
    """Structural similarity at every pixel."""
    mean_1, mean_2 = _local_mean(first), _local_mean(second)
    variance_1 = _local_mean(first * first) - mean_1 * mean_1
    variance_2 = _local_mean(second * second) - mean_2 * mean_2
    covariance = _local_mean(first * second) - mean_1 * mean_2
    alike = (2.0 * mean_1 * mean_2 + STABLE_MEAN) * (2.0 * covariance + STABLE_VARIANCE)
    at_most = (mean_1 * mean_1 + mean_2 * mean_2 + STABLE_MEAN) * (variance_1 + variance_2 + STABLE_VARIANCE)
    return np.asarray(alike / at_most, np.float32)


def _local_mean(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (WINDOW_PX, WINDOW_PX), WINDOW_SIGMA), np.float32)
