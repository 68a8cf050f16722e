"""Displacement fields of the head and body: linear in a few controls, so a frame's field is one small product.

The portrait gets a depth potential (how far each point lies in front of the head's axis), a rigid weight (how far it
moves with the skull) and a torso weight. All relax smoothly into the background, so nothing tears.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visema_liveportrait.engines.embedded.expressions import (
    BROW_SIGMA,
    EXPRESSION_CONTROLS,
    bump,
    expression_basis,
    expression_fields,
)
from visema_liveportrait.engines.embedded.mesh_points import CHIN, LEFT_EYE, RIGHT_EYE, TEMPLES
from visema_liveportrait.engines.embedded.regions import Regions, Window
from visema_liveportrait.engines.embedded.relaxation import Grid, relax, soften
from visema_liveportrait.motion_plan import MotionPlan

FINE = 2  # basis fields are stored at twice the resolution of the solve
PINNED, FIRM, SOFT = 20.0, 5.0, 0.02
SKULL_FIRMNESS, TORSO_FIRMNESS = 10.0, 4.0
BREATH_RISE = 0.022  # of the chest, share of the face height
BREATH_WIDENING = 0.55
HEAD_FOLLOWS_BREATH = 0.45
CHEST_TOP, CHEST_FULL = 0.25, 0.50  # below the chin, in face heights
CHEST_FADE, CHEST_REST = 0.45, 0.15  # towards the lower border
PIVOT_BELOW_CHIN = 0.18
# A head that is turned already shows less of what a further turn would uncover, so it turns less.
FULL_TURN_UP_TO_DEG, LEAST_TURN_FROM_DEG, LEAST_TURN = 9.5, 22.0, 0.8
MOTION_CONTROLS = ("yaw", "pitch", "roll", "shift_x", "shift_y", "breath", "brow")
CONTROLS = MOTION_CONTROLS + EXPRESSION_CONTROLS


@dataclass(frozen=True, slots=True, eq=False)
class BasisFields:
    """Displacements per unit of each control.

    Attributes:
        basis: float32 (K, 2, h, w), forward displacement in pixels, x then y, over `window`; K as in `CONTROLS`.
        window: Part of the frame that moves.
        face_height: Forehead to chin in pixels.
    """

    basis: npt.NDArray[np.float32]
    window: Window
    face_height: float

    def coefficients(self, plan: MotionPlan) -> npt.NDArray[np.float32]:
        """Controls of every frame of a plan: float32 (N, K)."""
        preset = expression_fields(plan.expression)
        rows = [
            np.sin(np.radians(plan.yaw_deg)),
            np.sin(np.radians(plan.pitch_deg)),
            np.radians(plan.roll_deg),
            plan.shift_x * self.face_height,
            plan.shift_y * self.face_height,
            plan.breath * BREATH_RISE * self.face_height,
            plan.brow_lift * self.face_height,
            *(plan.expression_weight * preset.get(control, 0.0) * self.face_height for control in EXPRESSION_CONTROLS),
        ]
        return np.stack(rows, axis=1).astype(np.float32)

    def field(self, coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Forward displacement of one frame: float32 (2, h, w) in pixels."""
        flat = coefficients @ self.basis.reshape(len(self.basis), -1)
        return np.asarray(flat.reshape(self.basis.shape[1:]), np.float32)


def build_fields(regions: Regions, points: npt.NDArray[np.float32], yaw_deg: float) -> BasisFields:
    """Solve for the basis fields of one portrait.

    Args:
        regions: The analysed surroundings of the face.
        points: float32 (478, 3), the face mesh in pixels of the frame.
        yaw_deg: Turn of the head in the portrait.
    """
    size, chin = regions.face_height, points[CHIN].astype(float)
    axis = points[list(TEMPLES)].astype(float).mean(axis=0)
    turn = np.interp(abs(yaw_deg), (FULL_TURN_UP_TO_DEG, LEAST_TURN_FROM_DEG), (1.0, LEAST_TURN))
    depth = turn * _depth_potential(regions, float(axis[2]))
    rigid = _rigid_weight(regions)
    torso = _torso_weight(regions, float(chin[1]))
    pivot_x, pivot_y = 0.6 * chin[0] + 0.4 * axis[0], chin[1] + PIVOT_BELOW_CHIN * size
    none = np.zeros_like(rigid)
    brow = none
    for eye in (RIGHT_EYE, LEFT_EYE):
        x, y = points[list(eye.brow), :2].mean(axis=0)
        brow = brow + bump(regions, float(x), float(y), BROW_SIGMA)
    fields = {
        "yaw": (depth, none),
        "pitch": (none, depth),
        "roll": (-(regions.y - pivot_y) * rigid, (regions.x - pivot_x) * rigid),
        "shift_x": (rigid, none),
        "shift_y": (none, rigid),
        "breath": ((regions.x - chin[0]) / size * BREATH_WIDENING * torso * regions.below, -torso),
        "brow": (none, -brow),
    }
    fields |= expression_basis(regions, points)
    columns, rows = FINE * rigid.shape[1], FINE * rigid.shape[0]

    def fine(part: Grid) -> npt.NDArray[np.float32]:
        faded = (part * regions.edge_fade).astype(np.float32)
        return np.asarray(cv2.resize(faded, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)

    basis = np.stack([np.stack([fine(part) for part in fields[control]]) for control in CONTROLS])
    return BasisFields(basis, regions.window, size)


def _depth_potential(regions: Regions, axis_depth: float) -> Grid:
    """Distance in front of the head's axis, relaxed to 0 at the torso and in the background."""
    target = np.where(regions.on_mesh, axis_depth - regions.depth, 0.0)
    weight = (
        np.where(regions.on_mesh, PINNED, 0.0)
        + np.where(regions.far, PINNED, 0.0)
        + np.where(regions.person & ~regions.on_mesh, SOFT, 0.0)
        + np.where(regions.below > 0.6, 0.15 * regions.below, 0.0)  # noqa: PLR2004  # the lower neck leans to the torso
        + np.where(regions.below >= 1.0, FIRM, 0.0)
    )
    return soften(relax(target, weight), 0.9)


def _rigid_weight(regions: Regions) -> Grid:
    weight = (
        np.where(regions.skull, SKULL_FIRMNESS, 0.0)
        + np.where(regions.far, PINNED, 0.0)
        + np.where(regions.below >= 1.0, FIRM, 0.0)
    )
    return soften(relax(regions.skull.astype(float), weight), 1.0)


def _torso_weight(regions: Regions, chin_y: float) -> Grid:
    size = regions.face_height
    rise = np.clip((regions.y - chin_y - CHEST_TOP * size) / ((CHEST_FULL - CHEST_TOP) * size), 0.0, 1.0)
    down = np.clip((regions.y - regions.window.bottom + CHEST_FADE * size) / (CHEST_FADE * size), 0.0, 1.0)
    down = down * down * (3.0 - 2.0 * down)
    torso = regions.person & (regions.y > chin_y + CHEST_TOP * size)
    chest = rise * (1.0 - (1.0 - CHEST_REST) * down)
    target = np.where(torso, chest, np.where(regions.skull, HEAD_FOLLOWS_BREATH, 0.0))
    weight = np.where(torso | regions.skull, TORSO_FIRMNESS, 0.0) + np.where(regions.far, PINNED, 0.0)
    return soften(relax(target, weight), 1.2)
