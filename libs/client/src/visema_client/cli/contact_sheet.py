"""A picture that shows a video at a glance: frames in a row, and the same frames' mouths below, enlarged."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

COLUMNS: Final = 8
CELL_PX: Final = 240
GAP_PX: Final = 6
# Of the picture's side, for a face of 42 % of its height: the lips, and the mouth with some skin around it.
LIPS_WIDTH, LIPS_HEIGHT = 0.11, 0.07
MOUTH_WIDTH, MOUTH_HEIGHT = 0.24, 0.16
MOTION_SIDE_PX: Final = 128

Image = npt.NDArray[np.uint8]


def write_contact_sheet(video: Path, target: Path) -> None:
    """Write the picture as PNG. Raises: OSError: the video cannot be read or the file not be written."""
    cv2.setNumThreads(1)
    frames = read_frames(video)
    left, top, width, height = mouth_box(frames)
    mouth_of = [frame[top : top + height, left : left + width] for frame in frames]
    chosen = telling_frames(mouth_of)
    mouths = [mouth_of[position] for position in chosen]
    sheet = np.vstack([_row([frames[position] for position in chosen]), _row(mouths)])
    if not cv2.imwrite(str(target), sheet):
        raise OSError(f"{target} cannot be written")


def read_frames(video: Path) -> list[Image]:
    """All frames of a video, BGR, made small enough to be kept: at most 512 pixels high.

    Raises: OSError: the file cannot be decoded.
    """
    with av.open(str(video)) as container:
        frames = []
        for frame in container.decode(video=0):
            height = min(512, frame.height)
            width = round(frame.width * height / frame.height)
            frames.append(frame.reformat(width=width, height=height, format="bgr24").to_ndarray().astype(np.uint8))
    if not frames:
        raise OSError(f"{video} has no frames")
    return frames


def telling_frames(mouths: list[Image]) -> list[int]:
    """Positions of COLUMNS frames: the first, then of each part of the video the one whose mouth differs most."""
    if len(mouths) <= COLUMNS:
        return [round(position) for position in np.linspace(0, len(mouths) - 1, COLUMNS)]
    rest = mouths[0].astype(np.float32)
    parts = np.array_split(np.arange(1, len(mouths)), COLUMNS - 1)
    return [0, *(int(max(part, key=lambda position: float(np.abs(mouths[position] - rest).mean()))) for part in parts)]


def mouth_box(frames: list[Image]) -> tuple[int, int, int, int]:
    """Left, top, width and height in pixels of the mouth: what moves in every frame and gets darker at times.

    A head sways slowly, blinking eyes get lighter, and only an opening mouth shows something dark.
    """
    rows, columns = frames[0].shape[:2]
    side = (MOTION_SIDE_PX, MOTION_SIDE_PX)
    grey = np.stack(
        [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), side, interpolation=cv2.INTER_AREA) for frame in frames]
    ).astype(np.float32)  # (N, side, side)
    darkening = np.percentile(grey, 50, axis=0) - np.percentile(grey, 5, axis=0)
    moving = np.abs(np.diff(grey, axis=0)).mean(axis=0) if len(frames) > 1 else np.ones(side, np.float32)
    energy = (darkening * moving).astype(np.float32)
    window = (round(LIPS_WIDTH * MOTION_SIDE_PX), round(LIPS_HEIGHT * MOTION_SIDE_PX))
    summed = cv2.boxFilter(energy, -1, window, borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(np.argmax(summed)), summed.shape)
    width, height = round(MOUTH_WIDTH * columns), round(MOUTH_HEIGHT * rows)
    left = int(np.clip(x / MOTION_SIDE_PX * columns - width / 2, 0, columns - width))
    top = int(np.clip(y / MOTION_SIDE_PX * rows - height / 2, 0, rows - height))
    return left, top, width, height


def _row(images: list[Image]) -> Image:
    """The images beside each other, each CELL_PX wide, with gaps."""
    height = round(images[0].shape[0] * CELL_PX / images[0].shape[1])
    cells = [cv2.resize(image, (CELL_PX, height), interpolation=cv2.INTER_AREA) for image in images]
    framed = [cv2.copyMakeBorder(cell, *(GAP_PX // 2,) * 4, cv2.BORDER_CONSTANT, value=(24, 24, 24)) for cell in cells]
    return np.hstack(framed).astype(np.uint8)
