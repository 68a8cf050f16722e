"""Which part of a portrait the video shows, and the face in that frame.

`FULL_PICTURE` keeps the picture's own shape: the long side is the size that was asked for, the short side follows
(even). The other framings are square. A frame reaches beyond the picture only when the face would not fit otherwise;
the missing border is then a blurred reflection of the picture.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visema_media.face import FaceLandmarks

FACE_SHARE = {"face": 0.62, "bust": 0.42}  # height of the face in the frame
LARGEST_FACE_SHARE = 0.80  # beyond it there is no room for motion
FACE_WIDTH_WEIGHT = 1.1  # a turned or tilted mesh may be wider than high
LOWERED_SHARE = {"face": -0.01, "bust": 0.03}  # centre of the frame below the centre of the face
TURNED_DEGREES = 30.0
SMALLEST_SHARP_FACE_PX = 80.0
CLOSED_EYE_RATIO = 0.09  # height of the opening / width of the eye
BLUR_SHARE = 0.02


class Framing(enum.Enum):
    """Part of the portrait that the video shows; the value is part of object keys."""

    FACE = "face"
    BUST = "bust"
    FULL_PICTURE = "full-picture"


class FaceFlaw(enum.Enum):
    """What makes a face harder to animate."""

    TURNED = "turned"
    CUT = "cut"
    EYES_CLOSED = "eyes-closed"
    SMALL = "small"


@dataclass(frozen=True, slots=True, eq=False)
class FramedPortrait:
    """A portrait as the video shows it.

    Attributes:
        bgr: uint8 (H, W, 3), even sides.
        face: The chosen face in pixels of `bgr`.
        warnings: Things that a person should know, in words.
        scale: Pixels of the frame for each pixel of the picture; above 1 the picture was enlarged.
    """

    bgr: npt.NDArray[np.uint8]
    face: FaceLandmarks
    warnings: tuple[str, ...]
    scale: float


def frame_portrait(bgr: npt.NDArray[np.uint8], face: FaceLandmarks, framing: Framing, size_px: int) -> FramedPortrait:
    """Cut and scale the portrait.

    Args:
        bgr: uint8 (H, W, 3), the whole picture.
        face: The chosen face in it.
        framing: What the video shows.
        size_px: Long side of the frame, even.
    """
    if size_px <= 0 or size_px % 2:
        raise ValueError(f"size {size_px} is not even")
    height, width = bgr.shape[:2]
    if framing is Framing.FULL_PICTURE:
        scale = size_px / max(height, width)
        framed = _scaled(bgr, max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2)))
        points = face.points_px.astype(np.float64)
        points[:, 0] = (points[:, 0] + 0.5) * framed.shape[1] / width - 0.5
        points[:, 1] = (points[:, 1] + 0.5) * framed.shape[0] / height - 0.5
        points[:, 2] *= scale
        return FramedPortrait(
            framed, FaceLandmarks(points.astype(np.float32), face.score), face_warnings(bgr, face), scale
        )
    left, top, side = _square(face, framing, width, height)
    square = _cut_square(bgr, left, top, side)
    moved = face.moved(size_px / side, left, top)
    return FramedPortrait(_scaled(square, size_px, size_px), moved, face_warnings(bgr, face), size_px / side)


def face_flaws(bgr: npt.NDArray[np.uint8], face: FaceLandmarks) -> tuple[FaceFlaw, ...]:
    """What makes this face harder to animate."""
    height, width = bgr.shape[:2]
    left, top, face_width, face_height = face.box_px
    found = {
        FaceFlaw.TURNED: abs(face.yaw_degrees) >= TURNED_DEGREES,
        FaceFlaw.CUT: left < 0 or top < 0 or left + face_width > width or top + face_height > height,
        FaceFlaw.EYES_CLOSED: face.eye_opening < CLOSED_EYE_RATIO,
        FaceFlaw.SMALL: face.height_px < SMALLEST_SHARP_FACE_PX,
    }
    return tuple(flaw for flaw, is_there in found.items() if is_there)


def face_warnings(bgr: npt.NDArray[np.uint8], face: FaceLandmarks) -> tuple[str, ...]:
    """The same in words."""
    words = {
        FaceFlaw.TURNED: f"The face is turned by about {abs(face.yaw_degrees):.0f} degrees; "
        "a frontal portrait looks better.",
        FaceFlaw.CUT: "The face is cut by the edge of the picture.",
        FaceFlaw.EYES_CLOSED: "The eyes look closed; they will not blink.",
        FaceFlaw.SMALL: f"The face is only {face.height_px:.0f} pixels high; the video will look soft.",
    }
    return tuple(words[flaw] for flaw in face_flaws(bgr, face))


def _square(face: FaceLandmarks, framing: Framing, width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the square in pixels of the picture."""
    left, top, face_width, face_height = face.box_px
    extent = max(face_height, FACE_WIDTH_WEIGHT * face_width)
    smallest = extent / LARGEST_FACE_SHARE
    side = round(max(min(extent / FACE_SHARE[framing.value], width, height), smallest))
    centre_x = left + face_width / 2.0
    centre_y = top + face_height / 2.0 + LOWERED_SHARE[framing.value] * side
    return (
        _start(centre_x - side / 2.0, left, left + face_width, side, width),
        _start(centre_y - side / 2.0, top, top + face_height, side, height),
        side,
    )


def _start(wanted: float, face_low: float, face_high: float, side: int, length: int) -> int:
    """Where the square begins along one axis: inside the picture if it fits, else around the face."""
    inside = min(max(wanted, 0.0), float(length - side)) if side <= length else (length - side) / 2.0
    slack = side * (1.0 - LARGEST_FACE_SHARE) / 4.0  # a cut face keeps a little room at the edge
    inside = min(inside, face_low - slack) if face_low >= 0 else inside
    inside = max(inside, face_high + slack - side) if face_high <= length else inside
    return math.floor(inside + 0.5)


def _cut_square(bgr: npt.NDArray[np.uint8], left: int, top: int, side: int) -> npt.NDArray[np.uint8]:
    """Copy a square; beyond the picture it shows a blurred reflection that continues the border."""
    height, width = bgr.shape[:2]
    inside = bgr[max(top, 0) : min(top + side, height), max(left, 0) : min(left + side, width)]
    borders = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
    if not any(borders):
        return np.ascontiguousarray(inside)
    square = cv2.copyMakeBorder(inside, *borders, borderType=cv2.BORDER_REFLECT)
    soft = cv2.GaussianBlur(square, (0, 0), BLUR_SHARE * side)
    known = np.zeros((side, side), np.uint8)
    known[borders[0] : side - borders[1], borders[2] : side - borders[3]] = 1
    distance = cv2.distanceTransform(1 - known, cv2.DIST_L2, 3)
    blend = np.clip(distance / (2.0 * BLUR_SHARE * side), 0.0, 1.0)[..., None]
    return np.asarray(square + (soft.astype(np.float32) - square) * blend + 0.5, np.uint8)


def _scaled(bgr: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    if bgr.shape[:2] == (height, width):
        return np.ascontiguousarray(bgr)
    shrinks = width < bgr.shape[1]
    return np.asarray(
        cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8
    )
