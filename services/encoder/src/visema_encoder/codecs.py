"""H.264 encoders: which of them open on this machine, and how each is set up."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.codeccontext import VideoCodecContext
from visema_media.colour import PIXEL_FORMAT, Bt709Converter, tag_bt709

from visema_encoder.options import EncodingOptions, VideoShape

SOFTWARE = "libx264"
HARDWARE = ("h264_nvenc", "h264_qsv")  # those that take frames from memory and find their device by themselves
LEVEL = "4.2"  # covers 1024 × 1024 at 60 fps: 4,096 of 8,704 macroblocks a frame, 245,760 of 522,240 a second
# A key frame brings back the fine detail that the frames before it have lost: grain pulses there. So they are rare,
# but where a player waits for a fragment, which begins with one. Seeking is at most this coarse.
_KEYFRAME_S, _FRAGMENT_S = 4, 2
_PIXEL_FORMATS = {"h264_qsv": "nv12"}
# `ultrafast` without 8x8dct would not be High profile. Finer chroma keeps the colour of lips and of busy backgrounds:
# 0.4 dB for 6 % more bytes and no time (512 × 512, CRF 18, veryfast). Macroblock trees give frames that many others
# refer to so much more quality that a nearly still portrait pulses at every key frame, and where a loop closes.
_X264_PARAMETERS = "8x8dct=1:chroma-qp-offset=-3:mbtree=0"
_NVENC_PRESETS = {
    "ultrafast": "p1",
    "superfast": "p1",
    "veryfast": "p3",
    "faster": "p4",
    "fast": "p4",
    "medium": "p5",
    "slow": "p6",
    "slower": "p7",
    "veryslow": "p7",
}
_PROBE = VideoShape(256, 256, Fraction(25), 3)


def codec_settings(name: str, options: EncodingOptions) -> dict[str, str]:
    """Private options of an encoder for High profile at level 4.2 with the wanted rate control."""
    settings = {"profile": "high", "level": LEVEL}
    if name == SOFTWARE:
        settings |= {"preset": options.preset, "x264-params": _X264_PARAMETERS}
        if options.bitrate_bps is None:
            settings["crf"] = str(options.crf)
            if options.crf == 0:
                settings["profile"] = "high444"  # lossless coding exists in that profile only
    elif name == "h264_nvenc":
        settings |= {"preset": _NVENC_PRESETS[options.preset]}
        if options.bitrate_bps is None:
            settings |= {"rc": "vbr", "cq": str(max(1, options.crf))}
    elif options.bitrate_bps is None:
        settings["global_quality"] = str(max(1, options.crf))
    return settings


def set_up(context: VideoCodecContext, shape: VideoShape, options: EncodingOptions, thread_count: int) -> None:
    """Size, clock, colours, rate control and threads of an encoder that is not open yet."""
    context.width, context.height = shape.width_px, shape.height_px
    context.pix_fmt = _PIXEL_FORMATS.get(context.name, PIXEL_FORMAT)
    context.framerate = shape.frame_rate
    context.time_base = 1 / shape.frame_rate
    keyframe_s = _FRAGMENT_S if options.fragmented else _KEYFRAME_S
    context.gop_size = max(1, round(keyframe_s * shape.frame_rate))
    tag_bt709(context)
    if options.bitrate_bps is not None:
        context.bit_rate = options.bitrate_bps
    context.thread_count = thread_count
    context.thread_type = ThreadType.FRAME  # slices, PyAV's default, cost quality


def encoder_opens(name: str) -> bool:
    """Whether an encoder encodes a few frames here; being listed says nothing about a device or its driver."""
    try:
        context = VideoCodecContext.create(name, "w")
        if not isinstance(context, VideoCodecContext):
            return False
        options = EncodingOptions()
        context.options = codec_settings(name, options)
        set_up(context, _PROBE, options, 1)
        converter = Bt709Converter()
        grey = np.full((_PROBE.height_px, _PROBE.width_px, 3), 128, np.uint8)
        encoded_bytes = 0
        for position in range(_PROBE.frame_count):
            frame = converter.to_yuv(grey)
            frame.pts = position
            frame.time_base = context.time_base
            encoded_bytes += sum(packet.size for packet in context.encode(frame))
        encoded_bytes += sum(packet.size for packet in context.encode(None))
    except (av.FFmpegError, av.codec.codec.UnknownCodecError, ValueError):
        return False
    return encoded_bytes > 0


def usable_encoders() -> tuple[str, ...]:
    """H.264 encoders that open here, the best first; takes a moment, so ask once."""
    return tuple(name for name in (*HARDWARE, SOFTWARE) if encoder_opens(name))
