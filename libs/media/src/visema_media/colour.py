"""Conversion of frames to the video's colours: BT.709, limited range, 4:2:0; converted and tagged alike.

FFmpeg's default for RGB input is the BT.601 matrix, which would shift greens and reds of a video tagged BT.709.
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

PIXEL_FORMAT = "yuv420p"
# Without ACCURATE_RND swscale cuts off instead of rounding: everything comes out half a count too dark.
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT


class Bt709Converter:
    """Converts BGR frames of one size; not thread-safe, since swscale keeps its tables in it."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def to_yuv(self, bgr: npt.NDArray[np.uint8]) -> av.VideoFrame:
        """Frame uint8 (H, W, 3), full range, as BT.709 limited yuv420p with all colour tags."""
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(bgr, format="bgr24"),
            format=PIXEL_FORMAT,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_trc=ColorTrc.BT709,
            dst_color_primaries=ColorPrimaries.BT709,
            interpolation=_SCALING,
            threads=1,
        )

    def to_bgr(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        """Inverse of `to_yuv` for a frame that is BT.709 limited range: uint8 (H, W, 3)."""
        converted = self._reformatter.reformat(
            frame,
            format="bgr24",
            src_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SCALING | Interpolation.FULL_CHR_H_INT,  # the faster way ends two counts too dark
            threads=1,
        )
        return np.asarray(converted.to_ndarray(), np.uint8)


def tag_bt709(context: VideoCodecContext) -> None:
    """Write primaries, transfer, matrix and range into a stream's parameters."""
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.colorspace = Colorspace.ITU709
    context.color_range = ColorRange.MPEG
