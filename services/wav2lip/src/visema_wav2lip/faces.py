"""Faces out of frames at the generator's size. Colours are B, G, R from end to end, as the weights expect."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from visema_wav2lip.masking import FACE_PX, Pictures


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
