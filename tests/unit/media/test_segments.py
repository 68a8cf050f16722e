"""Segments: frames and their face track in one file."""

from __future__ import annotations

import contextlib
import io
import re
import time
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_kit.errors import InvalidInput, ObjectCorrupt
from visema_media.limits import SegmentLimits
from visema_media.segments import DEFAULT_CODEC, SegmentCodec, read_quality, read_segment, write_segment
from visema_media.track import FaceTrack

RATES = [Fraction(24), Fraction(25), Fraction(30), Fraction(50), Fraction(30_000, 1_001)]


def picture(height: int = 256, width: int = 256) -> np.ndarray:
    """A smooth coloured picture with some grain, uint8 BGR."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(20, 235, (5, 5, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(smooth + rng.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)


def moving_frames(count: int, height: int = 256, width: int = 256) -> np.ndarray:
    return np.stack([np.roll(picture(height, width), 3 * index, axis=1) for index in range(count)])


def track_of(count: int) -> FaceTrack:
    rng = np.random.default_rng(1)
    return FaceTrack(
        np.arange(0, 90, 3, dtype=np.int32),
        rng.uniform(0, 256, (count, 30, 2)).astype(np.float32),
        rng.uniform(0, 256, (count, 4)).astype(np.float32),
    )


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("codec", SegmentCodec)
@pytest.mark.parametrize("frame_rate", RATES)
def test_frames_track_and_rate_come_back(codec: SegmentCodec, frame_rate: Fraction) -> None:
    frames, track = moving_frames(4), track_of(4)
    content = read_segment(write_segment(frames, track, frame_rate, codec))
    assert content.frame_rate == frame_rate
    assert content.frames.shape == frames.shape
    assert content.frames.dtype == np.uint8
    assert (content.track.points_px == track.points_px).all()
    assert (content.track.boxes_px == track.boxes_px).all()
    assert (content.track.landmark_ids == track.landmark_ids).all()
    if codec is SegmentCodec.LOSSLESS:
        assert (content.frames == frames).all()
    else:
        assert psnr(content.frames, frames) > 40


@pytest.mark.parametrize(("height", "width"), [(256, 256), (512, 512), (1024, 1024), (258, 640), (1024, 770)])
def test_any_even_size_is_kept(height: int, width: int) -> None:
    frames = moving_frames(2, height, width)
    assert read_segment(write_segment(frames, track_of(2), Fraction(25))).frames.shape == (2, height, width, 3)


def test_one_frame_is_a_segment() -> None:
    assert len(read_segment(write_segment(moving_frames(1), track_of(1), Fraction(25))).frames) == 1


@pytest.mark.parametrize("codec", SegmentCodec)
def test_the_same_frames_give_the_same_bytes(codec: SegmentCodec) -> None:
    first = write_segment(moving_frames(3), track_of(3), Fraction(25), codec)
    time.sleep(1.1)  # a time of day in the file would differ
    assert write_segment(moving_frames(3), track_of(3), Fraction(25), codec) == first


def test_what_was_measured_travels_with_the_frames() -> None:
    frames, track = moving_frames(3), track_of(3)
    content = write_segment(frames, track, Fraction(25), quality=b"\x08\x03")
    assert read_quality(content) == b"\x08\x03"
    assert (read_segment(content).track.points_px == track.points_px).all()
    assert read_quality(write_segment(frames, track, Fraction(25))) == b""
    with pytest.raises(ObjectCorrupt):
        read_quality(content[:200])


def test_a_second_generation_changes_almost_nothing_outside_the_mouth() -> None:
    frames, track = moving_frames(5), track_of(5)
    first = read_segment(write_segment(frames, track, Fraction(25))).frames
    changed = first.copy()
    changed[:, 160:200, 100:150] = 90
    second = read_segment(write_segment(changed, track, Fraction(25))).frames
    outside = np.ones(frames.shape[1:3], bool)
    outside[150:210, 90:160] = False
    assert psnr(second[:, outside], frames[:, outside]) > 40
    assert psnr(second[:, outside], frames[:, outside]) > psnr(first[:, outside], frames[:, outside]) - 0.2


@pytest.mark.parametrize(
    ("frame_count", "frame_rate", "field", "message"),
    [
        (3, Fraction(25), "segment.frame_count", "Segment 7 holds 2 of 3 frames."),
        (2, Fraction(24), "segment.object", "Segment 7 has 25 frames per second, the video 24."),
    ],
)
def test_a_segment_that_does_not_fit_its_video_is_refused_by_field(
    frame_count: int, frame_rate: Fraction, field: str, message: str
) -> None:
    content = read_segment(write_segment(moving_frames(2, 64, 64), track_of(2), Fraction(25)))
    content.check_fits(7, 1, Fraction(25))  # a loop's last segment may hold more than the video needs
    with pytest.raises(InvalidInput, match=re.escape(message)) as caught:
        content.check_fits(7, frame_count, frame_rate)
    assert caught.value.field == field


def test_frames_that_do_not_fit_are_refused_when_writing() -> None:
    with pytest.raises(ValueError, match="track of 2"):
        write_segment(moving_frames(3), track_of(2), Fraction(25))
    with pytest.raises(ValueError, match="not uint8"):
        write_segment(moving_frames(3).astype(np.float32), track_of(3), Fraction(25))
    with pytest.raises(ValueError, match="not uint8"):
        write_segment(moving_frames(3)[:0], track_of(0), Fraction(25))


def test_segments_beyond_the_limits_are_corrupt() -> None:
    content = write_segment(moving_frames(3), track_of(3), Fraction(25))
    for limits in (SegmentLimits(frames=2), SegmentLimits(side_px=255)):
        with pytest.raises(ObjectCorrupt):
            read_segment(content, limits)
    assert len(read_segment(content, SegmentLimits(frames=3, side_px=256)).frames) == 3


def matroska(jpegs: list[bytes], track: bytes | None, size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        container.metadata["VISEMA_FRAME_RATE"] = "25/1"
        stream = container.add_mux_stream("mjpeg", rate=25, width=size[0], height=size[1])
        if track is not None:
            container.add_attachment("face-track.npz", "application/octet-stream", track)
        for position, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = position
            container.mux(packet)
    return buffer.getvalue()


def jpeg(width: int, height: int) -> bytes:
    return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()


def test_files_that_contradict_themselves_are_corrupt() -> None:
    track = track_of(2).to_bytes()
    good = [jpeg(64, 64)] * 2
    assert len(read_segment(matroska(good, track)).frames) == 2
    for content in (
        matroska(good, None),  # no track
        matroska(good, b"no track"),
        matroska(good[:1], track),  # too few frames
        matroska([*good, good[0]], track),  # too many
        matroska([good[0], jpeg(128, 64)], track),  # a frame of another size
        matroska([good[0], good[0][:60]], track),
        matroska([good[0], b"no picture"], track),
    ):
        with pytest.raises(ObjectCorrupt):
            read_segment(content)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"\x1aE\xdf\xa3", b"#EXTM3U\n"])
def test_what_is_no_segment_is_corrupt(content: bytes) -> None:
    with pytest.raises(ObjectCorrupt):
        read_segment(content)


WHOLE = write_segment(moving_frames(2, 64, 64), track_of(2), Fraction(25), DEFAULT_CODEC)


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), patch=st.binary(min_size=1, max_size=16))
def test_damage_gives_frames_or_corrupt(position: float, patch: bytes) -> None:
    content = bytearray(WHOLE)
    at = int(position * len(content))
    content[at : at + len(patch)] = patch
    with contextlib.suppress(ObjectCorrupt):
        assert len(read_segment(bytes(content)).frames) == 2


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 0.98))
def test_a_segment_that_is_cut_off_is_corrupt(share: float) -> None:
    with pytest.raises(ObjectCorrupt):
        read_segment(WHOLE[: int(share * len(WHOLE))])
