"""A picture that shows a video at a glance: frames in a row, and the same frames' mouths below, enlarged."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

COLUMNS: Final = 8
CELL_PX: Final = 240
GAP_PX: Final = 6
MOUTH_WIDTH, MOUTH_HEIGHT = 0.24, 0.16  # of the picture's side; the mouth of a face of 42 % of the height and some skin
MOTION_SIDE_PX: Final = 128

Image = npt.NDArray[np.uint8]


def write_contact_sheet(video: Path, target: Path) -> None:
    """Write the picture as PNG. Raises: OSError: the video cannot be read or the file not be written."""
    cv2.setNumThreads(1)
    frames = read_frames(video)
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)]
    left, top, width, height = mouth_box(frames)
    mouths = [frame[top : top + height, left : left + width] for frame in chosen]
    sheet = np.vstack([_row(chosen), _row(mouths)])
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


def mouth_box(frames: list[Image]) -> tuple[int, int, int, int]:
    """Left, top, width and height in pixels of the region that changes most from frame to frame: the mouth.

    A head sways slowly and eyes blink rarely, but a speaking mouth moves in every frame.
    """
    rows, columns = frames[0].shape[:2]
    side = (MOTION_SIDE_PX, MOTION_SIDE_PX)
    grey = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), side, interpolation=cv2.INTER_AREA) for frame in frames]
    moves = [np.abs(after.astype(np.float32) - before) for before, after in itertools.pairwise(grey)]
    energy = np.mean(moves, axis=0) if moves else np.ones(side, np.float32)
    window = (round(MOUTH_WIDTH * MOTION_SIDE_PX), round(MOUTH_HEIGHT * MOTION_SIDE_PX))
    energy = cv2.boxFilter(energy.astype(np.float32), -1, window, borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(np.argmax(energy)), energy.shape)
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
