"""Damaged media: good files of every kind that we read, accidents that happen to them, and what a reader may answer."""

from __future__ import annotations

import contextlib
import io
from fractions import Fraction

import av
import numpy as np
from hypothesis import strategies as st
from PIL import Image
from visema_kit.errors import (
    AudioTooLong,
    AudioTooShort,
    ImageTooLarge,
    MediaNotAllowed,
    MediaUnreadable,
    ObjectCorrupt,
)
from visema_media.audio import read_wav
from visema_media.image import load_portrait
from visema_media.limits import MediaLimits
from visema_media.segments import SegmentCodec, read_segment, write_segment
from visema_media.speech import decode_audio
from visema_media.track import FaceTrack

REFUSALS = (AudioTooLong, AudioTooShort, ImageTooLarge, MediaNotAllowed, MediaUnreadable)


def sound(container_format: str, encoder: str, sample_format: str) -> bytes:
    """Half a second of a tone."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=48_000, layout="mono")
        stream.codec_context.format = sample_format
        samples = np.sin(np.arange(24_000, dtype=np.float32) / 9)[None] / 2
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        resampler = av.AudioResampler(format=sample_format, layout="mono", rate=48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def picture(file_format: str) -> bytes:
    """A small picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), file_format)
    return buffer.getvalue()


def segment(codec: SegmentCodec) -> bytes:
    """Three frames of noise."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    track = FaceTrack(np.arange(5, dtype=np.int32), np.ones((3, 5, 2), np.float32), np.ones((3, 4), np.float32))
    return write_segment(frames, track, Fraction(25), codec)


SOUNDS = {
    "wav": sound("wav", "pcm_s16le", "s16"),
    "wav-adpcm": sound("wav", "adpcm_ms", "s16"),
    "mp3": sound("mp3", "libmp3lame", "fltp"),
    "flac": sound("flac", "flac", "s16"),
    "opus": sound("ogg", "libopus", "flt"),
    "m4a": sound("ipod", "aac", "fltp"),
    "alac": sound("ipod", "alac", "s16p"),
}
PICTURES = {file_format: picture(file_format) for file_format in ("PNG", "JPEG", "WEBP")}
SEGMENTS = {codec.value: segment(codec) for codec in (SegmentCodec.JPEG_97, SegmentCodec.LOSSLESS)}
LIMITS = MediaLimits(image_pixels=1_000_000, audio_min_s=0.01)


def hear(content: bytes) -> None:
    """Whatever it is, it is sound within the limits or refused."""
    with contextlib.suppress(*REFUSALS):
        speech = decode_audio(content, LIMITS)
        assert 0 < speech.duration <= LIMITS.audio_max_s
        samples, rate_hz = read_wav(speech.wav)
        assert (samples.shape[1], rate_hz) == (speech.sample_count, 48_000)


def look(content: bytes) -> None:
    """Whatever it is, it is a picture within the limits or refused."""
    with contextlib.suppress(*REFUSALS):
        bgr = load_portrait(content, LIMITS).bgr
        assert bgr.dtype == np.uint8
        assert bgr.ndim == 3
        assert bgr.shape[0] * bgr.shape[1] <= LIMITS.image_pixels


def replay(content: bytes) -> None:
    """Whatever it is, it is frames with their track or refused."""
    with contextlib.suppress(ObjectCorrupt):
        read = read_segment(content)
        assert len(read.frames) == len(read.track)


@st.composite
def mutated(draw: st.DrawFn, seeds: dict[str, bytes]) -> bytes:
    """A good file after some accidents: bytes flipped, set, removed, doubled, or taken from a file of another kind."""
    content = bytearray(seeds[draw(st.sampled_from(sorted(seeds)))])
    for _ in range(draw(st.integers(1, 8))):
        at = int(draw(st.floats(0, 1, exclude_max=True)) ** 2 * len(content))  # more often near the head
        length = draw(st.integers(1, 32))
        match draw(st.sampled_from(["flip", "extreme", "random", "remove", "double", "splice"])):
            case "flip":
                content[at : at + 1] = bytes(byte ^ 1 << length % 8 for byte in content[at : at + 1])
            case "extreme":
                content[at : at + 4] = draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]))
            case "random":
                content[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "remove":
                del content[at : at + length]
            case "double":
                content[at:at] = content[at : at + length * 8]
            case _:
                other = seeds[draw(st.sampled_from(sorted(seeds)))]
                content[at:] = other[at:]
    return bytes(content)


def read_every_way(content: bytes) -> None:
    """Hand a file to each reader."""
    hear(content)
    look(content)
    replay(content)
