"""How far the mouth is open in finished frames, read from their pixels.

The frame before lip-sync shows the same face with the mouth at rest, and its track says where the lips lie. A strip
down the middle of the mouth is cut from both; how far the upper lip has moved up in it and the lower lip with the skin
below it down is found by laying the resting lips over the finished frame. That works for whatever drew the mouth and
needs no detector. What it gives is the lips' motion: where they are parted at rest, its level is only as good as the
track, its changes are good everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from visema_media.track import FaceTrack

from visema_wav2lip.engines.protocol import Frame

# MediaPipe mesh ids.
_LEFT_CORNER, _RIGHT_CORNER, _UPPER_OUTER, _LOWER_OUTER = 78, 308, 0, 17
_UPPER_INNER, _LOWER_INNER = (13, 82, 312), (14, 87, 317)  # pairs across the opening, the middle one first
_NOSE_BASE, _CHIN, _FOREHEAD = 2, 152, 10
_NEEDED = (
    *(_LEFT_CORNER, _RIGHT_CORNER, _UPPER_OUTER, _LOWER_OUTER),
    *(*_UPPER_INNER, *_LOWER_INNER, _NOSE_BASE, _CHIN, _FOREHEAD),
)

# Lengths in W, the distance of the inner mouth corners.
_HALF_STRIP, _COLUMNS = 0.2, 5
_ROWS_PER_W = 40
_ABOVE_NOSE, _BELOW_CHIN = 0.05, 0.45  # where a strip ends
_SKIN_ABOVE, _SKIN_BELOW = 0.05, 0.08  # that moves with a lip
_LEAST_ROWS = 4  # of a lip, to recognise it

Floats = npt.NDArray[np.float64]
Strips = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _MouthPlaces:
    """Where the mouth lies in each frame. Lengths are float64 (N,), in W of the frame, downwards from its middle."""

    middle_px: Floats
    axis_x_px: Floats
    axis_y_px: Floats
    face_height: Floats
    gap: Floats
    upper_outer: Floats
    lower_outer: Floats
    nose: Floats
    chin: Floats

    @classmethod
    def from_track(cls, track: FaceTrack) -> _MouthPlaces:
        points = dict(zip(_NEEDED, np.moveaxis(track.select(_NEEDED).astype(np.float64), 1, 0), strict=True))
        axis_x = points[_RIGHT_CORNER] - points[_LEFT_CORNER]  # (N, 2), as long as W
        width = np.maximum(np.linalg.norm(axis_x, axis=1), 1.0)
        axis_y = np.stack([-axis_x[:, 1], axis_x[:, 0]], axis=1)
        middle = (points[_UPPER_INNER[0]] + points[_LOWER_INNER[0]]) / 2

        def down(landmark: int) -> Floats:
            return np.asarray(((points[landmark] - middle) * axis_y).sum(axis=1) / width**2)

        gaps = [points[low] - points[up] for up, low in zip(_UPPER_INNER, _LOWER_INNER, strict=True)]
        return cls(
            middle_px=middle,
            axis_x_px=axis_x,
            axis_y_px=axis_y,
            face_height=np.linalg.norm(points[_FOREHEAD] - points[_CHIN], axis=1) / width,
            gap=np.linalg.norm(gaps, axis=2).mean(axis=0) / width,
            upper_outer=down(_UPPER_OUTER),
            lower_outer=down(_LOWER_OUTER),
            nose=down(_NOSE_BASE),
            chin=down(_CHIN),
        )


def shows_lips(track: FaceTrack) -> bool:
    """Whether `mouth_openings` can work with the track."""
    return set(_NEEDED) <= set(track.landmark_ids.tolist()) and bool(len(track))


def mouth_openings(sources: Sequence[Frame], results: Sequence[Frame], track: FaceTrack) -> Floats:
    """Distance of the lips in each result, in per cent of the face's height: float64 (N,), 0 and above.

    Args:
        sources: N >= 1 frames before lip-sync. results: The same frames after it; the very same array where nothing
            moved. track: Of the sources; see `shows_lips`.
    """
    mouth = _MouthPlaces.from_track(track)
    strip = _Strip.of(mouth)
    before, after = strip.cut(sources, mouth), strip.cut(results, mouth)
    lower = slice(strip.row(mouth.gap / 2), strip.row(np.minimum(mouth.lower_outer + _SKIN_BELOW, mouth.chin)))
    upper = slice(strip.row(np.maximum(mouth.upper_outer - _SKIN_ABOVE, mouth.nose)), strip.row(-mouth.gap / 2))
    closing = round(float(np.median(mouth.gap)) * _ROWS_PER_W) + 2  # a parted mouth may close
    down = _shifts(before, after, lower, -closing, strip.rows - lower.stop)
    up = _shifts(before, after, upper, -upper.start, closing)
    moved = (down - up) / _ROWS_PER_W
    return np.asarray(100 * np.maximum(mouth.gap + moved, 0) / np.maximum(mouth.face_height, 1e-3))


@dataclass(frozen=True, slots=True)
class _Strip:
    """A strip down the middle of the mouth: `rows` rows from `top` (in W) on."""

    top: float
    rows: int

    @classmethod
    def of(cls, mouth: _MouthPlaces) -> _Strip:
        top = float(np.median(mouth.nose)) - _ABOVE_NOSE
        bottom = float(np.median(mouth.chin)) + _BELOW_CHIN
        return cls(top, max(round((bottom - top) * _ROWS_PER_W), 4 * _LEAST_ROWS))

    def row(self, down: Floats) -> int:
        """The row at a place downwards in W, the same for all frames, so that they can be worked on at once."""
        return min(max(round((float(np.median(down)) - self.top) * _ROWS_PER_W), 0), self.rows)

    def cut(self, frames: Sequence[Frame], mouth: _MouthPlaces) -> Strips:
        """Mean colours of the rows: float32 (N, rows, 3)."""
        across = 2 * _HALF_STRIP / (_COLUMNS - 1)
        matrices = np.stack(
            [
                across * mouth.axis_x_px,
                mouth.axis_y_px / _ROWS_PER_W,
                mouth.middle_px - _HALF_STRIP * mouth.axis_x_px + self.top * mouth.axis_y_px,
            ],
            axis=2,
        )  # (N, 2, 3), strip to frame
        strips = np.empty((len(frames), self.rows, _COLUMNS, 3), np.uint8)
        for frame, matrix, strip in zip(frames, matrices, strips, strict=True):
            cv2.warpAffine(
                frame,
                matrix,
                (_COLUMNS, self.rows),
                dst=strip,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return np.asarray(strips.mean(axis=2, dtype=np.float32))


def _shifts(before: Strips, after: Strips, rows: slice, lowest: int, highest: int) -> Floats:
    """How many rows `before[:, rows]` lies lower in `after`, from `lowest` to `highest`, between rows too: (N,)."""
    start = min(rows.start, after.shape[1] - _LEAST_ROWS)
    stop = max(rows.stop, start + _LEAST_ROWS)
    shifts = range(max(lowest, -start), min(highest, after.shape[1] - stop) + 1)
    if not shifts:
        return np.zeros(len(before))
    known = before[:, start:stop]
    costs = np.stack([np.square(after[:, start + by : stop + by] - known).mean(axis=(1, 2)) for by in shifts], axis=1)
    best = costs.argmin(axis=1)  # (N,)
    frames = np.arange(len(best))
    inner = np.clip(best, 1, max(len(shifts) - 2, 1))
    if len(shifts) < 3:  # noqa: PLR2004 - no neighbours to compare with
        return np.asarray(shifts.start + best, np.float64)
    left, middle, right = (costs[frames, inner + by].astype(np.float64) for by in (-1, 0, 1))
    bend = left - 2 * middle + right
    between = np.where((best == inner) & (bend > 0), 0.5 * (left - right) / np.maximum(bend, 1e-6), 0.0)
    return np.asarray(shifts.start + best + np.clip(between, -0.5, 0.5))
