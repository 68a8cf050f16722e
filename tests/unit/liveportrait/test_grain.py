"""Portraits with fine grain move less within the face, so that their grain does not swim."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from visema_liveportrait.engines.embedded.engine import EmbeddedEngine
from visema_liveportrait.engines.embedded.grain import LEAST_SHARE, motion_share, within_share
from visema_liveportrait.engines.embedded.mesh_points import FACE_OVAL, FOREHEAD, NOSE_TIP
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import MotionSettings
from visema_media.face import find_faces
from visema_media.framing import FramedPortrait, Framing, frame_portrait
from visema_media.track import MESH_POINT_COUNT

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here")
SIDE_PX = 600


def round_face() -> npt.NDArray[np.float32]:
    """A mesh whose outline is a circle of 420 pixels in a picture of `SIDE_PX`; float32 (478, 3)."""
    points = np.full((MESH_POINT_COUNT, 3), SIDE_PX / 2.0, np.float32)
    angles = 2.0 * np.pi * np.arange(len(FACE_OVAL)) / len(FACE_OVAL)  # from the forehead clockwise
    points[list(FACE_OVAL), 0] += 210.0 * np.sin(angles)
    points[list(FACE_OVAL), 1] -= 210.0 * np.cos(angles)
    assert points[FOREHEAD, 1] < 100
    return points


def cloudy(width_px: float) -> npt.NDArray[np.uint8]:
    """Grey noise whose patches are about as wide as this, with the same contrast whatever their width."""
    noise = np.random.default_rng(5).normal(size=(SIDE_PX, SIDE_PX))
    noise = cv2.GaussianBlur(noise, (0, 0), width_px / 2.0)
    grey = np.clip(128.0 + 20.0 * noise / noise.std(), 0.0, 255.0).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


def test_the_finer_the_grain_the_smaller_the_share() -> None:
    shares = [motion_share(cloudy(width_px), round_face()) for width_px in (1.5, 2.0, 3.0, 30.0)]
    assert shares[0] == LEAST_SHARE
    assert shares == sorted(shares)
    assert LEAST_SHARE < shares[2] < 1.0
    assert shares[3] == 1.0


def test_a_plain_face_moves_in_full() -> None:
    assert motion_share(np.full((SIDE_PX, SIDE_PX, 3), 120, np.uint8), round_face()) == 1.0


def test_a_share_keeps_tilts_shifts_and_blinks() -> None:
    plan = MotionPlanner(MotionSettings(), Fraction(25), 250).plan(0, 250)
    assert within_share(plan, 1.0) is plan
    less = within_share(plan, 0.6).series()
    eased = {"yaw_deg", "pitch_deg", "brow_lift", "gaze_x_deg", "gaze_y_deg"}
    for name, series in plan.series().items():
        np.testing.assert_allclose(less[name], series * (0.6 if name in eased else 1.0), rtol=1e-6)


def framed(name: str, size_px: int) -> FramedPortrait:
    bgr = cv2.imread(str(SAMPLES / name))
    return frame_portrait(bgr, find_faces(bgr)[0], Framing.BUST, size_px)


@needs_samples
@pytest.mark.parametrize(
    ("name", "size_px", "low", "high"),
    [
        ("portrait_astronaut_smile.png", 1024, 1.0, 1.0),
        ("portrait_girl.jpg", 1024, 1.0, 1.0),
        ("portrait_mona_lisa.jpg", 512, 1.0, 1.0),
        ("portrait_mona_lisa.jpg", 1024, 0.65, 0.85),
        ("portrait_pearl_earring_turned.jpg", 1024, LEAST_SHARE, 0.55),
    ],
)
def test_only_paintings_seen_large_hold_back(name: str, size_px: int, low: float, high: float) -> None:
    portrait = framed(name, size_px)
    assert low <= motion_share(portrait.bgr, portrait.face.points_px) <= high


@needs_samples
def test_the_engine_turns_a_grainy_head_less_and_tilts_it_in_full() -> None:
    """Against the same picture without its grain."""
    portrait = framed("portrait_pearl_earring_turned.jpg", 1024)
    smooth = FramedPortrait(cv2.GaussianBlur(portrait.bgr, (0, 0), 4.0), portrait.face, (), portrait.scale)
    still = MotionPlanner(MotionSettings(), Fraction(25), 250).plan(0, 1)
    turned = replace(still, yaw_deg=np.float32([4.0]))
    tilted = replace(still, roll_deg=np.float32([3.0]))
    moved = []
    for picture in (portrait, smooth):
        face = EmbeddedEngine().prepare(picture)
        frames = [face.render(plan, 0, 1).track.points_px[0] for plan in (still, turned, tilted)]
        moved.append([float(np.linalg.norm(frame[NOSE_TIP] - frames[0][NOSE_TIP])) for frame in frames[1:]])
    grainy, smooth_moved = np.array(moved)
    assert grainy[0] == pytest.approx(LEAST_SHARE * smooth_moved[0], rel=0.1)
    assert grainy[1] == pytest.approx(smooth_moved[1], rel=0.05)
    assert grainy.min() > 2.0
