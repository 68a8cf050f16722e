"""The embedded engine on a drawn portrait with known landmarks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support import voices
from support.drawn_portrait import HALF_WIDTH_PX, MOUTH_PX, draw_portrait, moved
from visema_media.track import FaceTrack
from visema_wav2lip.engines.embedded import pose, seam
from visema_wav2lip.engines.embedded.engine import EmbeddedEngine, MouthModel, measure_mouth
from visema_wav2lip.engines.embedded.geometry import (
    FaceFrame,
    LandmarksMissing,
    depth_shift,
    face_motion,
    mesh_contours,
    mouth_axes,
)
from visema_wav2lip.engines.protocol import LipSyncSettings, SegmentPart
from visema_wav2lip.mouthplan import MouthPlan, MouthPose

RATE = Fraction(25)
STILL = np.array([[1.0, 0, 0], [0, 1.0, 0]])
REST = MouthPose(0, 0, 0, 0, 0, 0, 0)
OPEN = replace(REST, opening=1.0, upper_raise=0.3, speech=1.0)


SMILE_PX = 7.5  # 0.15 of the mouth's width, a broad smile


def model(scale: float = 1.0, gap_px: float = 0.0, smile_px: float = 0.0) -> tuple[MouthModel, np.ndarray, FaceTrack]:
    frame, row = draw_portrait(scale, gap_px, smile_px)
    return measure_mouth(frame, row), frame, row


def draw(scale: float, mouth: MouthPose, gap_px: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The portrait and the same with its mouth moved."""
    measured, frame, _ = model(scale, gap_px)
    return frame, measured.draw(frame, STILL, mouth, (0.0, 0.0))


def dark_height(frame: np.ndarray, scale: float = 1.0) -> int:
    """Rows of the mouth's middle column that are darker than any skin or lip."""
    column = frame[:, round(MOUTH_PX[0] * scale)].mean(axis=1)
    top, bottom = round(140 * scale), round(210 * scale)
    return int(np.count_nonzero(column[top:bottom] < 75))


def test_a_closed_portrait_at_rest_is_left_untouched() -> None:
    frame, result = draw(1.0, REST)
    assert result is frame


def test_the_input_frame_is_never_changed() -> None:
    measured, frame, _ = model()
    before = frame.copy()
    measured.draw(frame, STILL, OPEN, (0.0, 0.0))
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
def test_an_open_mouth_shows_a_dark_interior_at_every_size(scale: float) -> None:
    frame, result = draw(scale, OPEN)
    assert result.shape == frame.shape
    assert dark_height(result, scale) > dark_height(frame, scale) + 3 * scale


def test_the_opening_grows_with_the_plan() -> None:
    heights = [dark_height(draw(2.0, replace(OPEN, opening=opening))[1], 2.0) for opening in (0.4, 0.7, 1.0)]
    assert heights == sorted(heights)
    assert heights[0] < heights[2]


def test_everything_outside_the_mouths_region_keeps_its_value() -> None:
    frame, result = draw(1.0, OPEN)
    changed = np.abs(frame.astype(int) - result).max(axis=2) > 0
    rows, columns = np.nonzero(changed)
    assert rows.min() > 138  # the nose base is at 140
    assert columns.min() > MOUTH_PX[0] - 2.8 * HALF_WIDTH_PX
    assert columns.max() < MOUTH_PX[0] + 2.8 * HALF_WIDTH_PX


def test_the_chin_follows_the_jaw() -> None:
    frame, result = draw(2.0, OPEN)
    chin = (slice(412, 440), slice(240, 272))
    assert np.abs(frame[chin].astype(int) - result[chin]).mean() > 4


def test_an_opening_mouth_is_round_and_not_a_v() -> None:
    measured, _, _ = model()
    lips = pose.lip_targets(OPEN, measured.contours, measured.closing, measured.proportions)
    gap = lips.lower - lips.upper
    side = measured.contours.side
    half = np.interp(0.5, side, gap) / gap.max()
    assert half > 0.75  # a V has 0.5 half-way to the corner
    corner_drop = np.interp(1.0, side, lips.lower - measured.closing)
    assert corner_drop > 0.1 * gap.max()  # the corners give way to the jaw


