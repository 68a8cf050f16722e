"""Where the lips meet in the reference picture, read from its pixels: the mesh alone is a few pixels off.

Closed lips: the dark line between them, found by dynamic programming. Parted lips: the opening, shrunk to what is no
lip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, median_filter

from visema_wav2lip.engines.embedded.curves import smooth_step
from visema_wav2lip.engines.embedded.geometry import Floats, LipContours, MouthAxes

PARTED_GAP = 0.045  # W; below, the mesh reports such gaps on closed lips too
_SCALE = 200  # samples per W of the straightened mouth picture
_CORRIDOR = 0.07  # W to both sides of the mesh's line
_BEND_COST = 0.25
_CORNER_EASE = 0.11  # W before the corners where the mesh takes over again
_MIN_CHROMA_STEP = 4.0  # Lab a*; below, lips and interior cannot be told apart by colour
_CLOSING_SHARE = 0.45  # of a gap is closed by the upper lip, the rest by the jaw


@dataclass(frozen=True, slots=True)
class Opening:
    """What is not lip in the straightened picture of a parted mouth.

    Attributes:
        mask: bool (H, W).
        x: float32 (W,), y: float32 (H,), local coordinates of its columns and rows.
    """

    mask: npt.NDArray[np.bool_]
    x: Floats
    y: Floats


def straighten(
    picture: npt.NDArray[np.uint8],
    axes: MouthAxes,
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    scale: float = _SCALE,
) -> tuple[npt.NDArray[np.uint8], Floats, Floats]:
    """Picture of a rectangle in local coordinates, with the coordinates of its columns and rows."""
    x = (x_span[0] + (np.arange(round((x_span[1] - x_span[0]) * scale)) + 0.5) / scale).astype(np.float32)
    y = (y_span[0] + (np.arange(round((y_span[1] - y_span[0]) * scale)) + 0.5) / scale).astype(np.float32)
    grid_x, grid_y = np.meshgrid(x, y)
    pixels = axes.to_pixels(np.stack([grid_x, grid_y], axis=-1)).astype(np.float32)
    patch = cv2.remap(picture, pixels[..., 0], pixels[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(patch, np.uint8), x, y


def closing_line(contours: LipContours) -> Floats:
    """Where the lips meet when the mouth closes: float32 (COLUMNS,)."""
    line = contours.upper_inner + _CLOSING_SHARE * (contours.lower_inner - contours.upper_inner)
    return np.asarray(line, np.float32)


def refine_contours(
    picture: npt.NDArray[np.uint8],
    axes: MouthAxes,
    mesh: LipContours,
) -> tuple[LipContours, Opening | None]:
    """Contours that follow the pixels, and the opening when the lips are parted in the picture."""
    if mesh.gap < PARTED_GAP:
        return _closed(picture, axes, mesh), None
    return _parted(picture, axes, mesh)


def _closed(picture: npt.NDArray[np.uint8], axes: MouthAxes, mesh: LipContours) -> LipContours:
    patch, x, y = straighten(picture, axes, (-0.5, 0.5), (-0.3, 0.3), 160)
    grey = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), 1.2)
    middle = (mesh.upper_inner + mesh.lower_inner) / 2
    offset = (y[:, None] - np.interp(x, mesh.x, middle)[None]) / (_CORRIDOR / 2)
    cost = grey / (grey.std() + 1e-3) + 0.55 * offset**2
    cost[np.abs(offset) > 2] = 1e6  # noqa: PLR2004 - outside the corridor
    line = y[_cheapest_path(cost.astype(np.float64))]
    ease = smooth_step((0.5 - np.abs(mesh.x)) / _CORNER_EASE)
    found = np.interp(mesh.x, x, gaussian_filter1d(line.astype(np.float64), 4)) * ease + middle * (1 - ease)
    seam = np.asarray(gaussian_filter1d(found, 5), np.float32)
    return replace(
        mesh,
        upper_inner=seam,
        lower_inner=seam,
        upper_outer=np.minimum(mesh.upper_outer, seam),
        lower_outer=np.maximum(mesh.lower_outer, seam),
    )


def _cheapest_path(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Row per column of the cheapest left-to-right path that moves at most one row per column."""
    rows, columns = cost.shape
    total = cost[:, 0].copy()
    came_from = np.zeros((rows, columns), np.intp)
    row_index = np.arange(rows)
    for column in range(1, columns):
        padded = np.pad(total, 1, constant_values=1e12)
        options = np.stack([padded[:-2] + _BEND_COST, padded[1:-1], padded[2:] + _BEND_COST])
        choice = options.argmin(axis=0)
        came_from[:, column] = row_index + choice - 1
        total = cost[:, column] + options[choice, row_index]
    path = np.zeros(columns, np.intp)
    path[-1] = total.argmin()
    for column in range(columns - 1, 0, -1):
        path[column - 1] = came_from[path[column], column]
    return path


