"""The two scalar curves that all of the engine's shapes are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def smooth_step(t: npt.ArrayLike) -> npt.NDArray[Any]:
    """0 below 0, 1 above 1, 3t²-2t³ between; keeps float32."""
    clipped = np.clip(np.asarray(t), 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def bump(t: npt.ArrayLike, power: float, roundness: float) -> npt.NDArray[Any]:
    """1 at 0, 0 at |t| >= 1: (1 - |t|^power)^roundness; keeps float32."""
    clipped = np.minimum(np.abs(np.asarray(t)), 1)
    return np.asarray((1 - clipped**power) ** roundness)
