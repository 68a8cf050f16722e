"""Soft boundary-value problems on small grids: smooth fields that follow targets where they carry weight."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import linalg

Grid = npt.NDArray[np.float64]
REGULARISATION = 1e-6  # keeps the system solvable where nothing pulls


def relax(target: Grid, weight: Grid) -> Grid:
    """Minimise the squared slope of a field plus `weight` times its squared distance from `target`.

    Args:
        target: float64 (h, w).
        weight: float64 (h, w), 0 lets the field float, 20 pins it.
    Returns: float64 (h, w).
    """
    height, width = target.shape
    cells = np.arange(height * width).reshape(height, width)
    ones = np.concatenate([cells[:, :-1].ravel(), cells[:-1].ravel()])
    others = np.concatenate([cells[:, 1:].ravel(), cells[1:].ravel()])
    links = sparse.coo_matrix(
        (np.ones(2 * ones.size), (np.concatenate([ones, others]), np.concatenate([others, ones]))),
        shape=(cells.size, cells.size),
    ).tocsc()
    degree = np.asarray(links.sum(axis=0)).ravel()
    system = sparse.diags(degree + weight.ravel() + REGULARISATION) - links
    solver = linalg.splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return np.asarray(solver.solve((weight * target).ravel())).reshape(height, width)


def soften(field: Grid, sigma_cells: float) -> Grid:
    """Gaussian blur that keeps the borders."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma_cells, borderType=cv2.BORDER_REPLICATE))


def fill_from_weighted(values: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Fill where `weight` is low from where it is high, smoothly: the pull-push pyramid of Gortler et al. (1996).

    Args:
        values: float32 (h, w, C).
        weight: float32 (h, w) in [0, 1].
    Returns: float32 (h, w, C); equal to `values` where the weight is 1.
    """
    if min(weight.shape) <= 2:  # noqa: PLR2004  # the top of the pyramid
        total = max(float(weight.sum()), 1e-6)
        mean = (values * weight[..., None]).sum(axis=(0, 1)) / total
        return np.broadcast_to(mean.astype(np.float32), values.shape).copy()
    coarse_weight = cv2.pyrDown(weight)
    coarse = cv2.pyrDown(values * weight[..., None]) / np.maximum(coarse_weight, 1e-6)[..., None]
    filled = fill_from_weighted(np.asarray(coarse, np.float32), np.minimum(4.0 * coarse_weight, 1.0).astype(np.float32))
    size = (weight.shape[1], weight.shape[0])
    below = cv2.pyrUp(filled, dstsize=size)
    return np.asarray(below + (values - below) * weight[..., None], np.float32)
