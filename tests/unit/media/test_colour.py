"""Conversion to the video's colours."""

from __future__ import annotations

import numpy as np
from visema_media.colour import Bt709Converter

PATCH_PX = 32


def patches() -> tuple[np.ndarray, np.ndarray]:
    """64 flat patches as one frame uint8 (256, 256, 3), and their colours uint8 (64, 3) BGR."""
    colours = np.random.default_rng(0).integers(0, 256, (64, 3), np.uint8)
    colours[:8] = [
        (0, 0, 0),
        (255, 255, 255),
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (128, 128, 128),
        (60, 90, 200),
        (140, 170, 220),
    ]
    frame = np.kron(colours.reshape(8, 8, 3), np.ones((PATCH_PX, PATCH_PX, 1), np.uint8))
    return frame.astype(np.uint8), colours


def centres(plane: np.ndarray, patch_px: int) -> np.ndarray:
    return plane[patch_px // 2 :: patch_px, patch_px // 2 :: patch_px].reshape(64, *plane.shape[2:])


def test_flat_colours_are_bt709_limited_range() -> None:
    frame, colours = patches()
    planes = Bt709Converter().to_yuv(frame).to_ndarray()
    luma = planes[:256]
    blue, red = planes[256:320].reshape(128, 128), planes[320:].reshape(128, 128)
    b, g, r = (colours[:, channel] / 255 for channel in range(3))
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b  # ITU-R BT.709
    assert np.abs(centres(luma, PATCH_PX) - (16 + 219 * y)).max() <= 1
    assert np.abs(centres(blue, PATCH_PX // 2) - (128 + 224 * (b - y) / 1.8556)).max() <= 1
    assert np.abs(centres(red, PATCH_PX // 2) - (128 + 224 * (r - y) / 1.5748)).max() <= 1


def test_flat_colours_come_back_within_two_counts() -> None:
    frame, colours = patches()
    converter = Bt709Converter()
    back = converter.to_bgr(converter.to_yuv(frame))
    assert np.abs(centres(back, PATCH_PX).astype(int) - colours).max() <= 2


def test_converted_frames_are_tagged() -> None:
    converted = Bt709Converter().to_yuv(patches()[0])
    assert converted.format.name == "yuv420p"
    assert (converted.colorspace, converted.color_range, converted.color_trc, converted.color_primaries) == (1, 1, 1, 1)
