"""The keypoint model: 21 canonical points, turned by the head pose, bent by the expression, scaled and shifted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visema_liveportrait.geometry import FloatArray

KEYPOINT_COUNT = 21


@dataclass(frozen=True, slots=True)
class Motion:
    """What moves a face's canonical keypoints, for N frames.

    Attributes:
        rotation: (N, 3, 3), head pose, see `pose.rotation_matrices`.
        exp: (N, 21, 3), expression: an offset per keypoint.
        t: (N, 3), translation; its z is never used.
        scale: (N, 1).
    """

    rotation: FloatArray
    exp: FloatArray
    t: FloatArray
    scale: FloatArray

    def __len__(self) -> int:
        return len(self.rotation)

    def frame(self, index: int) -> Motion:
        """One frame as a motion of length 1."""
        one = slice(index, index + 1)
        return Motion(self.rotation[one], self.exp[one], self.t[one], self.scale[one])


def transform_keypoints(kp: FloatArray, motion: Motion) -> FloatArray:
    """Canonical keypoints to keypoints in the picture: scale * (kp R + exp), then tx and ty are added.

    Args:
        kp: (1 or N, 21, 3), canonical.

    Returns: (N, 21, 3).
    """
    x = motion.scale[:, :, None] * (kp @ motion.rotation + motion.exp)
    x[:, :, :2] += motion.t[:, None, :2]
    return x.astype(np.float32)