def _parted(
    picture: npt.NDArray[np.uint8],
    axes: MouthAxes,
    mesh: LipContours,
) -> tuple[LipContours, Opening | None]:
    """Shrink the opening to pixels that are not lip-coloured; the mesh's contour often cuts into the lips."""
    patch, x, y = straighten(picture, axes, (-0.5, 0.5), (-0.3, 0.45))
    lab = cv2.cvtColor(cv2.GaussianBlur(patch, (0, 0), 1.0), cv2.COLOR_BGR2LAB).astype(np.float32)
    lightness, redness = lab[..., 0], lab[..., 1]
    upper, lower = np.interp(x, mesh.x, mesh.upper_inner), np.interp(x, mesh.x, mesh.lower_inner)
    outer_top, outer_bottom = np.interp(x, mesh.x, mesh.upper_outer), np.interp(x, mesh.x, mesh.lower_outer)
    rows = y[:, None]
    central = np.abs(x)[None] < 0.36  # noqa: PLR2004 - W; corners are shaded
    inside = (rows > upper) & (rows < lower)
    lips = ((rows > outer_top + 0.02) & (rows < upper - 0.01)) | ((rows < outer_bottom - 0.02) & (rows > lower + 0.01))
    if np.count_nonzero(lips & central) < 60 or np.count_nonzero(inside & central) < 40:  # noqa: PLR2004 - samples
        return mesh, None
    lip_red, lip_light = np.median(redness[lips & central]), np.median(lightness[lips & central])
    inner_red = np.percentile(redness[inside & central], 12)
    other = (redness < 0.5 * (lip_red + inner_red)) | (lightness < 0.55 * lip_light)
    if lip_red - inner_red < _MIN_CHROMA_STEP:
        other = inside
    reach = other & (rows > upper - 0.015) & (rows < lower + 0.015)
    counts = np.count_nonzero(reach, axis=0)
    middle = (upper + lower) / 2
    top = np.where(counts > 1, y[reach.argmax(axis=0)] - 0.008, middle)
    bottom = np.where(counts > 1, y[len(y) - 1 - reach[::-1].argmax(axis=0)] + 0.008, middle)
    top, bottom = (gaussian_filter1d(median_filter(edge, 15), 6) for edge in (top, bottom))
    ease = smooth_step((0.5 - np.abs(mesh.x)) / _CORNER_EASE)
    mesh_middle = (mesh.upper_inner + mesh.lower_inner) / 2
    new_upper = np.interp(mesh.x, x, top) * ease + (0.5 * mesh.upper_inner + 0.5 * mesh_middle) * (1 - ease)
    new_lower = np.interp(mesh.x, x, bottom) * ease + (0.5 * mesh.lower_inner + 0.5 * mesh_middle) * (1 - ease)
    new_upper = new_upper.astype(np.float32)
    new_lower = np.maximum(new_lower, new_upper).astype(np.float32)
    contours = replace(
        mesh,
        upper_inner=new_upper,
        lower_inner=new_lower,
        upper_outer=np.minimum(mesh.upper_outer, new_upper),
        lower_outer=np.maximum(mesh.lower_outer, new_lower),
    )
    return contours, Opening(reach, x, y)
