"""Compares ways to store segments: speed, size, and what is left of the picture.

`python bench/segments.py [PORTRAIT …]` measures 512 × 512 frames that move like an idle animation. For each codec:
frames per second written and read by one thread, megabytes for 5 s of video, PSNR of the background after one and two
generations (stage 2 changes only the mouth), after two generations and H.264 at CRF 18, and the time that 5 s of video
spend in segments on their way: written twice, read twice, hashed four times, moved four times at 400 MB/s.

The table with its conclusion is in docs/adr/0003-segment-codec.md.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream
from visema_encoder.mp4 import Mp4Writer
from visema_encoder.options import EncodingOptions, VideoShape
from visema_media.colour import Bt709Converter
from visema_media.segments import SegmentCodec, read_segment, write_segment
from visema_media.track import FaceTrack

SIDE_PX = 512
FRAME_COUNT = 50
CLIP_FRAMES = 125  # 5 s at 25 fps
RATE = Fraction(25)
STORE_BYTES_PER_S = 400e6
ROUNDS = 3
MOUTH = (slice(330, 390), slice(190, 320))
SAMPLES = Path(__file__).resolve().parents[1].parent / "shared" / "samples"

Frames = npt.NDArray[np.uint8]


class Codec(NamedTuple):
    """A way to store frames."""

    write: Callable[[Frames], bytes]
    read: Callable[[bytes], Frames]


def own(codec: SegmentCodec) -> Codec:
    """One of the codecs that segments can have."""
    track = FaceTrack(
        np.arange(100, dtype=np.int32),
        np.random.default_rng(0).uniform(0, SIDE_PX, (FRAME_COUNT, 100, 2)).astype(np.float32),
        np.zeros((FRAME_COUNT, 4), np.float32),
    )
    return Codec(lambda frames: write_segment(frames, track, RATE, codec), lambda content: read_segment(content).frames)


def ffmpeg(name: str, pixel_format: str, container: str, **options: str) -> Codec:
    """A codec of FFmpeg, one thread."""

    def write(frames: Frames) -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container) as file:
            stream = cast(
                "VideoStream", file.add_stream(name, rate=RATE, width=SIDE_PX, height=SIDE_PX, options=options)
            )
            stream.pix_fmt = pixel_format
            stream.codec_context.thread_count = 1
            for frame in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
            file.mux(stream.encode(None))
        return buffer.getvalue()

    def read(content: bytes) -> Frames:
        with av.open(io.BytesIO(content), "r", format=container) as file:
            file.streams.video[0].codec_context.thread_count = 1
            return np.stack([frame.to_ndarray(format="bgr24") for frame in file.decode(video=0)])

    return Codec(write, read)


def raw() -> Codec:
    """No compression at all."""
    shape = (FRAME_COUNT, SIDE_PX, SIDE_PX, 3)
    return Codec(
        lambda frames: frames.tobytes(), lambda content: np.frombuffer(content, np.uint8).reshape(shape).copy()
    )


CODECS: dict[str, Callable[[], Codec]] = {
    "JPEG 4:4:4 q95 (OpenCV)": lambda: own(SegmentCodec.JPEG_95),
    "JPEG 4:4:4 q97 (OpenCV)": lambda: own(SegmentCodec.JPEG_97),
    "JPEG 4:4:4 q98 (OpenCV)": lambda: own(SegmentCodec.JPEG_98),
    "x264 RGB qp 0 (`lossless`)": lambda: own(SegmentCodec.LOSSLESS),
    "JPEG 4:4:4 q 2 (FFmpeg)": lambda: ffmpeg(
        "mjpeg", "yuvj444p", "matroska", flags="qscale", global_quality="236", qmin="1", qmax="2"
    ),
    "raw BGR": raw,
    "utvideo RGB (NUT)": lambda: ffmpeg("utvideo", "gbrp", "nut"),
    "magicyuv RGB (NUT)": lambda: ffmpeg("magicyuv", "gbrp", "nut"),
    "ffv1 RGB": lambda: ffmpeg("ffv1", "bgr0", "matroska"),
    "x264 4:4:4 qp 0": lambda: ffmpeg("libx264", "yuv444p", "matroska", qp="0", preset="ultrafast"),
    "x264 4:4:4 CRF 4": lambda: ffmpeg("libx264", "yuv444p", "matroska", crf="4", preset="ultrafast"),
}


def moving_frames(portrait: Path) -> Frames:
    """Slow turns, shifts and breathing of a picture, uint8 (N, 512, 512, 3)."""
    picture = cv2.imread(str(portrait))
    if picture is None:
        raise SystemExit(f"{portrait} cannot be read")
    side = min(picture.shape[:2])
    picture = cv2.resize(picture[:side, :side], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    frames = []
    for index in range(FRAME_COUNT):
        warp = cv2.getRotationMatrix2D(
            (SIDE_PX / 2, SIDE_PX / 2), 1.5 * np.sin(index / 8), 1 + 0.01 * np.sin(index / 5)
        )
        warp[0, 2] += 2 * np.sin(index / 7)
        frames.append(
            cv2.warpAffine(picture, warp, (SIDE_PX, SIDE_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        )
    return np.stack(frames).astype(np.uint8)


def psnr(one: Frames, other: Frames) -> float:
    error = np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def through_video(frames: Frames) -> Frames:
    """Frames after the encoder at its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        shape = VideoShape(SIDE_PX, SIDE_PX, RATE, len(frames))
        with Mp4Writer(path, shape, np.zeros((1, 1), np.float32), EncodingOptions(), {}) as writer:
            writer.write(frames)
            writer.finish()
        converter = Bt709Converter()
        with av.open(str(path)) as file:
            return np.stack([converter.to_bgr(frame) for frame in file.decode(video=0)])