def widths_of_opening(measured: MouthModel, mouth: MouthPose) -> list[float]:
    """Width at a quarter, half and three quarters of the opening's height, as a share of its widest."""
    lips = pose.lip_targets(mouth, measured.contours, measured.closing, measured.proportions)
    mouth_only = np.abs(measured.contours.side) < 1
    upper, lower = lips.upper[mouth_only], lips.lower[mouth_only]
    heights = np.linspace(upper.min(), lower.max(), 201)[:, None]
    widths = np.count_nonzero((upper < heights) & (heights < lower), axis=1)
    return [float(widths[i] / widths.max()) for i in (50, 100, 150)]


@pytest.mark.parametrize("gap_px", [0.0, 7.0])
def test_a_loud_vowel_on_a_smile_is_as_round_as_on_a_calm_mouth(gap_px: float) -> None:
    calm, _, _ = model(2.0, gap_px)
    smiling, _, _ = model(2.0, gap_px, SMILE_PX)
    assert calm.proportions.smile == 0.0
    _, half, three_quarters = widths_of_opening(smiling, OPEN)
    _, calm_half, calm_three_quarters = widths_of_opening(calm, OPEN)
    assert half > calm_half - 0.14  # a crescent gets narrow soon below its tips
    assert three_quarters > calm_three_quarters - 0.14  # and is pointed at the bottom


def test_a_smile_lets_go_of_its_corners_only_as_the_mouth_opens() -> None:
    smiling, _, _ = model(2.0, 7.0, SMILE_PX)
    serious = replace(smiling.proportions, smile=0.0)
    for mouth in (REST, replace(REST, press=1.0), replace(REST, lip_teeth=1.0, speech=1.0)):
        lips = pose.lip_targets(mouth, smiling.contours, smiling.closing, smiling.proportions)
        expected = pose.lip_targets(mouth, smiling.contours, smiling.closing, serious)
        assert np.array_equal(lips.upper, expected.upper)
        assert np.array_equal(lips.lower, expected.lower)
        assert lips.narrowing == expected.narrowing


def test_rounding_narrows_the_opening() -> None:
    measured, _, _ = model()
    wide, round_ = (
        pose.lip_targets(mouth, measured.contours, measured.closing, measured.proportions)
        for mouth in (replace(OPEN, opening=0.4), replace(OPEN, opening=0.4, width=-0.6, rounding=1.0))
    )
    assert np.count_nonzero(round_.lower - round_.upper > 0.01) < 0.85 * np.count_nonzero(
        wide.lower - wide.upper > 0.01
    )
    assert round_.narrowing < wide.narrowing - 0.1


def test_lips_meet_in_a_closure_also_on_an_open_smile() -> None:
    smiling, closed = draw(2.0, replace(REST, press=1.0), gap_px=10.0)
    middle = (slice(320, 344), slice(230, 282))
    teeth = smiling[middle].min(axis=2) > 190
    assert teeth.mean() > 0.3
    assert (closed[middle].min(axis=2) > 190).mean() < 0.02


def test_an_open_smile_keeps_its_own_teeth() -> None:
    measured, _, _ = model(2.0, 10.0)
    assert measured.interior.parted
    assert measured.interior.teeth.own


def test_teeth_show_between_lip_and_teeth_for_f() -> None:
    frame, result = draw(2.0, replace(REST, lip_teeth=1.0, speech=1.0))
    middle = (slice(322, 334), slice(246, 266), 1)  # lips are dark in green, teeth are not
    assert result[middle].max() > frame[middle].max() + 10


def test_a_slit_between_closing_lips_is_no_white_line() -> None:
    _, ajar = draw(2.0, replace(REST, opening=0.15, speech=1.0))
    _, open_wide = draw(2.0, replace(REST, opening=0.5, speech=1.0))
    middle = (slice(318, 342), slice(246, 266), 1)
    assert ajar[middle].max() < open_wide[middle].max() - 30  # teeth catch light in the open mouth only


