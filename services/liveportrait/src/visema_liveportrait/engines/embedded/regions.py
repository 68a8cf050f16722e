"""Which parts of a framed portrait are head, body and background, on a coarse grid around the face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator

from visema_liveportrait.engines.embedded.mesh_points import (
    CHIN,
    FACE_OVAL,
    FOREHEAD,
    NOSE_TIP,
    SKIN_POINT_COUNT,
    TEMPLES,
)
from visema_liveportrait.engines.embedded.relaxation import Grid

Mask = npt.NDArray[np.bool_]

# Lengths in face heights (forehead to chin).
CELL = 1.0 / 27.0
REACH_SIDE, REACH_UP, REACH_DOWN = 1.7, 1.5, 2.3
FAR_FROM_PERSON = 0.22
SKULL_HALF_WIDTH, SKULL_HALF_HEIGHT, SKULL_RISE = 0.62, 0.85, 0.12
NECK_TOP, NECK_LENGTH = 0.05, 0.30
EDGE_FADE = 0.35
PERSON_LIKELY = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the frame in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The analysed surroundings of a face; grids are (h, w) over `window`.

    Attributes:
        window: What can move.
        x, y: float64, pixel coordinates of the cells in the frame.
        face_height: Forehead to chin in pixels.
        depth: float64, mesh z in pixels, the head axis' where there is no mesh.
        on_mesh: Cells on the face mesh.
        person: Cells of the person.
        skull: Cells that turn with the head.
        far: Cells of the background that must not move.
        below: float64, 0 at the head, 1 at the torso.
        edge_fade: float64, 0 at borders of the window that lie inside the frame.
    """

    window: Window
    x: Grid
    y: Grid
    face_height: float
    depth: Grid
    on_mesh: Mask
    person: Mask
    skull: Mask
    far: Mask
    below: Grid
    edge_fade: Grid


def motion_window(points: npt.NDArray[np.float32], width: int, height: int) -> Window:
    """The part of the frame that the face's motion may reach."""
    face_height = float(np.linalg.norm(points[FOREHEAD, :2] - points[CHIN, :2]))
    middle_x, middle_y = (points[FOREHEAD, :2] + points[CHIN, :2]) / 2.0
    return Window(
        max(0, math.floor(middle_x - REACH_SIDE * face_height)),
        max(0, math.floor(middle_y - REACH_UP * face_height)),
        min(width, math.ceil(middle_x + REACH_SIDE * face_height)),
        min(height, math.ceil(middle_y + REACH_DOWN * face_height)),
    )


def analyse(
    points: npt.NDArray[np.float32], window: Window, person: npt.NDArray[np.float32], width: int, height: int
) -> Regions:
    """Divide the window into regions.

    Args:
        points: float32 (478, 3) in pixels of the frame.
        window: From `motion_window`.
        person: float32 (window height, window width), likelihood of a person.
        width, height: Of the frame.
    """
    forehead, chin = points[FOREHEAD, :2].astype(float), points[CHIN, :2].astype(float)
    face_height = float(np.linalg.norm(forehead - chin))
    columns = max(8, round(window.width / (CELL * face_height)))
    rows = max(8, round(window.height / (CELL * face_height)))
    cell_x, cell_y = window.width / columns, window.height / rows
    x, y = np.meshgrid(
        window.left + (np.arange(columns) + 0.5) * cell_x - 0.5, window.top + (np.arange(rows) + 0.5) * cell_y - 0.5
    )
    face = np.zeros((window.height, window.width), np.uint8)
    hull = cv2.convexHull(points[list(FACE_OVAL), :2].astype(np.int32)) - np.array([window.left, window.top])
    cv2.fillConvexPoly(face, hull.astype(np.int32), 255)
    on_face = cv2.resize(face, (columns, rows), interpolation=cv2.INTER_AREA) > 127  # noqa: PLR2004  # half covered
    likely = cv2.resize(person, (columns, rows), interpolation=cv2.INTER_AREA) > PERSON_LIKELY
    nose = points[NOSE_TIP, :2]
    body = _connected(
        likely | on_face,
        int(np.clip((nose[1] - window.top) / cell_y, 0, rows - 1)),
        int(np.clip((nose[0] - window.left) / cell_x, 0, columns - 1)),
    )
    distance = cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, 5) * (cell_x + cell_y) / 2.0
    surface = LinearNDInterpolator(points[:SKIN_POINT_COUNT, :2], points[:SKIN_POINT_COUNT, 2])(x, y)
    on_mesh = np.isfinite(surface) & on_face
    axis_depth = float(points[list(TEMPLES), 2].mean())
    centre = (forehead + chin) / 2.0 - (0.0, SKULL_RISE * face_height)
    ellipse = ((x - centre[0]) / (SKULL_HALF_WIDTH * face_height)) ** 2 + (
        (y - centre[1]) / (SKULL_HALF_HEIGHT * face_height)
    ) ** 2
    return Regions(
        window=window,
        x=x,
        y=y,
        face_height=face_height,
        depth=np.where(on_mesh, surface, axis_depth),
        on_mesh=on_mesh,
        person=body,
        skull=body & (ellipse < 1.0) & (y < chin[1]),
        far=distance > FAR_FROM_PERSON * face_height,
        below=_ease((y - chin[1] - NECK_TOP * face_height) / (NECK_LENGTH * face_height)),
        edge_fade=_edge_fade((x, y), window, (width, height), EDGE_FADE * face_height),
    )


def _connected(mask: Mask, row: int, column: int) -> Mask:
    """The part of a mask that holds one cell; persons elsewhere in the picture stay still."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    return np.asarray(labels == labels[row, column])


def _ease(position: Grid) -> Grid:
    clipped = np.clip(position, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


def _edge_fade(cells: tuple[Grid, Grid], window: Window, frame: tuple[int, int], reach_px: float) -> Grid:
    """Calm towards borders of the window that lie inside the frame: beyond them the picture stands still.

    The frame's own borders stay free: pinning them bends hair that the frame cuts, which shows more than the few
    mirrored pixels that motion pulls in there.
    """
    (x, y), (width, height) = cells, frame
    fade = np.ones_like(x)
    for distance, inside in (
        (x - window.left, window.left > 0),
        (window.right - 1 - x, window.right < width),
        (y - window.top, window.top > 0),
        (window.bottom - 1 - y, window.bottom < height),
    ):
        if inside:
            fade = fade * _ease(distance / reach_px)
    return fade
