"""The embedded engine: frames move as planned, the track follows them, the background stays."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from visema_kit.device_meter import DeviceMeter
from visema_liveportrait.engines.embedded.engine import EmbeddedEngine, EmbeddedPortrait
from visema_liveportrait.engines.embedded.relaxation import fill_from_weighted, relax
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import Expression, MotionSettings
from visema_media.face import find_faces
from visema_media.framing import FramedPortrait, Framing, frame_portrait

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here")
CALM = MotionSettings(blinks_per_minute=0, head_motion=0, breathing=0, gaze_wander=0)


def framed(name: str, framing: Framing = Framing.BUST, size: int = 384) -> FramedPortrait:
    bgr = cv2.imread(str(SAMPLES / name))
    return frame_portrait(bgr, find_faces(bgr)[0], framing, size)


def prepared(portrait: FramedPortrait) -> EmbeddedPortrait:
    return EmbeddedEngine().prepare(portrait)


def plan_of(motion: MotionSettings, count: int = 50) -> MotionPlan:
    return MotionPlanner(motion, Fraction(25), 250).plan(0, count)


def held(**values: float) -> MotionPlan:
    """One frame with some values set."""
    plan = plan_of(CALM, 1)
    return replace(plan, **{name: np.array([value], np.float32) for name, value in values.items()})


@needs_samples
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_a_frame_at_rest_is_the_portrait(size: int) -> None:
    portrait = framed("portrait_girl.jpg", size=size)
    rendered = prepared(portrait).render(plan_of(MotionSettings()), 0, 1)
    assert rendered.frames.shape == (1, size, size, 3)
    assert np.abs(rendered.frames[0].astype(int) - portrait.bgr).mean() < 0.3
    np.testing.assert_allclose(rendered.track.points_px[0], portrait.face.points_px[:, :2], atol=1e-3)


@needs_samples
def test_a_frame_does_not_depend_on_what_was_rendered_before() -> None:
    face = prepared(framed("portrait_girl.jpg"))
    plan = plan_of(MotionSettings(blinks_per_minute=40), 40)
    whole = face.render(plan, 0, 40)
    for first in (33, 7, 20):
        part = face.render(plan, first, 5)
        np.testing.assert_array_equal(part.frames, whole.frames[first : first + 5])
        np.testing.assert_array_equal(part.track.points_px, whole.track.points_px[first : first + 5])


def detail(frames: npt.NDArray[np.uint8], region: tuple[slice, slice]) -> npt.NDArray[np.float64]:
    """Laplacian energy of each frame's region."""
    greys = [cv2.cvtColor(cv2.GaussianBlur(frame[region], (0, 0), 0.8), cv2.COLOR_BGR2GRAY) for frame in frames]
    return np.array([float((cv2.Laplacian(grey, cv2.CV_32F) ** 2).mean()) for grey in greys])


@needs_samples
@pytest.mark.parametrize("name", ["girl.jpg", "astronaut_smile.png", "mona_lisa.jpg"])
def test_the_photo_keeps_its_detail_while_the_head_moves(name: str) -> None:
    """Enlarged 2.8, 4.0 and 1.8 times: a linear kernel is enough for the first two, and takes a third off the last."""
    portrait = framed(f"portrait_{name}", size=1024)
    nose = portrait.face.points_px[6, :2].astype(int)
    region = (slice(nose[1] - 100, nose[1] + 100), slice(nose[0] - 100, nose[0] + 100))
    plan = plan_of(MotionSettings(blinks_per_minute=0, gaze_wander=0), 60)
    kept = detail(prepared(portrait).render(plan, 0, 60).frames[::6], region) / detail(portrait.bgr[None], region)
    assert 0.88 < kept.mean() < 1.05
    assert kept.std() < 0.03  # no pulse


