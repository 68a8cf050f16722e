"""Names and cuts of stored animations."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from visema_liveportrait.bounded_cache import BoundedCache
from visema_liveportrait.engines.embedded.engine import EmbeddedEngine
from visema_liveportrait.faces import FaceChoice
from visema_liveportrait.loops import AnimationRequest, Layout, Manifest, make_keys
from visema_liveportrait.motion_settings import Expression, MotionSettings
from visema_media.framing import Framing
from visema_media.segments import SegmentCodec

REQUEST = AnimationRequest(
    tenant="default",
    work_id="job-1",
    portrait_sha256="ab" * 32,
    speech_sha256=None,
    face=FaceChoice(),
    framing=Framing.BUST,
    motion=MotionSettings(),
    size_px=512,
    frame_rate=Fraction(25),
    frame_count=130,
    first_segment=0,
)
LOOP = Layout(25, 250)
ENGINE = EmbeddedEngine().describe()


@given(st.integers(1, 60), st.integers(0, 20), st.integers(1, 2000))
def test_the_segments_of_a_video_cover_every_frame_once(segment: int, loops: int, frames: int) -> None:
    layout = Layout(segment, segment * loops)
    counts = [layout.frames_at(index, frames) for index in range(layout.segment_count(frames))]
    assert sum(counts) == frames
    assert all(count == segment for count in counts[:-1])
    assert 1 <= counts[-1] <= segment
    assert all(0 <= layout.stored_index(index) < max(loops, len(counts)) for index in range(len(counts)))


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, portrait_sha256="cd" * 32),
        replace(REQUEST, face=FaceChoice(index=0)),
        replace(REQUEST, face=FaceChoice(largest=True)),
        replace(REQUEST, framing=Framing.FACE),
        replace(REQUEST, size_px=256),
        replace(REQUEST, frame_rate=Fraction(30)),
        replace(REQUEST, motion=MotionSettings(seed=2)),
        replace(REQUEST, motion=MotionSettings(expression=Expression.HAPPY)),
        replace(REQUEST, motion=MotionSettings(blinks_per_minute=18)),
        replace(REQUEST, motion=MotionSettings(breaths_per_minute=18)),
    ],
)
def test_whatever_changes_the_pixels_changes_the_key(other: AnimationRequest) -> None:
    keys = [make_keys(each, LOOP, ENGINE, SegmentCodec.JPEG_97).segment(0) for each in (REQUEST, other)]
    assert keys[0] != keys[1]


def test_engine_weights_and_codec_are_part_of_the_key() -> None:
    plain = make_keys(REQUEST, LOOP, ENGINE, SegmentCodec.JPEG_97).digest
    assert make_keys(REQUEST, LOOP, replace(ENGINE, version="other"), SegmentCodec.JPEG_97).digest != plain
    assert make_keys(REQUEST, LOOP, replace(ENGINE, weights_sha256="1"), SegmentCodec.JPEG_97).digest != plain
    assert make_keys(REQUEST, LOOP, ENGINE, SegmentCodec.LOSSLESS).digest != plain
    assert make_keys(REQUEST, LOOP, replace(ENGINE, device="cuda:0"), SegmentCodec.JPEG_97).digest == plain


def test_a_loop_is_shared_by_jobs_and_lengths_and_an_endless_motion_belongs_to_its_job() -> None:
    key = make_keys(REQUEST, LOOP, ENGINE, SegmentCodec.JPEG_97).segment(3)
    longer = replace(REQUEST, work_id="job-2", frame_count=900, first_segment=2)
    assert make_keys(longer, LOOP, ENGINE, SegmentCodec.JPEG_97).segment(3) == key
    assert key.startswith("loops/default/")
    endless = replace(REQUEST, motion=MotionSettings(loop=False))
    keys = make_keys(endless, Layout(25, 0), ENGINE, SegmentCodec.JPEG_97)
    assert keys.segment(3).startswith("jobs/default/job-1/animation/")
    assert keys.segment(5) != make_keys(
        replace(endless, frame_count=140), Layout(25, 0), ENGINE, SegmentCodec.JPEG_97
    ).segment(5), "the last segments differ in length"


def test_speech_and_how_much_it_moves_are_part_of_the_key_of_a_motion_that_follows_it_only() -> None:
    def digest(speech_sha256: str | None, **motion: Any) -> str:
        request = replace(REQUEST, speech_sha256=speech_sha256, motion=MotionSettings(**motion))
        return make_keys(request, Layout(25, 0), ENGINE, SegmentCodec.JPEG_97).digest

    one, other = "12" * 32, "34" * 32
    keys = [
        digest(None, loop=False),
        digest(one, loop=False),
        digest(other, loop=False),
        digest(one, loop=False, speech_motion=0.5),
    ]
    assert len(set(keys)) == len(keys)
    assert digest(None, speech_motion=0.5) == digest(None), "a loop is the same whatever is said"


def test_a_manifest_survives_storage() -> None:
    manifest = Manifest((1.5, 2.0, 30.25, 40.0), -12.5, ("The face is cut.",))
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache: BoundedCache[str] = BoundedCache(6, len)
    cache.put("a", "xx")
    cache.put("b", "xx")
    cache.put("c", "xx")
    assert cache.get("a") == "xx"
    cache.put("d", "xxx")
    assert [key in cache for key in "abcd"] == [True, False, False, True]
    cache.put("e", "x" * 7)
    assert len(cache) == 0
