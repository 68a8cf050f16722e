"""The animated crop back in the original picture."""

from __future__ import annotations

import cv2
import numpy as np

from visema_liveportrait.geometry import FloatArray, ImageArray
from visema_liveportrait.geometry.crop import SOURCE_CROP_PX, warp

# The mask is white where the new pixels count. LivePortrait's own template cannot be shipped; this one has the same
# role: a rounded square that ends before the crop's edge, soft enough to hide what difference of brightness remains.
_MARGIN = 0.1  # of the side, from the crop's edge to the middle of the soft edge
_CORNER_EXPONENT = 4.0  # 2 is a circle, infinity a square
_SOFTNESS = 0.07  # of the side, standard deviation of the blur


def soft_mask(size_px: int = SOURCE_CROP_PX) -> ImageArray:
    """(size, size) uint8: 255 where the crop is used, 0 at its edge, soft between."""
    axis = np.abs(np.linspace(-1, 1, size_px, dtype=np.float32)) / (1 - 2 * _MARGIN)
    inside = axis[:, None] ** _CORNER_EXPONENT + axis[None, :] ** _CORNER_EXPONENT <= 1
    mask = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), _SOFTNESS * size_px / 2, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(np.rint(255 * mask), np.uint8)


def mask_in_picture(mask: ImageArray, crop_to_picture: FloatArray, width_px: int, height_px: int) -> FloatArray:
    """The mask where the crop lies in the picture.

    Args:
        mask: (512, 512), uint8.
        crop_to_picture: (3, 3).

    Returns: (height, width, 1) in [0, 1].
    """
    return warp(mask, crop_to_picture, width_px, height_px)[:, :, None].astype(np.float32) / np.float32(255)


def paste_back(crop: ImageArray, crop_to_picture: FloatArray, picture: ImageArray, mask: FloatArray) -> ImageArray:
    """Blend the crop into the picture.

    Args:
        crop: (512, 512, 3).
        crop_to_picture: (3, 3).
        picture: (H, W, 3).
        mask: (H, W, 1), from `mask_in_picture`.

    Returns: (H, W, 3), values truncated as in the original.
    """
    height, width = picture.shape[:2]
    placed = warp(crop, crop_to_picture, width, height)
    blended = mask * placed + (1 - mask) * picture
    return np.asarray(np.clip(blended, 0, 255), np.float32).astype(np.uint8)
