"""Faces and persons in pictures: detection at several scales, the 478-point mesh on crops, and the person's outline.

The only module that imports MediaPipe. Its graphs are built on first use (or by `warm_up`), one caller at a time runs
them, and what the library prints while it starts stays off the terminal.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

DETECTOR_INPUT_PX = 640  # the detectors look at 128 or 192 px; more only costs time
DETECTION_SCORE = 0.5
TILE_GRIDS = (2, 4)  # tiles per side, tried when the whole picture shows no face
TILE_OVERLAP = 0.35
PADDING_SHARE = 0.5  # border for faces that fill the picture
MESH_CROP = 2.0  # side of the mesh's crop in detection boxes
MESH_CROP_PX = 512
MESH_SCORE = 0.3
SAME_FACE_IOU = 0.35
MASK_INPUT_PX = 512
_LEFT_TEMPLE, _RIGHT_TEMPLE = 234, 454  # of the picture
_FOREHEAD, _CHIN = 10, 152
_EYES = ((33, 133, 159, 145), (362, 263, 386, 374))  # corners, middle of the upper and of the lower lid


@dataclass(frozen=True, slots=True, eq=False)
class FaceLandmarks:
    """One face of a picture.

    Attributes:
        points_px: float32 (478, 3): x and y in pixels, z in the same scale, smaller is nearer to the camera.
        score: Confidence of the detector, 0 to 1.
    """

    points_px: npt.NDArray[np.float32]
    score: float

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the mesh in pixels; may reach beyond the picture."""
        low, high = self.points_px[:, :2].min(axis=0), self.points_px[:, :2].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])

    @property
    def height_px(self) -> float:
        """Distance from the forehead to the chin."""
        return float(np.linalg.norm(self.points_px[_FOREHEAD, :2] - self.points_px[_CHIN, :2]))

    @property
    def yaw_degrees(self) -> float:
        """Turn to the side; 0 looks at the camera, above 0 looks to the right edge of the picture."""
        across = self.points_px[_RIGHT_TEMPLE] - self.points_px[_LEFT_TEMPLE]
        return math.degrees(math.atan2(float(across[2]), float(np.hypot(across[0], across[1]))))

    @property
    def eye_opening(self) -> float:
        """Height of the eyes' openings divided by their width; the mean of both."""
        ratios = []
        for left, right, upper, lower in _EYES:
            width = float(np.linalg.norm(self.points_px[left, :2] - self.points_px[right, :2]))
            height = float(np.linalg.norm(self.points_px[upper, :2] - self.points_px[lower, :2]))
            ratios.append(height / max(width, 1e-6))
        return sum(ratios) / len(ratios)

    def moved(self, scale: float, left_px: float, top_px: float) -> FaceLandmarks:
        """The same face in a picture that was cut at (left, top) and then scaled about pixel centres."""
        points = self.points_px.astype(np.float64)
        points[:, :2] = (points[:, :2] - (left_px, top_px) + 0.5) * scale - 0.5
        points[:, 2] *= scale
        return FaceLandmarks(points.astype(np.float32), self.score)


@dataclass(frozen=True, slots=True)
class _Detection:
    left_px: float
    top_px: float
    width_px: float
    height_px: float
    score: float

    def centre(self) -> tuple[float, float]:
        return self.left_px + self.width_px / 2.0, self.top_px + self.height_px / 2.0


class _Graphs:
    """MediaPipe graphs; not for concurrent use."""

    def __init__(self) -> None:
        from mediapipe.python.solutions import (  # noqa: PLC0415  # costs 2 s and 100 MB: only when a face is looked for
            face_detection,
            face_mesh,
            selfie_segmentation,
        )

        self.near = face_detection.FaceDetection(model_selection=0, min_detection_confidence=DETECTION_SCORE)
        self.far = face_detection.FaceDetection(model_selection=1, min_detection_confidence=DETECTION_SCORE)
        self.mesh = face_mesh.FaceMesh(
            static_image_mode=True, refine_landmarks=True, max_num_faces=4, min_detection_confidence=MESH_SCORE
        )
        self.person = selfie_segmentation.SelfieSegmentation(model_selection=0)
        blank = np.zeros((128, 128, 3), np.uint8)
        for graph in (self.near, self.far, self.mesh, self.person):
            graph.process(blank)
        self._mesh_has_run = False

    def meshes(self, rgb: Picture) -> list[npt.NDArray[np.float64]]:
        """Meshes of the faces in a crop: float64 (478, 3) each, in shares of the crop's width, height and width."""
        quiet = contextlib.nullcontext() if self._mesh_has_run else _quiet_stderr()  # the first face prints a warning
        with quiet:
            found = self.mesh.process(rgb).multi_face_landmarks or ()
        self._mesh_has_run = self._mesh_has_run or bool(found)
        return [np.array([(point.x, point.y, point.z) for point in mesh.landmark]) for mesh in found]


_lock = threading.Lock()


@cache
def _graphs() -> _Graphs:
    with _quiet_stderr():
        return _Graphs()


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what native code prints off the terminal; it is shown only when the block fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            if failed:
                noise.seek(0)
                sys.stderr.write(noise.read().decode(errors="replace"))


def warm_up() -> None:
    """Load the models now (about 2 s) instead of with the first picture."""
    with _lock:
        _graphs()


