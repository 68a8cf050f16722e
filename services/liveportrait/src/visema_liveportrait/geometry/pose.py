"""Head pose: from the motion extractor's bins to degrees, from degrees to rotation matrices."""

from __future__ import annotations

import numpy as np

from visema_liveportrait.geometry import FloatArray

POSE_BINS = 66
BIN_DEGREES = 3.0
FIRST_BIN_DEGREES = -97.5  # so that the 66 bins of 3 degrees centre on 0


def degrees_from_logits(logits: FloatArray) -> FloatArray:
    """The expected angle under the softmax of the bins.

    Args:
        logits: (N, 66), one row per face.

    Returns: (N,), degrees.

    Raises: ValueError: not 66 bins. (The original takes anything else for degrees; guessing hides mistakes.)
    """
    if logits.ndim != 2 or logits.shape[1] != POSE_BINS:  # noqa: PLR2004 - rows of bins
        raise ValueError(f"pose logits have shape {logits.shape}, not (N, {POSE_BINS})")
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    expected_bin = weights @ np.arange(POSE_BINS, dtype=np.float32)
    return np.asarray(BIN_DEGREES * expected_bin + FIRST_BIN_DEGREES, np.float32)


def rotation_matrices(pitch_deg: FloatArray, yaw_deg: FloatArray, roll_deg: FloatArray) -> FloatArray:
    """Rotations to be applied on the right of row vectors, `keypoints @ R`.

    Args: angles in degrees, (N,) each.

    Returns: (N, 3, 3), the transpose of Rz Ry Rx.
    """
    pitch, yaw, roll = (
        np.radians(np.asarray(angle, np.float32).reshape(-1)) for angle in (pitch_deg, yaw_deg, roll_deg)
    )
    about_x, about_y, about_z = (np.tile(np.eye(3, dtype=np.float32), (len(pitch), 1, 1)) for _ in range(3))
    about_x[:, 1, 1] = about_x[:, 2, 2] = np.cos(pitch)
    about_x[:, 2, 1] = np.sin(pitch)
    about_x[:, 1, 2] = -np.sin(pitch)
    about_y[:, 0, 0] = about_y[:, 2, 2] = np.cos(yaw)
    about_y[:, 0, 2] = np.sin(yaw)
    about_y[:, 2, 0] = -np.sin(yaw)
    about_z[:, 0, 0] = about_z[:, 1, 1] = np.cos(roll)
    about_z[:, 1, 0] = np.sin(roll)
    about_z[:, 0, 1] = -np.sin(roll)
    return np.asarray((about_z @ about_y @ about_x).transpose(0, 2, 1), np.float32)
