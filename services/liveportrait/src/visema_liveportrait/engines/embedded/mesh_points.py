"""Indices of MediaPipe's face mesh that the embedded engine uses. "Left" and "right" are the person's own."""

from __future__ import annotations

from dataclasses import dataclass

FOREHEAD, CHIN = 10, 152
TEMPLES = (234, 454)  # points on the axis about which the head turns
NOSE_TIP = 1
MOUTH_CORNERS = (61, 291)
CHEEKS = (50, 280)
INNER_BROWS = (55, 285)
SKIN_POINT_COUNT = 468  # the rest are the irises
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EyePoints:
    """One eye: contours run from one corner to the other, in picture order from left to right."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    brow: tuple[int, ...]
    iris: tuple[int, ...]


RIGHT_EYE = EyePoints(
    upper=(33, 246, 161, 160, 159, 158, 157, 173, 133),
    lower=(33, 7, 163, 144, 145, 153, 154, 155, 133),
    brow=(46, 53, 52, 65, 55),
    iris=(468, 469, 470, 471, 472),
)
LEFT_EYE = EyePoints(
    upper=(362, 398, 384, 385, 386, 387, 388, 466, 263),
    lower=(362, 382, 381, 380, 374, 373, 390, 249, 263),
    brow=(285, 295, 282, 283, 276),
    iris=(473, 474, 475, 476, 477),
)