def find_faces(bgr: Picture) -> tuple[FaceLandmarks, ...]:
    """Find every face, sorted from left to right.

    The whole picture is searched first; only when it shows none, a padded copy (faces that fill the picture) and
    overlapping tiles (small faces in large pictures) are searched. A face counts when the mesh finds it too.

    Args:
        bgr: uint8 (H, W, 3), any size.
    """
    height, width = bgr.shape[:2]
    with _lock:
        for regions in _search_plan(width, height):
            candidates = [found for region in regions for found in _detect(bgr, region)]
            faces = [face for found in _distinct(candidates) if (face := _mesh(bgr, found)) is not None]
            faces = _distinct_faces(faces)
            if faces:
                return tuple(sorted(faces, key=lambda face: face.box_px[0] + face.box_px[2] / 2.0))
    return ()


def person_mask(bgr: Picture) -> npt.NDArray[np.float32]:
    """How likely each pixel belongs to a person: float32 (H, W) in [0, 1]."""
    height, width = bgr.shape[:2]
    scale = min(1.0, MASK_INPUT_PX / max(height, width))
    small = _cut(bgr, (0.0, 0.0, float(width), float(height)), scale)
    with _lock:
        mask = np.array(_graphs().person.process(small).segmentation_mask, np.float32)
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


Region = tuple[float, float, float, float]  # left, top, width, height


def _search_plan(width: int, height: int) -> Iterator[list[Region]]:
    """Rounds of regions to search, coarse to fine."""
    yield [(0.0, 0.0, float(width), float(height))]
    pad_x, pad_y = PADDING_SHARE * width, PADDING_SHARE * height
    yield [(-pad_x, -pad_y, width + 2 * pad_x, height + 2 * pad_y)]
    for count in TILE_GRIDS:
        side = max(width, height) / count * (1.0 + TILE_OVERLAP)
        if side < MASK_INPUT_PX / 8:
            return
        yield [
            (left, top, min(side, width), min(side, height))
            for top in _tile_starts(height, side)
            for left in _tile_starts(width, side)
        ]


def _tile_starts(length: int, side: float) -> list[float]:
    if side >= length:
        return [0.0]
    steps = math.ceil((length - side) / (side / (1.0 + TILE_OVERLAP)))
    return [float(start) for start in np.linspace(0.0, length - side, steps + 1)]


def _cut(bgr: Picture, region: Region, scale: float) -> Picture:
    """RGB copy of a region, scaled; parts beyond the picture repeat its border."""
    height, width = bgr.shape[:2]
    left, top = math.floor(region[0]), math.floor(region[1])
    right, bottom = math.ceil(region[0] + region[2]), math.ceil(region[1] + region[3])
    inside = bgr[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if scale != 1.0:  # before padding: a padded 40-megapixel picture would be large
        size = (max(1, round(inside.shape[1] * scale)), max(1, round(inside.shape[0] * scale)))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        inside = np.asarray(cv2.resize(inside, size, interpolation=interpolation), np.uint8)
    above, below, before, after = (
        round(max(0, beyond) * scale) for beyond in (-top, bottom - height, -left, right - width)
    )
    padded = cv2.copyMakeBorder(inside, above, below, before, after, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(padded[..., ::-1], np.uint8)


def _detect(bgr: Picture, region: Region) -> list[_Detection]:
    left, top = math.floor(region[0]), math.floor(region[1])
    rgb = _cut(bgr, region, min(1.0, DETECTOR_INPUT_PX / max(region[2:])))
    width = math.ceil(region[0] + region[2]) - left
    height = math.ceil(region[1] + region[3]) - top
    found = []
    for graph in (_graphs().near, _graphs().far):
        for detection in graph.process(rgb).detections or ():
            box = detection.location_data.relative_bounding_box
            found.append(
                _Detection(
                    left + box.xmin * width,
                    top + box.ymin * height,
                    box.width * width,
                    box.height * height,
                    float(detection.score[0]),
                )
            )
    return found


def _mesh(bgr: Picture, found: _Detection) -> FaceLandmarks | None:
    """The mesh of one detected face, or None when there is no face after all."""
    centre_x, centre_y = found.centre()
    side = MESH_CROP * max(found.width_px, found.height_px)
    region = (math.floor(centre_x - side / 2), math.floor(centre_y - side / 2), math.ceil(side), math.ceil(side))
    rgb = _cut(bgr, region, min(1.0, MESH_CROP_PX / region[2]))
    faces = [mesh * (region[2], region[3], region[2]) for mesh in _graphs().meshes(rgb)]
    middle = np.array([side / 2, side / 2])
    near = [points for points in faces if np.abs(points[:, :2].mean(axis=0) - middle).max() < side / 4]
    if not near:
        return None
    points = min(near, key=lambda points: float(np.linalg.norm(points[:, :2].mean(axis=0) - middle)))
    points[:, :2] += (region[0] - 0.5, region[1] - 0.5)  # the mesh counts from the edge of the first pixel
    return FaceLandmarks(points.astype(np.float32), found.score)


def _distinct(found: list[_Detection]) -> list[_Detection]:
    """Drop weaker detections of the same face."""
    kept: list[_Detection] = []
    for candidate in sorted(found, key=lambda detection: -detection.score):
        box = (candidate.left_px, candidate.top_px, candidate.width_px, candidate.height_px)
        others = [(other.left_px, other.top_px, other.width_px, other.height_px) for other in kept]
        if all(_overlap(box, other) < SAME_FACE_IOU for other in others):
            kept.append(candidate)
    return kept


def _distinct_faces(faces: list[FaceLandmarks]) -> list[FaceLandmarks]:
    kept: list[FaceLandmarks] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_overlap(face.box_px, other.box_px) < SAME_FACE_IOU for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Region, two: Region) -> float:
    """Intersection over union of two boxes."""
    across = min(one[0] + one[2], two[0] + two[2]) - max(one[0], two[0])
    down = min(one[1] + one[3], two[1] + two[3]) - max(one[1], two[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (one[2] * one[3] + two[2] * two[3] - shared)
