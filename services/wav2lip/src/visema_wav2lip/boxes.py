"""Where the network looks in each frame: padding and smoothing of face boxes.

A box is (left, top, right, bottom) in pixels, right and bottom exclusive. Wav2Lip was trained on detector boxes that
end at the chin; ten pixels below let the chin move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from visema_media.track import FaceTrack

SMOOTHING_FRAMES = 5  # 0.2 s at 25 fps
SMALLEST_FACE_PX = 16  # below, 96 generated pixels shrink to a smear

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pads:
    """Pixels added to each side of a face box; negative ones shrink it. The defaults are the published ones."""

    top: int = 0
    bottom: int = 10
    left: int = 0
    right: int = 0


def pad_boxes(boxes_px: Ints, pads: Pads, frame_size: tuple[int, int]) -> Ints:
    """Enlarge boxes and cut them at the picture's edge.

    Args: boxes_px: int64 (N, 4). frame_size: height, width.
    Returns: int64 (N, 4).
    """
    height, width = frame_size
    left, top, right, bottom = boxes_px.T
    return np.stack(
        (
            np.maximum(0, left - pads.left),
            np.maximum(0, top - pads.top),
            np.minimum(width, right + pads.right),
            np.minimum(height, bottom + pads.bottom),
        ),
        axis=1,
    )


def smooth_boxes(boxes_px: Floats) -> Floats:
    """Centred moving average over five frames that does not shift a steady motion.

    Near both ends the window shrinks symmetrically, so the first and the last box stay where they are and a clip of any
    length works.

    Args: boxes_px: float64 (N, 4), N >= 0.
    Returns: float64 (N, 4).
    """
    count = len(boxes_px)
    smooth = np.empty_like(boxes_px)
    for i in range(count):
        reach = min(SMOOTHING_FRAMES // 2, i, count - 1 - i)
        smooth[i] = boxes_px[i - reach : i + reach + 1].mean(axis=0)
    return smooth


def official_smooth_boxes(boxes_px: Ints) -> Ints:
    """Box smoothing exactly as published, oddities included. For parity tests.

    It looks forward (boxes lead the face by two frames), truncates to integers, and works in place, so that the tail
    averages boxes that are smooth already; with three or four frames a negative slice start picks only the last two
    or one of them.

    Args: boxes_px: int64 (N, 4).
    Returns: int64 (N, 4).
    """
    smooth = boxes_px.copy()
    count = len(smooth)
    for i in range(count):
        window = (
            smooth[i : i + SMOOTHING_FRAMES] if i + SMOOTHING_FRAMES <= count else smooth[count - SMOOTHING_FRAMES :]
        )
        smooth[i] = window.mean(axis=0)  # the integer array truncates towards zero
    return smooth


def whole_pixels(boxes_px: Floats) -> Ints:
    """Nearest whole pixels of every edge: float64 (N, 4) -> int64 (N, 4)."""
    return np.floor(boxes_px + 0.5).astype(np.int64)


def track_boxes(track: FaceTrack, pads: Pads, frame_size: tuple[int, int]) -> tuple[Ints, Flags]:
    """Boxes for the network from a face track: smoothed over each unbroken run of frames, padded, cut at the edges.

    Args: track: N frames; a frame without a face has a box that is not finite, or empty. frame_size: height, width.
    Returns: int64 (N, 4), and bool (N,), whether the frame shows a face; the box of one that does not is zero.
    """
    left, top, width, height = track.boxes_px.astype(np.float64).T
    visible: Flags = np.isfinite(track.boxes_px).all(axis=1) & (width > 0) & (height > 0)
    edges = np.stack((left, top, left + width, top + height), axis=1)
    for run in _runs(visible):
        edges[run] = smooth_boxes(edges[run])
    boxes = np.zeros(edges.shape, np.int64)
    boxes[visible] = pad_boxes(whole_pixels(edges[visible]), pads, frame_size)
    sides = boxes[:, 2:] - boxes[:, :2]
    visible &= (sides >= SMALLEST_FACE_PX).all(axis=1)
    boxes[~visible] = 0
    return boxes, visible


def _runs(flags: Flags) -> list[slice]:
    """Unbroken runs of true flags."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [slice(int(first), int(last)) for first, last in zip(steps[::2], steps[1::2], strict=True)]