def best_of(function: Callable[[], object]) -> float:
    """Shortest of some rounds, in seconds: the least disturbed one."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str, codec: Codec, frames: Frames) -> str:
    """One row of the table."""
    content = codec.write(frames)
    first = codec.read(content)
    write_s = best_of(lambda: codec.write(frames)) / FRAME_COUNT
    read_s = best_of(lambda: codec.read(content)) / FRAME_COUNT
    hash_s = best_of(lambda: hashlib.sha256(content).hexdigest()) / FRAME_COUNT
    spoken = first.copy()
    for index, frame in enumerate(spoken):
        frame[MOUTH] = cv2.GaussianBlur(frame[MOUTH], (0, 0), 1 + index % 5)
    second = codec.read(codec.write(spoken))
    outside = np.ones((SIDE_PX, SIDE_PX), bool)
    outside[MOUTH] = False

    def background_psnr(version: Frames) -> float:
        return psnr(frames[:, outside], version[:, outside])

    clip_bytes = len(content) / FRAME_COUNT * CLIP_FRAMES
    pipeline_s = CLIP_FRAMES * (2 * write_s + 2 * read_s + 4 * hash_s) + 4 * clip_bytes / STORE_BYTES_PER_S
    return (
        f"| {name} | {1 / write_s:.0f} | {1 / read_s:.0f} | {clip_bytes / 1e6:.1f} | {background_psnr(first):.1f}"
        f" | {background_psnr(second):.1f} | {background_psnr(through_video(second)):.1f} | {pipeline_s:.2f} |"
    )


def main(portraits: list[str]) -> None:
    cv2.setNumThreads(1)
    for portrait in [Path(name) for name in portraits] or sorted(SAMPLES.glob("portrait_*")):
        frames = moving_frames(portrait)
        print(f"\n{portrait.name}; the encoder alone: {psnr(frames, through_video(frames)):.1f} dB\n")
        print("| codec | write fps | read fps | MB per 5 s | 1st gen dB | 2nd gen dB | and CRF 18 dB | s per 5 s |")
        print("|---|---|---|---|---|---|---|---|")
        for name, make in CODECS.items():
            print(measure(name, make(), frames), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