@needs_samples
@pytest.mark.parametrize("landmark", [4, 61, 291, 152, 70, 300, 13, 10])
def test_landmarks_of_the_track_lie_where_the_frame_shows_them(landmark: int) -> None:
    portrait = framed("portrait_mona_lisa.jpg")
    place = portrait.face.points_px[landmark, :2]
    y, x = np.mgrid[0:384, 0:384].astype(np.float32)
    spot = 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 8)
    moving = prepared(portrait)
    spotted = EmbeddedPortrait(
        cv2.merge([spot.astype(np.uint8)] * 3), portrait.face.points_px, moving._fields, DeviceMeter(), soft=False
    )
    plan = held(yaw_deg=6.0, pitch_deg=-4.0, roll_deg=2.5, breath=1.0, shift_x=0.02)
    rendered = spotted.render(plan, 0, 1)
    weight = rendered.frames[0, ..., 0].astype(float)
    weight[weight < 20] = 0
    centre = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    tracked = rendered.track.points_px[0, landmark]
    assert np.linalg.norm(tracked - place) > 0.7
    assert np.linalg.norm(tracked - centre) < 0.25


@needs_samples
@pytest.mark.parametrize(
    ("values", "landmark", "direction"),
    [
        ({"yaw_deg": 4.0}, 1, (1, 0)),
        ({"yaw_deg": -4.0}, 1, (-1, 0)),
        ({"pitch_deg": 4.0}, 1, (0, 1)),
        ({"shift_y": 0.02}, 1, (0, 1)),
        ({"roll_deg": 3.0}, 10, (1, 0)),
        ({"brow_lift": 0.03}, 105, (0, -1)),
        ({"gaze_x_deg": 6.0}, 468, (1, 0)),
        ({"gaze_y_deg": 6.0}, 473, (0, 1)),
        ({"right_open": 0.0}, 159, (0, 1)),
        ({"left_open": 0.0}, 386, (0, 1)),
    ],
)
def test_each_control_moves_its_landmark_in_its_direction(
    values: dict[str, float], landmark: int, direction: tuple[int, int]
) -> None:
    portrait = framed("portrait_girl.jpg")
    moved = prepared(portrait).render(held(**values), 0, 1).track.points_px[0, landmark]
    step = moved - portrait.face.points_px[landmark, :2]
    assert step @ np.array(direction) > 0.6


@needs_samples
@pytest.mark.parametrize(
    "name",
    [
        "portrait_astronaut_smile.png",
        "portrait_girl.jpg",
        "portrait_lady_small_face.jpg",
        "portrait_mona_lisa.jpg",
        "portrait_pearl_earring_turned.jpg",
    ],
)
def test_a_closed_eye_is_seen_as_closed(name: str) -> None:
    portrait = framed(name, Framing.FACE, 512)
    face = prepared(portrait)
    closed = face.render(held(left_open=0.0, right_open=0.0), 0, 1).frames[0]
    (before,) = find_faces(portrait.bgr)
    (after,) = find_faces(closed)
    assert after.eye_opening < 0.5 * before.eye_opening


@needs_samples
def test_a_blink_changes_nothing_but_the_eyes() -> None:
    portrait = framed("portrait_astronaut_smile.png")
    face = prepared(portrait)
    resting, closed = (face.render(held(left_open=o, right_open=o), 0, 1).frames[0].astype(int) for o in (1.0, 0.0))
    points = portrait.face.points_px
    y, x = np.mgrid[0:384, 0:384]
    near = np.zeros((384, 384), bool)
    for left, right in ((33, 133), (362, 263)):
        middle = (points[left, :2] + points[right, :2]) / 2
        near |= np.hypot(x - middle[0], y - middle[1]) < 0.8 * np.linalg.norm(points[left, :2] - points[right, :2])
    changed = np.abs(closed - resting).max(axis=2) > 2
    assert changed[near].mean() > 0.1
    assert not changed[~near].any()


@needs_samples
def test_the_background_far_from_the_person_stays_still() -> None:
    portrait = framed("portrait_girl.jpg", size=512)
    frames = prepared(portrait).render(plan_of(MotionSettings(head_motion=2.0), 100), 0, 100).frames[::9]
    corners = frames[:, :60, :60].astype(int), frames[:, :60, -40:].astype(int)
    for corner in corners:
        assert np.abs(corner - corner[0]).max() <= 2


