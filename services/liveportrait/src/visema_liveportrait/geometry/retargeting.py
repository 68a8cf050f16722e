"""Corrections of keypoints by the three small perceptrons.

The perceptrons are passed as functions from (N, n) to (N, m) float32, so that this module needs no torch. `x_s` are the
transformed keypoints of the source picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visema_liveportrait.geometry import FloatArray
from visema_liveportrait.geometry.keypoints import KEYPOINT_COUNT

Perceptron = Callable[[FloatArray], FloatArray]
CLOSED_LIP_RATIO = 0.03  # below this openness the source's mouth counts as closed


def stitch(network: Perceptron, x_s: FloatArray, x_d: FloatArray) -> FloatArray:
    """Driving keypoints corrected so that the crop's border meets the original picture.

    Args:
        x_s: (1, 21, 3), source.
        x_d: (N, 21, 3), driving.

    Returns: (N, 21, 3).
    """
    count = len(x_d)
    pairs = np.concatenate([np.broadcast_to(x_s, x_d.shape).reshape(count, -1), x_d.reshape(count, -1)], axis=1)
    delta = network(pairs.astype(np.float32))  # (N, 65)
    stitched = x_d + delta[:, : 3 * KEYPOINT_COUNT].reshape(count, KEYPOINT_COUNT, 3)
    stitched[:, :, :2] += delta[:, None, 3 * KEYPOINT_COUNT :]
    return stitched.astype(np.float32)


def openness_offsets(network: Perceptron, x_s: FloatArray, source: FloatArray, target: FloatArray) -> FloatArray:
    """Keypoint offsets that bring eyes or lips to a wanted openness.

    Args:
        network: The eye network (two source ratios) or the lip network (one).
        x_s: (1, 21, 3), source keypoints.
        source: (1, 2) left and right eye, or (1, 1) lips: openness in the source picture.
        target: (N,), wanted openness.

    Returns: (N, 21, 3).
    """
    count = len(target)
    row = np.concatenate([x_s.reshape(1, -1), source.reshape(1, -1)], axis=1)
    rows = np.concatenate([np.repeat(row, count, axis=0), target.reshape(count, 1)], axis=1)
    return network(rows.astype(np.float32)).reshape(count, KEYPOINT_COUNT, 3)


def lip_normalisation(network: Perceptron, x_s: FloatArray, source_lip_ratio: FloatArray) -> FloatArray | None:
    """Offsets (1, 21, 3) that close the source's mouth; None when it is closed already. Once per source."""
    if float(source_lip_ratio.reshape(-1)[0]) < CLOSED_LIP_RATIO:
        return None
    return openness_offsets(network, x_s, source_lip_ratio, np.zeros(1, np.float32))
