"""From the motion plan to LivePortrait's keypoints.

The plan says what a person would see (degrees, shares of the face height, openness); this module says it in the
network's terms. Signs follow from the keypoints' axes (x to the right, y down, z inward) and the rotation of
`geometry.pose`: the nose points to -z, so a positive yaw of the network turns it to the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visema_liveportrait.geometry import FloatArray
from visema_liveportrait.geometry.driving import Networks, Openness
from visema_liveportrait.geometry.keypoints import KEYPOINT_COUNT, Motion, transform_keypoints
from visema_liveportrait.geometry.pose import rotation_matrices
from visema_liveportrait.geometry.retargeting import lip_normalisation, openness_offsets, stitch
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_settings import Expression

CLOSED_EYE_RATIO = 0.09  # eyes that look closed in the portrait are left alone
BREATH_SCALE = 0.004  # growth of the head with a full breath: it comes nearer
BREATH_LIFT = 0.006  # rise with a full breath, share of the face height

X, Y, Z = 0, 1, 2
# Which entries of the expression move what, found by the authors' editing controls: (keypoint, axis, amount).
# Keypoints 11 and 15 carry the gaze, 1 and 2 the brows, 14, 17 and 20 the mouth's shape, 13 and 16 the lids.
SMILE = (
    (14, Y, -0.020),
    (20, Y, -0.010),
    (17, Y, 0.0065),
    (17, Z, 0.003),
    (13, Y, -0.00275),
    (16, Y, -0.00275),
    (3, Y, -0.0035),
    (7, Y, -0.0035),
)
BROWS_UP = ((1, Y, 0.015), (2, Y, -0.015))
BROWS_DOWN = ((1, X, 0.015), (2, X, -0.015), (1, Y, -0.0045), (2, Y, 0.0045))
BROW_LIFT_AT_FULL = 0.015  # share of the face height that BROWS_UP stands for
GAZE_PER_DEGREE = 0.001
# Amount of each control in a preset at full strength, and the eyes' openness.
PRESETS: dict[Expression, tuple[float, float, float, float]] = {  # smile, brows up, brows down, openness
    Expression.NEUTRAL: (0.0, 0.0, 0.0, 1.0),
    Expression.WARM: (0.4, 0.1, 0.0, 0.97),
    Expression.SERIOUS: (-0.1, 0.0, 0.6, 1.0),
    Expression.HAPPY: (1.0, 0.3, 0.0, 0.92),
    Expression.SAD: (-0.35, 0.5, 0.0, 0.93),
    Expression.SURPRISED: (0.0, 1.3, 0.0, 1.2),
}


@dataclass(frozen=True, slots=True)
class SourceFace:
    """A portrait's face as the motion extractor saw it.

    Attributes:
        kp: (1, 21, 3), canonical keypoints.
        angles_deg: (3,), pitch, yaw, roll.
        motion: Length 1.
        openness: Of eyes and lips, one frame.
        face_height: Height of the face in the keypoints' units (the crop is 2 wide).
    """

    kp: FloatArray
    angles_deg: FloatArray
    motion: Motion
    openness: Openness
    face_height: float

    @property
    def x_s(self) -> FloatArray:
        """(1, 21, 3), the keypoints as they lie in the crop."""
        return transform_keypoints(self.kp, self.motion)

    @property
    def blinks(self) -> bool:
        """False where the eyes look closed already."""
        return float(self.openness.eyes.mean()) >= CLOSED_EYE_RATIO


def _entries(control: tuple[tuple[int, int, float], ...]) -> FloatArray:
    entries = np.zeros((KEYPOINT_COUNT, 3), np.float32)
    for keypoint, axis, amount in control:
        entries[keypoint, axis] += amount
    return entries


def eye_openness(plan: MotionPlan) -> FloatArray:
    """Openness of both eyes together, 1 as in the portrait, the preset's included: (N,)."""
    preset = PRESETS[plan.expression][3]
    held = 1 + (preset - 1) * plan.expression_weight
    return np.asarray(held * (plan.left_open + plan.right_open) / 2, np.float32)


def expression_offsets(plan: MotionPlan) -> FloatArray:
    """Offsets to the source's expression: (N, 21, 3)."""
    smile, up, down, _ = PRESETS[plan.expression]
    held = smile * _entries(SMILE) + up * _entries(BROWS_UP) + down * _entries(BROWS_DOWN)
    offsets = plan.expression_weight[:, None, None] * held
    offsets += (plan.brow_lift / BROW_LIFT_AT_FULL)[:, None, None] * _entries(BROWS_UP)
    for eye in (11, 15):
        offsets[:, eye, X] += GAZE_PER_DEGREE * plan.gaze_x_deg
        offsets[:, eye, Y] += GAZE_PER_DEGREE * plan.gaze_y_deg
    return np.asarray(offsets, np.float32)


def driving_keypoints(
    face: SourceFace, plan: MotionPlan, networks: Networks, lip_offsets: FloatArray | None
) -> FloatArray:
    """Keypoints of every frame of `plan`: (N, 21, 3).

    Args:
        lip_offsets: From `lip_normalisation`, once per portrait; None leaves the mouth as it is.
    """
    pitch, yaw, roll = face.angles_deg
    rotation = rotation_matrices(pitch + plan.pitch_deg, yaw - plan.yaw_deg, roll + plan.roll_deg)
    shift = np.zeros((len(plan), 3), np.float32)
    shift[:, X] = plan.shift_x * face.face_height
    shift[:, Y] = (plan.shift_y - BREATH_LIFT * plan.breath) * face.face_height
    scale = face.motion.scale * (1 + BREATH_SCALE * plan.breath[:, None])
    motion = Motion(
        rotation,
        np.asarray(face.motion.exp + expression_offsets(plan), np.float32),
        np.asarray(face.motion.t + shift, np.float32),
        np.asarray(scale, np.float32),
    )
    x_s = face.x_s
    x_d = transform_keypoints(face.kp, motion)
    if face.blinks:
        rest = face.openness.eyes.mean(keepdims=True).reshape(1).astype(np.float32)
        target = np.asarray(eye_openness(plan) * rest, np.float32)
        # Relative to the portrait's own openness, so that open eyes stay exactly as they are.
        x_d = x_d + openness_offsets(networks.eyes, x_s, face.openness.eyes, target)
        x_d = x_d - openness_offsets(networks.eyes, x_s, face.openness.eyes, rest)
    x_d = stitch(networks.stitching, x_s, np.asarray(x_d, np.float32))
    return x_d if lip_offsets is None else np.asarray(x_d + lip_offsets, np.float32)


def closed_lips(face: SourceFace, networks: Networks) -> FloatArray | None:
    """Offsets that close an open mouth, so that silence shows closed lips; None when it is closed."""
    return lip_normalisation(networks.lips, face.x_s, face.openness.lips)