@needs_samples
def test_the_whole_picture_is_rendered_at_its_shape_and_moves_only_around_the_face() -> None:
    portrait = framed("portrait_lady_small_face.jpg", Framing.FULL_PICTURE, 512)
    frames = prepared(portrait).render(plan_of(MotionSettings(), 60), 0, 60).frames
    assert frames.shape[1:] == portrait.bgr.shape
    motion = np.ptp(frames[::10].astype(int), axis=0).max(axis=2)
    assert motion[60:160, 220:300].max() > 10
    assert motion[420:].max() == 0


@needs_samples
@pytest.mark.parametrize("expression", [each for each in Expression if each is not Expression.NEUTRAL])
def test_an_expression_is_visible_and_grows_with_its_strength(expression: Expression) -> None:
    face = prepared(framed("portrait_girl.jpg"))
    plans = [plan_of(replace(CALM, expression=expression, expression_strength=s), 1) for s in (0.0, 0.4, 1.0)]
    neutral, weak, strong = (face.render(plan, 0, 1).track.points_px[0] for plan in plans)
    assert 0.2 < np.abs(weak - neutral).max() < np.abs(strong - neutral).max() < 12


@needs_samples
def test_dark_glasses_stay_as_they_are() -> None:
    portrait = framed("portrait_girl.jpg", size=512)
    bgr = portrait.bgr.copy()
    for left, right in ((33, 133), (362, 263)):
        middle = (portrait.face.points_px[left, :2] + portrait.face.points_px[right, :2]) / 2
        width = np.linalg.norm(portrait.face.points_px[left, :2] - portrait.face.points_px[right, :2])
        axes = (int(0.8 * width), int(0.55 * width))
        cv2.ellipse(bgr, tuple(int(v) for v in middle), axes, 0, 0, 360, (28, 22, 24), -1, cv2.LINE_AA)
    face = prepared(FramedPortrait(bgr, portrait.face, (), portrait.scale))
    frames = face.render(held(left_open=0.0, right_open=0.0, gaze_x_deg=5.0), 0, 1)
    resting = face.render(held(), 0, 1)
    np.testing.assert_array_equal(frames.frames, resting.frames)
    np.testing.assert_array_equal(frames.track.points_px, resting.track.points_px)


@needs_samples
def test_a_face_cut_by_the_edge_can_be_animated() -> None:
    bgr = cv2.imread(str(SAMPLES / "portrait_girl.jpg"))
    cut = np.ascontiguousarray(bgr[150:500, 310:560])
    face = find_faces(cut)[0]
    for framing in Framing:
        portrait = frame_portrait(cut, face, framing, 256)
        frames = prepared(portrait).render(plan_of(MotionSettings(), 30), 0, 30).frames
        assert frames.shape[1:] == portrait.bgr.shape


def test_relaxation_keeps_pinned_cells_and_is_smooth_between_them() -> None:
    target, weight = np.zeros((12, 40)), np.zeros((12, 40))
    weight[:, 0] = weight[:, -1] = 1e6
    target[:, -1] = 1.0
    field = relax(target, weight)
    np.testing.assert_allclose(field, np.broadcast_to(np.linspace(0, 1, 40), field.shape), atol=1e-3)


def test_filling_keeps_what_is_known_and_stays_within_its_range() -> None:
    values = np.random.default_rng(1).uniform(50, 200, (37, 53, 3)).astype(np.float32)
    weight = np.ones((37, 53), np.float32)
    weight[10:25, 15:40] = 0
    filled = fill_from_weighted(values, weight)
    np.testing.assert_allclose(filled[weight == 1], values[weight == 1], atol=1e-3)
    assert 50 <= filled.min() <= filled.max() <= 200
    flat = fill_from_weighted(np.full((37, 53, 3), 77, np.float32), weight)
    np.testing.assert_allclose(flat, 77, atol=0.5)
