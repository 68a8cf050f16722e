"""From pictures to decoded frames: the official pipeline end to end, in ten settings, and our procedural motion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import weights
from visema_liveportrait.geometry import crop, driving, keypoints, paste, pose, ratios, retargeting

KEYPOINT_ATOL = 1e-5
IMAGE_ATOL = 1e-3  # decoded, in 0..1
pytestmark = pytest.mark.neural


def perceptron(net: Any) -> retargeting.Perceptron:
    def run(rows: Any) -> Any:
        with torch.inference_mode():
            return net(torch.from_numpy(rows)).numpy()

    return run


@pytest.fixture(scope="module")
def perceptrons(network: Any) -> driving.Networks:
    return driving.Networks(perceptron(network("stitching")), perceptron(network("eye")), perceptron(network("lip")))


@pytest.fixture(scope="module")
def source(chain_golden: Any) -> keypoints.Motion:
    info = {key: chain_golden[f"src.kp_info.{key}"] for key in ("pitch", "yaw", "roll", "t", "exp", "scale")}
    rotation = pose.rotation_matrices(info["pitch"], info["yaw"], info["roll"])
    return keypoints.Motion(rotation, info["exp"], info["t"], info["scale"])


@pytest.fixture(scope="module")
def template(chain_golden: Any) -> keypoints.Motion:
    return keypoints.Motion(*(chain_golden[f"tpl.motion.{key}"] for key in ("R", "exp", "t", "scale")))


def openness(chain_golden: Any, *, of_source: bool) -> driving.Openness:
    if of_source:
        return driving.Openness(chain_golden["src.eye_ratio"], chain_golden["src.lip_ratio"])
    return driving.Openness(chain_golden["drv.c_eyes"], chain_golden["drv.c_lip"])


def keypoints_of_case(
    case: str, golden: Any, source: keypoints.Motion, template: keypoints.Motion, nets: Any
) -> np.ndarray:
    settings = json.loads(str(golden["cases_json"]))[case]
    return driving.drive_keypoints(
        golden["src.kp_info.kp"],
        source,
        template,
        source_openness=openness(golden, of_source=True),
        driving_openness=openness(golden, of_source=False),
        options=driving.DrivingOptions(
            relative=settings["flag_relative_motion"],
            region=driving.Region(settings["animation_region"]),
            expression_friendly=settings["driving_option"] == "expression-friendly",
            stitching=settings["flag_stitching"],
            normalise_lips=settings["flag_normalize_lip"],
            eye_retargeting=settings["flag_eye_retargeting"],
            lip_retargeting=settings["flag_lip_retargeting"],
            multiplier=settings["driving_multiplier"],
        ),
        networks=nets,
    )


CASES = [
    "A_cli_default",
    "B_pose_friendly_normlip",
    "C_eye_lip_retarget",
    "D_absolute_mult1.3",
    "E_nostitch_normlip_exp",
    "F_lip",
    "G_eyes",
    "H_pose",
    "I_exprfriendly_normlip_mult0.8",
    "J_abs_eye_retarget_lip",
]


def test_source_crop_motion_and_features_equal_the_golden(chain_golden: Any, network: Any) -> None:
    golden = chain_golden
    np.testing.assert_allclose(ratios.eye_ratios(golden["src.lmk203"][None]), golden["src.eye_ratio"], atol=1e-6)
    np.testing.assert_allclose(ratios.lip_ratio(golden["src.lmk203"][None]), golden["src.lip_ratio"], atol=1e-6)
    box = crop.crop_box(golden["src.lmk106"], scale=crop.SOURCE_SCALE, vertical_shift=crop.SOURCE_SHIFT)
    matrix = crop.crop_matrix(box, crop.SOURCE_CROP_PX)
    np.testing.assert_allclose(crop.invert(matrix), golden["src.M_c2o"], atol=1e-3)

    picture = torch.from_numpy(crop.network_input(golden["src.img_crop_256_u8"]))
    with torch.inference_mode():
        motion = {key: value.numpy() for key, value in network("motion_extractor")(picture).items()}
        features = network("appearance_feature_extractor")(picture)
    for angle in ("pitch", "yaw", "roll"):
        degrees = pose.degrees_from_logits(motion[angle])
        np.testing.assert_allclose(degrees, golden[f"src.kp_info.{angle}"][0], atol=1e-3)
    for key in ("kp", "exp"):
        np.testing.assert_allclose(motion[key].reshape(1, 21, 3), golden[f"src.kp_info.{key}"], atol=1e-5)
    weights.assert_golden(golden, "src.f_s", features.numpy())


def test_driving_pictures_give_the_golden_motion(chain_golden: Any, network: Any) -> None:
    golden = chain_golden
    pictures = np.concatenate([crop.network_input(picture) for picture in golden["drv.images_u8"]])
    with torch.inference_mode():
        raw = {key: value.numpy() for key, value in network("motion_extractor")(torch.from_numpy(pictures)).items()}
    rotation = pose.rotation_matrices(*(pose.degrees_from_logits(raw[angle]) for angle in ("pitch", "yaw", "roll")))
    np.testing.assert_allclose(rotation, golden["drv.motion.R"], atol=1e-5)
    motion = keypoints.Motion(rotation, raw["exp"].reshape(-1, 21, 3), raw["t"], raw["scale"])
    moved = keypoints.transform_keypoints(raw["kp"].reshape(-1, 21, 3), motion)
    np.testing.assert_allclose(moved, golden["drv.motion.x_s"], atol=KEYPOINT_ATOL)


@pytest.mark.parametrize("case", CASES)
def test_driving_keypoints_equal_the_golden_in_every_setting(
    case: str, chain_golden: Any, source: Any, template: Any, perceptrons: Any
) -> None:
    got = keypoints_of_case(case, chain_golden, source, template, perceptrons)
    np.testing.assert_allclose(got, chain_golden[f"{case}.x_d"], atol=KEYPOINT_ATOL)


def test_decoded_and_pasted_frame_equals_the_golden(chain_golden: Any, math_golden: Any, network: Any) -> None:
    golden, case = chain_golden, "A_cli_default"
    x_d = golden[f"{case}.x_d"][1:2]
    picture = torch.from_numpy(crop.network_input(golden["src.img_crop_256_u8"]))
    with torch.inference_mode():
        features = network("appearance_feature_extractor")(picture)
        warped = network("warping_module")(features, torch.from_numpy(x_d), torch.from_numpy(golden["src.x_s"]))
        decoded = network("spade_generator")(warped["out"])
    np.testing.assert_allclose(warped["occlusion_map"].numpy(), golden[f"{case}.occlusion1"], atol=IMAGE_ATOL)
    weights.assert_golden(golden, f"{case}.out1", decoded.numpy(), atol=IMAGE_ATOL)

    frame = (decoded[0].permute(1, 2, 0).clamp(0, 1) * 255).to(torch.uint8).numpy()
    difference = np.abs(frame.astype(int) - golden[f"{case}.I_p1_u8"].astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 5e-3

    height, width = golden["src.img_rgb_u8"].shape[:2]
    mask = paste.mask_in_picture(math_golden["paste.mask_crop_1ch_u8"], golden["src.M_c2o"], width, height)
    pasted = paste.paste_back(golden[f"{case}.I_p1_u8"], golden["src.M_c2o"], golden["src.img_rgb_u8"], mask)
    difference = np.abs(pasted.astype(int) - golden[f"{case}.pasted1_u8"].astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 5e-3


def test_procedural_motion_equals_the_golden(chain_golden: Any, source: Any, perceptrons: Any) -> None:
    """Pose and openness set by numbers, without a driving face: what the engine does."""
    golden = chain_golden
    rows = golden["proc.dpitch_dyaw_droll_eye_lip_dtx_dty_kscale"]
    angles = [golden[f"src.kp_info.{axis}"][0] + rows[:, index] for index, axis in enumerate(("pitch", "yaw", "roll"))]
    driven = pose.rotation_matrices(*angles)
    rotation = (driven @ source.rotation.transpose(0, 2, 1)) @ source.rotation
    t = source.t + np.stack([rows[:, 5], rows[:, 6], np.zeros(len(rows))], axis=1)
    motion = keypoints.Motion(rotation, source.exp, t.astype(np.float32), source.scale * rows[:, 7:8])
    x_s = golden["src.x_s"]
    x_d = keypoints.transform_keypoints(golden["src.kp_info.kp"], motion)
    x_d = x_d + retargeting.openness_offsets(perceptrons.eyes, x_s, golden["src.eye_ratio"], rows[:, 3])
    x_d = x_d + retargeting.openness_offsets(perceptrons.lips, x_s, golden["src.lip_ratio"], rows[:, 4])
    np.testing.assert_allclose(
        retargeting.stitch(perceptrons.stitching, x_s, x_d), golden["proc.x_d"], atol=KEYPOINT_ATOL
    )


@pytest.mark.parametrize("target", ["0", "0.1", "0.2", "0.3", "0.4"])
def test_openness_offsets_equal_the_golden(target: str, chain_golden: Any, perceptrons: Any) -> None:
    wanted = np.array([float(target)], np.float32)
    for part, net in (("eye", perceptrons.eyes), ("lip", perceptrons.lips)):
        offsets = retargeting.openness_offsets(net, chain_golden["src.x_s"], chain_golden[f"src.{part}_ratio"], wanted)
        np.testing.assert_allclose(offsets, chain_golden[f"proc.{part}_delta_target{target}"], atol=1e-6)
