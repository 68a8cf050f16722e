"""The quality meter on a drawn portrait whose mouth the embedded engine moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import voices
from support.drawn_portrait import draw_portrait, moved
from visema.common.v1 import common_pb2
from visema_kit.quality import (
    WARN_CHANGED,
    WARN_FLICKER,
    WARN_NO_SPEECH,
    WARN_OPEN,
    WARN_STILL,
    add_quality,
    quality_report,
)
from visema_media.track import FaceTrack
from visema_wav2lip.boxes import Pads, track_boxes
from visema_wav2lip.compositing import FeatheredPaste
from visema_wav2lip.engines.embedded.engine import EmbeddedEngine
from visema_wav2lip.engines.protocol import Frame, LipSyncSettings, Samples, SegmentPart
from visema_wav2lip.faces import crop_faces
from visema_wav2lip.mouth import mouth_bounds
from visema_wav2lip.quality.lips import mouth_openings
from visema_wav2lip.quality.meter import QualityMeter
from visema_wav2lip.quality.sound import frame_sound
from visema_wav2lip.visemes import plan_mouth

RATE = Fraction(25)
FRAMES = 75
SEGMENT = 25


def speech() -> Samples:
    """Three seconds with a pause in the middle and silence at the end."""
    words = [(voices.vowel(name, 0.16), voices.nasal(0.08)) for name in "aoeau"]
    said = [sound for word in words for sound in word]
    return voices.join(*said[:5], voices.silence(0.7), *said[5:], voices.silence(1.0))


@dataclass(frozen=True)
class Clip:
    """A video before and after lip-sync, with its sound."""

    sources: list[Frame]
    results: list[Frame]
    track: FaceTrack
    sound: Samples

    def sums(self, *segments: tuple[int, int]) -> common_pb2.QualityStatistics:
        """Sums over the segments (first frame, frames), in the given order."""
        meter = QualityMeter(self.sound, RATE, len(self.sources))
        total = common_pb2.QualityStatistics()
        for first, count in segments:
            part = slice(first, first + count)
            track, seen = self.track.slice(first, count), np.ones(count, bool)
            add_quality(total, meter.measure(self.sources[part], self.results[part], track, seen, first))
        return total

    def report(self) -> common_pb2.QualityReport:
        report = quality_report(self.sums(*((first, SEGMENT) for first in range(0, FRAMES, SEGMENT))), RATE)
        assert report is not None
        return report


def spoken(strength: float = 1.0, gap_px: float = 0.0) -> Clip:
    """The drawn portrait sways a little and speaks."""
    portrait, row = draw_portrait(gap_px=gap_px)
    sway = np.sin(np.arange(FRAMES) / 9)
    sources, track = moved(portrait, row, [np.array([[1.0, 0, 1.5 * x], [0, 1.0, -0.8 * x]]) for x in sway])
    session = EmbeddedEngine().open(
        sources[0], track.slice(0, 1), speech(), RATE, FRAMES, LipSyncSettings(mouth_strength=strength)
    )
    return Clip(sources, session.apply([SegmentPart.whole(sources, track, 0)]), track, speech())


@pytest.fixture(scope="module")
def clip() -> Clip:
    return spoken()


def test_the_opening_read_from_the_pixels_is_the_one_that_was_drawn(clip: Clip) -> None:
    drawn = plan_mouth(clip.sound, RATE, FRAMES).opening
    read = mouth_openings(clip.sources, clip.results, clip.track)
    assert np.corrcoef(drawn, read)[0, 1] > 0.97
    assert read[drawn < 0.01].max() < 0.5
    assert read.max() > 3


def test_lips_that_are_parted_at_rest_are_followed_too() -> None:
    clip = spoken(gap_px=9.0)
    drawn = plan_mouth(clip.sound, RATE, FRAMES).opening
    read = mouth_openings(clip.sources, clip.results, clip.track)
    assert np.corrcoef(drawn, read)[0, 1] > 0.95


def test_a_mouth_that_a_network_drew_is_followed_too(clip: Clip) -> None:
    """The detour over 96 pixels that the neural engine makes: soft, a little brighter, with noise."""
    boxes, _ = track_boxes(clip.track, Pads(), clip.sources[0].shape[:2])
    noise = np.random.default_rng(1)
    results = []
    for source, result, box, lips in zip(clip.sources, clip.results, boxes, mouth_bounds(clip.track), strict=True):
        face = crop_faces([result], box[None])[0].astype(np.float32) * 1.03 + noise.normal(0, 2, (96, 96, 3))
        results.append(source.copy())
        FeatheredPaste().paste(results[-1], np.clip(face / 255, 0, 1).astype(np.float32), tuple(box.tolist()), lips)
    drawn = plan_mouth(clip.sound, RATE, FRAMES).opening
    assert np.corrcoef(drawn, mouth_openings(clip.sources, results, clip.track))[0, 1] > 0.95
    report = replace(clip, results=results).report()
    assert report.score >= 85
    assert list(report.warnings) == []


def test_good_lips_score_high_without_a_warning(clip: Clip) -> None:
    report = clip.report()
    assert report.score >= 85
    assert list(report.warnings) == []
    assert report.frame_count == FRAMES
    assert abs(report.lag_ms) < 40
    assert report.correlation > 0.5
    assert report.mouth_range_percent > 3
    assert report.closed_in_silence_ratio > 0.95
    assert report.preservation_db == pytest.approx(99)
    assert report.flicker_levels < 1


@pytest.mark.parametrize(("frames", "word"), [(5, "late"), (-5, "early")])
def test_lips_that_are_shifted_against_the_sound_are_found_out(clip: Clip, frames: int, word: str) -> None:
    sound = np.roll(clip.sound, -frames * 640)  # what was heard at the end is silence
    report = replace(clip, sound=sound).report()
    assert report.lag_ms == pytest.approx(200 * np.sign(frames), abs=40)
    assert report.score <= clip.report().score - 25
    assert any(word in warning for warning in report.warnings)


def test_silence_has_no_lag_and_says_so(clip: Clip) -> None:
    quiet = replace(clip, sound=np.zeros_like(clip.sound))
    report = quiet.report()
    assert not report.HasField("lag_ms")
    assert not report.HasField("correlation")
    assert WARN_NO_SPEECH in report.warnings
    assert WARN_OPEN in report.warnings  # this mouth speaks on
    closed = replace(quiet, results=clip.sources).report()
    assert list(closed.warnings) == [WARN_NO_SPEECH]
    assert closed.score > report.score


def test_a_frozen_mouth_is_found_out(clip: Clip) -> None:
    report = spoken(strength=0.0).report()
    assert report.mouth_range_percent < 1
    assert report.score <= clip.report().score - 40
    assert WARN_STILL in report.warnings


def test_a_changed_background_is_found_out(clip: Clip) -> None:
    damaged = [frame.copy() for frame in clip.results]
    for frame in damaged:
        frame[:60, :60] += 30
    report = replace(clip, results=damaged).report()
    assert report.preservation_db < 36
    assert report.score < clip.report().score
    assert list(report.warnings) == [WARN_CHANGED]


def test_a_flickering_picture_is_found_out(clip: Clip) -> None:
    flickering = [frame + np.uint8(12 * (place % 2)) for place, frame in enumerate(clip.results)]
    report = replace(clip, results=flickering).report()
    assert report.flicker_levels > 8
    assert report.score < clip.report().score
    assert WARN_FLICKER in report.warnings


def test_segments_add_up_to_the_same_sums_in_any_order(clip: Clip) -> None:
    def assert_same(one: common_pb2.QualityStatistics, other: common_pb2.QualityStatistics) -> None:
        assert {field.name for field, _ in one.ListFields()} == {field.name for field, _ in other.ListFields()}
        for field, value in one.ListFields():
            assert np.allclose(value, getattr(other, field.name)), field.name

    there, back = clip.sums((0, 25), (25, 25), (50, 25)), clip.sums((50, 25), (0, 25), (25, 25))
    assert_same(there, back)
    assert clip.sums((25, 25)) == clip.sums((25, 25))  # a segment that is computed again is the same


def test_frames_without_a_face_are_left_out(clip: Clip) -> None:
    meter = QualityMeter(clip.sound, RATE, FRAMES)
    seen = np.arange(SEGMENT) >= 10
    part = clip.sources[:SEGMENT], clip.results[:SEGMENT]
    assert meter.measure(*part, clip.track.slice(0, SEGMENT), seen, 0).frame_count == 15
    lost = clip.track.slice(0, SEGMENT)
    lost = FaceTrack(lost.landmark_ids, np.where(seen[:, None, None], lost.points_px, np.nan), lost.boxes_px)
    assert meter.measure(*part, lost, np.ones(SEGMENT, bool), 0).frame_count == 15
    bare = FaceTrack(np.zeros(0, np.int32), np.zeros((SEGMENT, 0, 2), np.float32), lost.boxes_px)
    assert meter.measure(*part, bare, np.ones(SEGMENT, bool), 0).ByteSize() == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), size_px=st.floats(1e-3, 1e7), drawn=st.booleans())
def test_no_track_whatever_it_says_ends_a_job(seed: int, size_px: float, drawn: bool) -> None:
    frame, row = draw_portrait()
    moves = np.random.default_rng(seed).normal(0, size_px, (2, *row.points_px.shape[1:]))
    points = (row.points_px * drawn + moves).astype(np.float32)
    low, high = points.min(axis=1), points.max(axis=1)
    track = FaceTrack(row.landmark_ids, points, np.concatenate([low, high - low], axis=1))
    meter = QualityMeter(np.zeros(0, np.float32), RATE, 2)
    sums = meter.measure([frame] * 2, [255 - frame] * 2, track, np.ones(2, bool), 0)
    assert sums.frame_count == 2
    assert quality_report(sums, RATE) is not None


def test_sound_is_judged_by_its_own_loud_parts() -> None:
    loud, quiet = (frame_sound(speech() * gain, RATE, FRAMES) for gain in (1.0, 0.01))
    assert np.allclose(loud.loudness, quiet.loudness, atol=1e-3)
    assert np.array_equal(loud.silent, quiet.silent)
    assert loud.silent[-15:].all()
    assert not (loud.silent & loud.speaks).any()


def test_noise_nothing_and_a_short_sound_are_no_trouble() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * voices.RATE_HZ).astype(np.float32)
    for sound in (noise, np.zeros(0, np.float32), np.full(100, np.nan, np.float32)):
        assert not frame_sound(sound, RATE, FRAMES).speaks.any()
    assert frame_sound(voices.join(voices.vowel("a", 0.2)), RATE, 5).speaks.any()