def test_motion_is_recovered_from_the_track() -> None:
    frame, row = draw_portrait()
    turn = np.deg2rad(4)
    motion = 1.03 * np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0]])
    motion[:, 2] = (5.0, -3.0)
    _, track = moved(frame, row, [STILL, motion])
    found = face_motion(row, track)
    assert np.allclose(found[0], STILL, atol=1e-4)
    assert np.allclose(found[1], motion, atol=1e-3)


def test_a_turning_head_shifts_the_nose_against_the_ears() -> None:
    frame, row = draw_portrait()
    points = row.points_px.copy()
    points[0, 4, 0] += 6
    turned = FaceTrack(row.landmark_ids, points, row.boxes_px)
    axes = mouth_axes(FaceFrame.from_row(row))
    shift = depth_shift(row, turned, face_motion(row, turned), axes)
    assert shift[0, 0] > 0.05
    assert abs(shift[0, 1]) < 0.02
    assert frame.shape == (256, 256, 3)


def test_a_track_without_lips_is_refused() -> None:
    frame, row = draw_portrait()
    few = FaceTrack(row.landmark_ids[:10], row.points_px[:, :10], row.boxes_px)
    with pytest.raises(LandmarksMissing):
        measure_mouth(frame, few)


def test_the_seam_follows_the_dark_line_between_closed_lips() -> None:
    frame, row = draw_portrait(2.0)
    face = FaceFrame.from_row(row)
    axes = mouth_axes(face)
    mesh = mesh_contours(face, axes)
    wrong = replace(mesh, upper_inner=mesh.upper_inner + 0.03, lower_inner=mesh.lower_inner + 0.03)
    found, opening = seam.refine_contours(frame, axes, wrong)
    assert opening is None
    central = np.abs(found.x) < 0.3
    assert np.abs(found.upper_inner[central]).max() < 0.02  # the line was drawn at 0


@pytest.mark.parametrize("pieces", [(30,), (10, 10, 10), (1, 29)])
def test_a_segment_computed_in_pieces_is_the_same_segment(pieces: tuple[int, ...]) -> None:
    frame, row = draw_portrait()
    frames, track = moved(frame, row, [np.array([[1.0, 0, 0.1 * i], [0, 1.0, 0]]) for i in range(30)])
    sound = voices.join(voices.silence(0.1), voices.vowel("a", 0.8), voices.silence(0.3))
    session = EmbeddedEngine().open(frames[0], track.slice(0, 1), sound, RATE, 30, LipSyncSettings())
    whole = session.apply([SegmentPart.whole(frames, track, 0)])
    parts, first = [], 0
    for count in pieces:
        parts += session.apply([SegmentPart.whole(frames[first : first + count], track.slice(first, count), first)])
        first += count
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_frames_outside_the_clip_are_refused() -> None:
    frame, row = draw_portrait()
    session = EmbeddedEngine().open(frame, row, voices.join(voices.vowel("a", 0.4)), RATE, 10, LipSyncSettings())
    with pytest.raises(ValueError, match="of 10"):
        session.apply([SegmentPart.whole([frame], row, 10)])
    with pytest.raises(ValueError, match="track"):
        session.apply([SegmentPart.whole([frame, frame], row, 0)])


def test_silence_leaves_a_closed_portrait_bit_identical() -> None:
    frame, row = draw_portrait()
    session = EmbeddedEngine().open(frame, row, np.zeros(16_000, np.float32), RATE, 25, LipSyncSettings())
    assert session.apply([SegmentPart.whole([frame], row, 12)])[0] is frame


def test_a_mouth_at_the_edge_of_the_picture_does_not_fail() -> None:
    measured, frame, _ = model()
    for shift in ((0, 90), (-120, 0), (120, 60), (0, 400)):
        motion = np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]])
        assert measured.draw(frame, motion, OPEN, (0.0, 0.0)).shape == frame.shape


def test_a_plan_with_curves_of_different_lengths_is_refused() -> None:
    curves = [np.zeros(5, np.float32)] * 6
    with pytest.raises(ValueError, match="shapes"):
        MouthPlan(*curves, np.zeros(4, np.float32))
