"""The engine from official-format files to frames: counts, track, purity, memory, refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_memory import SmallMemory
from visema_kit.errors import CheckpointMissing, ResourceExhausted
from visema_kit.torch_compile import NetworkCompiler
from visema_liveportrait.engines import neural, neural_motion
from visema_liveportrait.engines.neural import LivePortraitEngine, load_neural_engine
from visema_liveportrait.engines.neural_device import ComputeDevice
from visema_liveportrait.engines.neural_track import RIGID_KEYPOINTS, LandmarkMotion
from visema_liveportrait.geometry.driving import EYE_KEYPOINTS
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import Expression, MotionSettings
from visema_media.face import FaceLandmarks
from visema_media.framing import FramedPortrait

pytestmark = pytest.mark.neural


@dataclass(frozen=True)
class Settings:
    checkpoint_dir: Path | None
    device: str = "cpu"
    precision: str = "auto"
    torch_compile: bool = False
    device_memory_mib: int = 0


@pytest.fixture(scope="module")
def engine(checkpoint_folder: Path) -> LivePortraitEngine:
    return load_neural_engine(Settings(checkpoint_folder))


def synthetic_mesh(centre: tuple[float, float], height: float, *, mouth_gap: float = 0.0) -> np.ndarray:
    """478 points of a frontal face: an oval with eyes and mouth where they belong."""
    generator = np.random.default_rng(1)
    points = generator.uniform(-0.3, 0.3, (478, 3))
    points[:, 2] *= 0.3
    places = {10: (0, -0.5), 152: (0, 0.5), 234: (-0.4, -0.05), 454: (0.4, -0.05), 1: (0, 0.08)}
    for eye, x in (((33, 133, 159, 145), -0.18), ((362, 263, 386, 374), 0.18)):
        near, far, upper, lower = eye
        places |= {near: (x - 0.08, -0.12), far: (x + 0.08, -0.12), upper: (x, -0.145), lower: (x, -0.095)}
    places |= {61: (-0.14, 0.25), 291: (0.14, 0.25), 13: (0, 0.25 - mouth_gap / 2), 14: (0, 0.25 + mouth_gap / 2)}
    for index, place in places.items():
        points[index, :2] = place
    points *= height
    points[:, :2] += centre
    return points.astype(np.float32)


@pytest.fixture(scope="module")
def portrait(chain_golden: Any) -> FramedPortrait:
    picture = np.ascontiguousarray(chain_golden["src.img_rgb_u8"][:480, :480, ::-1])
    return FramedPortrait(picture, FaceLandmarks(synthetic_mesh((240, 220), 200), 1.0), (), 1.0)


@pytest.fixture(scope="module")
def prepared(engine: LivePortraitEngine, portrait: FramedPortrait) -> Any:
    return engine.prepare(portrait)


def plan_of(frames: int, **settings: Any) -> MotionPlan:
    return MotionPlanner(MotionSettings(**settings), Fraction(10), frames).plan(0, frames)


def still(frames: int = 1, expression: Expression = Expression.NEUTRAL, **series: float) -> MotionPlan:
    values = {name: np.zeros(frames, np.float32) for name in MotionPlan.__dataclass_fields__ if name != "expression"}
    for name in ("left_open", "right_open"):
        values[name] += 1
    for name, value in series.items():
        values[name] = np.full(frames, value, np.float32)
    return MotionPlan(**values, expression=expression)


def test_a_loop_renders_with_its_track(prepared: Any, portrait: FramedPortrait) -> None:
    rendered = prepared.render(plan_of(3), 0, 3)
    assert rendered.frames.shape == (3, *portrait.bgr.shape)
    assert rendered.frames.dtype == np.uint8
    assert len(rendered.track) == 3
    assert np.isfinite(rendered.track.points_px).all()
    changed = (rendered.frames[0] != portrait.bgr).any(axis=2)
    assert 0.1 < changed.mean() < 0.99
    assert not changed[0, 0]  # the corner lies outside the mask
    assert prepared.size_bytes > rendered.frames[0].nbytes


def test_a_frame_does_not_depend_on_what_was_rendered_before(prepared: Any) -> None:
    plan = plan_of(3)
    alone = prepared.render(plan, 1, 1)
    again = prepared.render(plan, 1, 1)
    np.testing.assert_array_equal(alone.frames, again.frames)
    np.testing.assert_array_equal(alone.track.points_px, again.track.points_px)


def test_describe_names_precision_weights_and_device(engine: LivePortraitEngine) -> None:
    description = engine.describe()
    assert description.name == "liveportrait"
    assert description.model_license == "MIT"
    assert len(description.weights_sha256) == 64
    assert description.device.startswith("cpu")


def test_frames_of_every_portrait_run_the_code_that_was_compiled_at_the_start(
    checkpoint_folder: Path, portrait: FramedPortrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, runs = [], []

    def backend(graph: Any, _example: Any) -> Any:
        compiled.append(graph)

        def grey(*_inputs: Any) -> tuple[torch.Tensor]:
            runs.append(1)
            return (torch.full((1, 3, 512, 512), 0.5),)

        return grey

    torch.compiler.reset()
    monkeypatch.setattr(neural, "NetworkCompiler", partial(NetworkCompiler, backend=backend))
    engine = load_neural_engine(Settings(checkpoint_folder, torch_compile=True))
    assert engine.describe().version.endswith("-compiled")
    assert len(compiled) == 1
    at_start = len(runs)
    rendered = engine.prepare(portrait).render(still(2), 0, 2)
    torch.compiler.reset()
    assert len(runs) - at_start == 2
    assert np.ptp(rendered.frames[0, 200:240, 220:260]) <= 1  # the compiled code's picture


def test_the_share_of_a_gpu_is_set_before_any_network_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(neural, "watch_memory", lambda _meter, device, limit_mib: seen.append((device.type, limit_mib)))
    with pytest.raises(CheckpointMissing):
        load_neural_engine(Settings(tmp_path, device_memory_mib=3000))
    assert seen == [("cpu", 3000)]


def test_absent_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="visema models pull liveportrait"):
        load_neural_engine(Settings(tmp_path))
    with pytest.raises(CheckpointMissing, match="VISEMA_CHECKPOINT_DIR"):
        load_neural_engine(Settings(None))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="no CUDA device"):
        load_neural_engine(Settings(tmp_path, device="cuda"))


def test_a_frame_that_does_not_fit_fails_its_call_and_the_next_one_works(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = prepared._networks
    roomy = networks.frame_network.decoder
    monkeypatch.setitem(networks.frame_network._modules, "decoder", SmallMemory(roomy, 0))
    with pytest.raises(ResourceExhausted, match="single frame"):
        prepared.render(still(), 0, 1)
    monkeypatch.setitem(networks.frame_network._modules, "decoder", SmallMemory(roomy, 1))
    monkeypatch.setattr(networks.batches, "frames", 2)
    whole = prepared.render(still(2), 0, 2)
    assert len(whole.frames) == 2
    assert networks.batches.frames == 1


def test_automatic_precision_is_exact_enough_for_the_processor() -> None:
    chosen = ComputeDevice.choose("cpu", "auto")
    assert chosen.dtype in (torch.float32, torch.bfloat16)
    assert ComputeDevice.choose("cpu", "float32").dtype is torch.float32


def face_and_networks(prepared: Any) -> tuple[neural_motion.SourceFace, Any]:
    return prepared._face, prepared._perceptrons


@pytest.mark.parametrize(
    ("change", "axis", "sign"), [({"yaw_deg": 8.0}, 0, 1), ({"pitch_deg": 8.0}, 1, 1), ({"roll_deg": 8.0}, 0, 1)]
)
def test_the_head_turns_to_the_side_that_the_plan_says(prepared: Any, change: Any, axis: int, sign: int) -> None:
    """A nose before the others moves right with yaw and down with pitch; a crown above them moves right with roll."""
    face, networks = face_and_networks(prepared)
    kp = np.zeros((1, 21, 3), np.float32)
    kp[0, 0] = (0, -0.4, 0) if "roll_deg" in change else (0, 0, -0.4)
    angles = np.zeros(3, np.float32)
    rotation = np.eye(3, dtype=np.float32)[None]
    upright = replace(face, kp=kp, angles_deg=angles, motion=replace(face.motion, rotation=rotation))
    nothing = replace(networks, stitching=lambda rows: np.zeros((len(rows), 65), np.float32))
    rest = neural_motion.driving_keypoints(upright, still(), nothing, None)
    moved = neural_motion.driving_keypoints(upright, still(**change), nothing, None)
    assert sign * (moved - rest)[0, 0, axis] > 0.02


def test_open_eyes_stay_as_in_the_portrait_and_closing_moves_the_eye_keypoints(prepared: Any) -> None:
    face, networks = face_and_networks(prepared)
    nothing = replace(networks, stitching=lambda rows: np.zeros((len(rows), 65), np.float32))
    rest = neural_motion.driving_keypoints(face, still(), nothing, None)
    np.testing.assert_allclose(rest, face.x_s, atol=1e-5)
    closed = neural_motion.driving_keypoints(face, still(left_open=0.0, right_open=0.0), nothing, None)
    assert np.abs(closed - rest)[0, list(EYE_KEYPOINTS)].max() > 1e-3


def test_expressions_move_the_keypoints_of_the_mouth_or_brows() -> None:
    happy = neural_motion.expression_offsets(still(expression=Expression.HAPPY, expression_weight=1.0))
    assert happy[0, 14, 1] < 0  # corners of the mouth rise
    surprised = neural_motion.expression_offsets(still(expression=Expression.SURPRISED, expression_weight=1.0))
    assert np.abs(surprised[0, [1, 2]]).max() > 0.01
    none = neural_motion.expression_offsets(still(expression=Expression.HAPPY))
    assert not none.any()


def test_landmarks_follow_a_rigid_motion_below_a_tenth_of_a_pixel() -> None:
    generator = np.random.default_rng(2)
    x_s = generator.uniform(-0.5, 0.5, (1, 21, 3)).astype(np.float32)
    mesh = synthetic_mesh((240, 220), 200)
    to_crop = np.array([[1.1, 0.1, 12], [-0.1, 1.1, -7], [0, 0, 1]], np.float32)
    motion = LandmarkMotion(mesh, to_crop, x_s)
    shift_units = np.array([0.05, -0.02], np.float32)
    x_d = x_s.copy()
    x_d[:, :, :2] += shift_units
    track = motion.track(x_d, np.ones(1, np.float32), lips_closed=False)
    expected = np.linalg.inv(to_crop[:2, :2]) @ (shift_units * 511 / 2)
    np.testing.assert_allclose(track.points_px[0] - mesh[:, :2], np.tile(expected, (478, 1)), atol=0.1)
    assert len(RIGID_KEYPOINTS) >= 6


def test_lids_and_lips_of_the_track_close_with_the_frames() -> None:
    x_s = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 21, 3)).astype(np.float32)
    mesh = synthetic_mesh((240, 220), 200, mouth_gap=0.06)
    motion = LandmarkMotion(mesh, np.eye(3, dtype=np.float32), x_s)
    closed = motion.track(x_s, np.zeros(1, np.float32), lips_closed=True).points_px[0]
    np.testing.assert_allclose(closed[159], closed[145], atol=1e-3)
    np.testing.assert_allclose(closed[13], closed[14], atol=1e-3)
    rest = motion.track(x_s, np.ones(1, np.float32), lips_closed=False).points_px[0]
    np.testing.assert_allclose(rest, mesh[:, :2], atol=1e-3)
