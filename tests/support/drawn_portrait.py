"""A drawn portrait with known landmarks, so that lip tests need no detector and no sample files."""

from __future__ import annotations

import cv2
import numpy as np
from visema_media.track import MESH_POINT_COUNT, FaceTrack

SIZE_PX = 256
MOUTH_PX = (128.0, 166.0)
HALF_WIDTH_PX = 26.0
_UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_OTHERS = {
    10: (128, 50), 152: (128, 212), 2: (128, 140), 4: (128, 128), 1: (128, 130), 33: (92, 100), 133: (114, 100),
    362: (142, 100), 263: (164, 100), 234: (70, 112), 454: (186, 112), 205: (96, 150), 425: (160, 150), 50: (90, 138),
    280: (166, 138), 101: (98, 134), 330: (158, 134), 168: (128, 98), 6: (128, 106), 98: (116, 138), 327: (140, 138),
}  # fmt: skip


def draw_portrait(scale: float = 1.0, gap_px: float = 0.0, smile_px: float = 0.0) -> tuple[np.ndarray, FaceTrack]:
    """A face of flat colours with lips and, for `gap_px` > 0, bright teeth: frame and its track of one frame.

    A smile bends the lips: their corners stand `smile_px` above their middle.
    """
    points = np.zeros((MESH_POINT_COUNT, 2), np.float32)
    points[:] = MOUTH_PX
    along = np.linspace(-1, 1, 11)
    bow = np.sqrt(np.maximum(1 - along**2, 0))
    for ids, height, reach in (
        (_UPPER_INNER, -gap_px / 2, 1.0),
        (_LOWER_INNER, gap_px / 2, 1.0),
        (_UPPER_OUTER, -gap_px / 2 - 7, 1.12),
        (_LOWER_OUTER, gap_px / 2 + 9, 1.12),
    ):
        points[list(ids), 0] = MOUTH_PX[0] + along * HALF_WIDTH_PX * reach
        points[list(ids), 1] = MOUTH_PX[1] + bow * height + smile_px * (0.5 - along**2)
    for landmark, point in _OTHERS.items():
        points[landmark] = point
    big = 4
    canvas = np.full((SIZE_PX * big, SIZE_PX * big, 3), (120, 90, 60), np.uint8)

    def fill(ids: tuple[int, ...], colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(canvas, [np.round(points[list(ids)] * big).astype(np.int32)], colour)

    cv2.ellipse(canvas, (128 * big, 132 * big), (62 * big, 82 * big), 0, 0, 360, (140, 170, 215), -1)
    for eye in (103, 153):
        cv2.ellipse(canvas, (eye * big, 100 * big), (11 * big, 5 * big), 0, 0, 360, (225, 232, 235), -1)
        cv2.circle(canvas, (eye * big, 100 * big), 4 * big, (60, 60, 60), -1)
    fill((*_UPPER_OUTER, *_LOWER_OUTER[::-1]), (95, 95, 180))
    if gap_px:
        fill((*_UPPER_INNER, *_LOWER_INNER[::-1]), (225, 232, 238))
    else:
        line = np.round(points[list(_UPPER_INNER)] * big).astype(np.int32)
        cv2.polylines(canvas, [line], isClosed=False, color=(40, 40, 80), thickness=big * 2)
    side = round(SIZE_PX * scale)
    frame = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(1).integers(-3, 4, frame.shape)
    frame = np.clip(frame.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return frame, track_of([(points + 0.5) * scale - 0.5])


def track_of(points: list[np.ndarray]) -> FaceTrack:
    """Track with all landmarks; boxes from the oval."""
    stacked = np.stack(points).astype(np.float32)
    low, high = stacked.min(axis=1), stacked.max(axis=1)
    return FaceTrack(np.arange(MESH_POINT_COUNT, dtype=np.int32), stacked, np.concatenate([low, high - low], axis=1))


def moved(frame: np.ndarray, track: FaceTrack, motions: list[np.ndarray]) -> tuple[list[np.ndarray], FaceTrack]:
    """The portrait under affine motions (2, 3): frames and their track."""
    side = frame.shape[0]
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
    frames = [cv2.warpAffine(frame, motion, (side, side), flags=flags, borderMode=border) for motion in motions]
    points = track.points_px[0].astype(np.float64)
    return frames, track_of([points @ motion[:, :2].T + motion[:, 2] for motion in motions])
