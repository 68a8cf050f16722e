"""From frames and boxes to the generator's face input. Colours are B, G, R from end to end, as the weights expect."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

FACE_PX = 96  # side of the network's picture
FIRST_HIDDEN_ROW = FACE_PX // 2  # the lower half, which the network has to invent

Pictures = npt.NDArray[np.uint8]


def crop_faces(frames: Sequence[Pictures], boxes_px: npt.NDArray[np.int64]) -> Pictures:
    """Cut the boxes out of the frames and scale them to the network's size.

    Args: frames: N pictures uint8 (H, W, 3) B, G, R. boxes_px: int64 (N, 4) left, top, right, bottom, none of them
        empty.
    Returns: uint8 (N, 96, 96, 3).
    """
    crops = np.empty((len(frames), FACE_PX, FACE_PX, 3), np.uint8)
    for crop, frame, (left, top, right, bottom) in zip(crops, frames, boxes_px, strict=True):
        cv2.resize(frame[top:bottom, left:right], (FACE_PX, FACE_PX), dst=crop, interpolation=cv2.INTER_LINEAR)
    return crops


def with_hidden_half(crops: Pictures) -> Pictures:
    """Masked copy and full picture side by side on the channels, as the generator takes them.

    The full picture is the same frame, mouth included: it shows the network whose face this is.

    Args: crops: uint8 (N, 96, 96, 3).
    Returns: uint8 (N, 96, 96, 6): B, G, R with rows 48 to 95 black, then B, G, R.
    """
    masked = crops.copy()
    masked[:, FIRST_HIDDEN_ROW:] = 0
    return np.concatenate((masked, crops), axis=3)
