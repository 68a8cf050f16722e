"""Expression presets as small warps around brows, eyes and the corners of the mouth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from visema_liveportrait.engines.embedded.mesh_points import (
    CHEEKS,
    INNER_BROWS,
    LEFT_EYE,
    MOUTH_CORNERS,
    RIGHT_EYE,
)
from visema_liveportrait.engines.embedded.regions import Regions
from visema_liveportrait.engines.embedded.relaxation import Grid
from visema_liveportrait.motion_settings import Expression

EXPRESSION_CONTROLS = ("smile", "frown", "raise_brows", "inner_brows", "furrow", "widen", "squint")

# Displacements in face heights at full strength.
PRESETS: dict[Expression, dict[str, float]] = {
    Expression.NEUTRAL: {},
    Expression.WARM: {"smile": 0.014, "squint": 0.004},
    Expression.SERIOUS: {"furrow": 0.014, "frown": 0.003},
    Expression.HAPPY: {"smile": 0.032, "squint": 0.009, "raise_brows": 0.006},
    Expression.SAD: {"frown": 0.020, "inner_brows": 0.020},
    Expression.SURPRISED: {"raise_brows": 0.028, "widen": 0.007},
}

MOUTH_SIGMA = (0.105, 0.085)
CHEEK_SIGMA, CHEEK_SHARE = (0.13, 0.10), 0.35
BROW_SIGMA, INNER_BROW_SIGMA = (0.16, 0.075), (0.075, 0.065)
LOWER_LID_SIGMA = (0.10, 0.05)
SMILE_OUTWARD, FURROW_INWARD = 0.8, 0.5
EYE_SIGMA = 0.75  # of the eye's width, for widening


def expression_fields(expression: Expression) -> dict[str, float]:
    """Controls of a preset at full strength, in face heights."""
    return PRESETS[expression]


def bump(regions: Regions, x: float, y: float, sigma: tuple[float, float]) -> Grid:
    """A Gaussian hill of height 1; `sigma` across and down in face heights."""
    size = regions.face_height
    return np.exp(-(((regions.x - x) / (sigma[0] * size)) ** 2) - ((regions.y - y) / (sigma[1] * size)) ** 2)


def expression_basis(regions: Regions, points: npt.NDArray[np.float32]) -> dict[str, tuple[Grid, Grid]]:
    """Displacement per unit of each expression control, x and y."""
    none = np.zeros_like(regions.x)

    def at(index: int, sigma: tuple[float, float]) -> Grid:
        return bump(regions, float(points[index, 0]), float(points[index, 1]), sigma)

    left_corner, right_corner = (at(index, MOUTH_SIGMA) for index in MOUTH_CORNERS)
    cheeks = sum((at(index, CHEEK_SIGMA) for index in CHEEKS), start=none)
    left_brow, right_brow = (at(index, INNER_BROW_SIGMA) for index in INNER_BROWS)
    brows, widen, lower_lids = none, none, none
    for eye in (RIGHT_EYE, LEFT_EYE):
        brow = points[list(eye.brow), :2].mean(axis=0)
        brows = brows + bump(regions, float(brow[0]), float(brow[1]), BROW_SIGMA)
        middle = points[[*eye.upper, *eye.lower], :2].mean(axis=0)
        width = float(np.linalg.norm(points[eye.upper[0], :2] - points[eye.upper[-1], :2])) / regions.face_height
        hill = bump(regions, float(middle[0]), float(middle[1]), (EYE_SIGMA * width, EYE_SIGMA * width * 0.7))
        widen = widen + hill * (regions.y - middle[1]) / (0.25 * width * regions.face_height)
        lower = points[eye.lower[4], :2]
        lower_lids = lower_lids + bump(regions, float(lower[0]), float(lower[1]), LOWER_LID_SIGMA)
    return {
        "smile": (SMILE_OUTWARD * (right_corner - left_corner), -left_corner - right_corner - CHEEK_SHARE * cheeks),
        "frown": (none, left_corner + right_corner),
        "raise_brows": (none, -brows),
        "inner_brows": (none, -left_brow - right_brow),
        "furrow": (FURROW_INWARD * (left_brow - right_brow), left_brow + right_brow + 0.4 * brows),
        "widen": (none, widen),
        "squint": (none, -lower_lids),
    }
