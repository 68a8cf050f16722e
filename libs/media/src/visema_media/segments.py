"""Segments: some frames with their face track as one self-contained Matroska file.

The file holds one video stream and the track as an attachment; what was measured on the frames may be a second one.
JPEG frames are made and read by OpenCV: FFmpeg's own JPEG encoder is three times slower and loses 2 dB or more in the
second generation (docs/adr/0003-segment-codec.md). The lossless codec runs in FFmpeg. The same frames give the same
bytes: nothing in the file is random or a time of day.
"""

from __future__ import annotations

import enum
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Stream
from av.video.stream import VideoStream
from PIL import Image
from visema_kit.errors import InvalidInput, ObjectCorrupt

from visema_media.limits import SegmentLimits
from visema_media.track import FaceTrack

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

MEDIA_TYPE = "video/x-matroska"
_TRACK_NAME = "face-track.npz"
_QUALITY_NAME = "quality.binpb"
_RATE_TAG = "VISEMA_FRAME_RATE"  # Matroska itself keeps the frame duration in nanoseconds, which is inexact for 24 fps
_CLOCK = Fraction(1, 1000)  # Matroska's
_BGR_CHANNELS = 3
_CONTAINER_OPTIONS = {"fflags": "+bitexact"}  # no writing application, no random identifiers
_READ_OPTIONS = {"codec_whitelist": "mjpeg,h264", "format_whitelist": "matroska", "protocol_whitelist": "none"}
_BROKEN = (  # what the readers of Matroska, zip archives, numpy arrays and pictures raise on damaged content
    av.FFmpegError,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    cv2.error,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

Frames = npt.NDArray[np.uint8]


class SegmentCodec(enum.Enum):
    """How the frames are stored; the value is the name used in settings."""

    JPEG_95 = "jpeg95"
    JPEG_97 = "jpeg97"
    JPEG_98 = "jpeg98"
    LOSSLESS = "lossless"  # H.264 in RGB with quantiser 0


DEFAULT_CODEC = SegmentCodec.JPEG_97
_CHROMA_BELOW = 3  # the video keeps a quarter of the colours, so they need less than the brightness: ADR 3
_JPEG_QUALITIES = {SegmentCodec.JPEG_95: 95, SegmentCodec.JPEG_97: 97, SegmentCodec.JPEG_98: 98}


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment holds.

    Attributes:
        frames: uint8 (N, H, W, 3), BGR, full range.
        track: Face of each frame, length N.
        frame_rate: Frames per second.
    """

    frames: Frames
    track: FaceTrack
    frame_rate: Fraction

    def check_fits(self, index: int, frame_count: int, frame_rate: Fraction) -> None:
        """Whether it can be segment `index` of a video, of which it provides `frame_count` frames.

        Raises: InvalidInput: it holds fewer, or its frames follow each other at another rate than the video's.
        """
        if len(self.frames) < frame_count:
            raise InvalidInput(
                f"Segment {index} holds {len(self.frames)} of {frame_count} frames.", field="segment.frame_count"
            )
        if self.frame_rate != frame_rate:
            raise InvalidInput(
                f"Segment {index} has {self.frame_rate} frames per second, the video {frame_rate}.",
                field="segment.object",
            )


def write_segment(
    frames: Frames,
    track: FaceTrack,
    frame_rate: Fraction,
    codec: SegmentCodec = DEFAULT_CODEC,
    quality: bytes = b"",
) -> bytes:
    """One Matroska file with frames uint8 (N, H, W, 3) BGR, N ≥ 1, and their face track.

    Args: quality: What was measured on the frames, for `read_quality`.
    Raises: ValueError: the shapes do not fit.
    """
    if frames.ndim != 4 or frames.shape[3] != _BGR_CHANNELS or not len(frames) or frames.dtype != np.uint8:  # noqa: PLR2004
        raise ValueError(f"frames {frames.dtype} {frames.shape} are not uint8 (N, H, W, 3)")
    if len(track) != len(frames):
        raise ValueError(f"a track of {len(track)} frames for {len(frames)} frames")
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="matroska", options=_CONTAINER_OPTIONS) as container:
        container.metadata[_RATE_TAG] = f"{frame_rate.numerator}/{frame_rate.denominator}"
        height, width = frames.shape[1:3]
        packets: Iterator[Packet[Stream]]
        if codec is SegmentCodec.LOSSLESS:
            stream = container.add_stream("libx264rgb", rate=frame_rate, width=width, height=height)
            packets = _lossless_packets(stream, frames)
        else:
            muxed = container.add_mux_stream("mjpeg", rate=frame_rate, width=width, height=height)
            packets = _jpeg_packets(muxed, frames, frame_rate, _JPEG_QUALITIES[codec])
        container.add_attachment(_TRACK_NAME, "application/octet-stream", track.to_bytes())
        if quality:
            container.add_attachment(_QUALITY_NAME, "application/octet-stream", quality)
        for packet in packets:
            container.mux(packet)
    return buffer.getvalue()


def _lossless_packets(stream: VideoStream, frames: Frames) -> Iterator[Packet[Stream]]:
    stream.pix_fmt = "bgr24"
    stream.options = {"qp": "0", "preset": "ultrafast"}
    stream.codec_context.flags |= Flags.bitexact
    stream.codec_context.thread_count = 1  # x264's output depends on the number of threads
    for frame in frames:
        yield from stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24"))
    yield from stream.encode(None)


def _jpeg_packets(stream: Stream, frames: Frames, frame_rate: Fraction, quality: int) -> Iterator[Packet[Stream]]:
    settings = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_LUMA_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_CHROMA_QUALITY,
        quality - _CHROMA_BELOW,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    for position, frame in enumerate(frames):
        packet = Packet(cv2.imencode(".jpg", frame, settings)[1].tobytes())
        packet.stream = stream
        packet.time_base = _CLOCK
        packet.pts = packet.dts = round(position / frame_rate / _CLOCK)
        packet.is_keyframe = True
        yield packet


def read_segment(content: bytes, limits: SegmentLimits | None = None) -> SegmentContent:
    """Inverse of `write_segment`.

    Raises: ObjectCorrupt: no segment, damaged, or beyond the limits.
    """
    limits = limits or SegmentLimits()
    try:
        with av.open(io.BytesIO(content), mode="r", format="matroska", options=_READ_OPTIONS) as container:
            frame_rate = Fraction(container.metadata[_RATE_TAG])
            track = FaceTrack.from_bytes(_track(container))
            if not 1 <= len(track) <= limits.frames:
                raise ObjectCorrupt(f"The segment's track has {len(track)} frames; 1 to {limits.frames} are possible.")
            frames = _read_frames(container, len(track), limits)
    except _BROKEN as err:
        raise ObjectCorrupt("The segment cannot be read.") from err
    return SegmentContent(frames, track, frame_rate)


def read_quality(content: bytes) -> bytes:
    """What `write_segment` was given as `quality`, without decoding a frame; empty when it was given nothing.

    Raises: ObjectCorrupt: no segment, or damaged.
    """
    try:
        with av.open(io.BytesIO(content), mode="r", format="matroska", options=_READ_OPTIONS) as container:
            attachment = _attachment(container, _QUALITY_NAME)
            return attachment.data if attachment else b""
    except _BROKEN as err:
        raise ObjectCorrupt("The segment cannot be read.") from err


def _track(container: InputContainer) -> bytes:
    attachment = _attachment(container, _TRACK_NAME)
    if attachment is None:
        raise ObjectCorrupt("The segment has no face track.")
    return attachment.data


def _attachment(container: InputContainer, name: str) -> AttachmentStream | None:
    return next((stream for stream in container.streams.attachments if stream.name == name), None)


def _read_frames(container: InputContainer, count: int, limits: SegmentLimits) -> Frames:
    """Exactly `count` frames uint8 (count, H, W, 3). Raises: ObjectCorrupt: more, fewer, or of another size."""
    stream = container.streams.video[0]
    if cast("VideoCodecContext | None", stream.codec_context) is None:  # PyAV's types do not say so
        raise ObjectCorrupt("The segment's frames are of a codec that nobody knows.")
    width, height = stream.codec_context.width, stream.codec_context.height
    if not (0 < width <= limits.side_px and 0 < height <= limits.side_px):
        raise ObjectCorrupt(f"The segment's frames have {width} × {height} pixels.")
    frames = np.empty((count, height, width, _BGR_CHANNELS), np.uint8)
    decode = _decode_jpegs if stream.codec_context.name == "mjpeg" else _decode_lossless
    read = 0
    for frame in decode(container, stream, (width, height)):
        if read == count or frame.shape != frames.shape[1:]:
            raise ObjectCorrupt("The segment's frames do not fit its track or its header.")
        frames[read] = frame
        read += 1
    if read != count:
        raise ObjectCorrupt(f"The segment has {read} of {count} frames.")
    return frames


def _decode_jpegs(container: InputContainer, stream: VideoStream, size: tuple[int, int]) -> Iterator[Frames]:
    for packet in container.demux(stream):
        if packet.size == 0:  # the end
            continue
        encoded = bytes(packet)
        with Image.open(io.BytesIO(encoded), formats=["JPEG"]) as header:
            if header.size != size:
                raise ObjectCorrupt(f"A frame has {header.size} pixels, the segment {size}.")
        frame = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        if frame is None:
            raise ObjectCorrupt("A frame of the segment cannot be decoded.")
        yield np.asarray(frame, np.uint8)


def _decode_lossless(container: InputContainer, stream: VideoStream, _size: tuple[int, int]) -> Iterator[Frames]:
    stream.codec_context.thread_count = 1
    for frame in container.decode(stream):
        yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
