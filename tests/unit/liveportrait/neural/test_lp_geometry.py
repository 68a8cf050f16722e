"""The mathematics around the networks equals the official code's."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import weights
from visema_liveportrait.geometry import crop, driving, keypoints, paste, pose, ratios, smoothing

MATRIX_ATOL = 1e-3  # pixels


def assert_picture(goldens: Any, key: str, picture: Any, *, share: float = 5e-3) -> None:
    """uint8 pictures: differences of 1 in at most `share` of the values, none larger."""
    if key in goldens:
        expected, got = goldens[key], picture
    else:
        expected, got = goldens[f"{key}@sub"], picture.ravel()[:: int(goldens[f"{key}@stride"])]
        assert tuple(goldens[f"{key}@shape"]) == picture.shape
    difference = np.abs(expected.astype(int) - got.astype(int))
    assert difference.max() <= 1, f"{key}: differs by {difference.max()}"
    assert (difference > 0).mean() <= share, f"{key}: {(difference > 0).mean():.4%} differ"


def test_rotation_matrices_equal_the_golden(math_golden: Any) -> None:
    pitch, yaw, roll = math_golden["rot.deg_pitch_yaw_roll"].T
    np.testing.assert_allclose(pose.rotation_matrices(pitch, yaw, roll), math_golden["rot.R"], atol=1e-6)


def test_head_pose_bins_decode_to_the_golden_degrees(math_golden: Any) -> None:
    degrees = pose.degrees_from_logits(math_golden["headpose.logits"])
    np.testing.assert_allclose(degrees, math_golden["headpose.degree"], atol=1e-4)


def test_pose_logits_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="66"):
        pose.degrees_from_logits(np.zeros((2, 65), np.float32))


def test_keypoint_transform_equals_the_golden(math_golden: Any) -> None:
    golden = {key.removeprefix("tk.in."): math_golden[key] for key in math_golden if key.startswith("tk.in.")}
    rotation = pose.rotation_matrices(*golden["pose_pitch_yaw_roll"].T)
    moved = keypoints.transform_keypoints(
        golden["kp"], keypoints.Motion(rotation, golden["exp"], golden["t"], golden["scale"])
    )
    np.testing.assert_allclose(moved, math_golden["tk.out"], atol=1e-6)


def test_openness_ratios_equal_the_golden(math_golden: Any) -> None:
    landmarks = math_golden["ratio.lmk203"]
    np.testing.assert_allclose(ratios.eye_ratios(landmarks), math_golden["ratio.eye"], atol=1e-6)
    np.testing.assert_allclose(ratios.lip_ratio(landmarks), math_golden["ratio.lip"], atol=1e-6)


def test_openness_of_unknown_landmark_layouts_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        ratios.eye_ratios(np.zeros((1, 68, 2), np.float32))


@pytest.mark.parametrize("case", range(6))
def test_crop_equals_the_golden_for_every_landmark_layout(case: int, math_golden: Any) -> None:
    golden = {key.removeprefix(f"crop.{case}."): math_golden[key] for key in math_golden if f"crop.{case}." in key}
    size, scale, shift, rotate = golden["dsize_scale_vy_rot"]
    box = crop.crop_box(golden["pts"], scale=scale, vertical_shift=shift)
    matrix = crop.crop_matrix(box, int(size), rotate=bool(rotate))
    np.testing.assert_allclose(matrix, golden["M_o2c"], atol=MATRIX_ATOL)
    np.testing.assert_allclose(crop.invert(matrix), golden["M_c2o"], atol=MATRIX_ATOL)
    np.testing.assert_allclose(crop.map_points(golden["pts"], matrix), golden["pt_crop"], atol=MATRIX_ATOL)
    cropped = crop.warp(math_golden["crop.img_u8"], golden["M_o2c"], int(size), int(size))
    assert_picture(math_golden, f"crop.{case}.img_crop_u8", cropped)
    if case == 0:
        assert_picture(math_golden, "crop.0.img_256_area_u8", crop.shrink_to_network(golden["img_crop_u8"]))


def test_paste_back_equals_the_golden(math_golden: Any) -> None:
    picture, matrix = math_golden["crop.img_u8"], math_golden["crop.0.M_c2o"]
    height, width = picture.shape[:2]
    mask = paste.mask_in_picture(math_golden["paste.mask_crop_1ch_u8"], matrix, width, height)
    weights.assert_golden(math_golden, "paste.mask_ori_ch0", mask[:, :, 0], atol=1 / 255)
    pasted = paste.paste_back(math_golden["paste.img_crop_u8"], matrix, picture, mask)
    assert_picture(math_golden, "paste.result_u8", pasted)


def test_soft_mask_is_full_in_the_middle_and_empty_at_the_edge() -> None:
    mask = paste.soft_mask()
    assert mask.shape == (512, 512)
    assert mask[256, 256] == 255
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert edge.max() <= 2
    assert np.abs(mask.astype(int) - mask[::-1]).max() <= 1
    assert np.abs(mask.astype(int) - mask.T).max() <= 1
    assert np.abs(np.diff(mask.astype(int), axis=1)).max() <= 8


def test_driving_boxes_equal_the_golden(math_golden: Any) -> None:
    points = math_golden["bbox.pts"]
    box = crop.crop_box(points, scale=crop.DRIVING_SCALE, vertical_shift=crop.DRIVING_SHIFT)
    np.testing.assert_allclose(box.centre, math_golden["bbox.center"], atol=MATRIX_ATOL)
    np.testing.assert_allclose(box.side_px, math_golden["bbox.size"][0], atol=MATRIX_ATOL)
    np.testing.assert_allclose(box.angle, math_golden["bbox.angle"], atol=1e-6)
    np.testing.assert_allclose(box.corners(rotated=False), math_golden["bbox.bbox"], atol=MATRIX_ATOL)
    np.testing.assert_allclose(box.corners(rotated=True), math_golden["bbox.bbox_rot"], atol=MATRIX_ATOL)
    average = math_golden["bbox.two"].mean(axis=0)
    np.testing.assert_allclose(average, math_golden["bbox.average"], atol=MATRIX_ATOL)
    matrix = crop.fixed_crop_matrix(average)
    np.testing.assert_allclose(matrix, math_golden["bbox.M_o2c"], atol=MATRIX_ATOL)
    np.testing.assert_allclose(crop.map_points(points, matrix), math_golden["bbox.lmk_crop"], atol=MATRIX_ATOL)
    cropped = crop.warp(math_golden["crop.img_u8"], math_golden["bbox.M_o2c"], 512, 512)
    assert_picture(math_golden, "bbox.img_crop_u8", cropped)


def test_driving_box_lies_around_its_landmarks(math_golden: Any) -> None:
    expected = math_golden["bbox.bbox"]
    np.testing.assert_allclose(
        crop.driving_box(math_golden["bbox.pts"]), [*expected.min(axis=0), *expected.max(axis=0)], atol=MATRIX_ATOL
    )


def test_picture_sizes_are_limited_as_in_the_original(math_golden: Any) -> None:
    for size, limited in zip(math_golden["limit.hw_in"], math_golden["limit.hw_out_1280_div2"], strict=True):
        assert crop.limited_size(*map(int, size)) == tuple(limited)


def test_network_input_equals_the_golden(math_golden: Any) -> None:
    got = crop.network_input(math_golden["paste.img_crop_u8"])
    weights.assert_golden(math_golden, "prepare_source.from_img512", got)


def test_expression_friendly_factor_equals_the_golden(math_golden: Any) -> None:
    x_s, x_d = math_golden["mult.kp_source"], math_golden["mult.kp_driving0"]
    factor = np.sqrt(driving.hull_volume(x_s[0])) / np.sqrt(driving.hull_volume(x_d[0]))
    np.testing.assert_allclose(factor, math_golden["mult.value"], rtol=1e-5)


@pytest.mark.parametrize(("variance", "key"), [(3e-7, "smooth.out_obs3e-07"), (1e-5, "smooth.out_obs1e-05")])
def test_smoother_equals_the_golden(variance: float, key: str, math_golden: Any) -> None:
    smoothed = smoothing.smooth(math_golden["smooth.in"], variance)
    np.testing.assert_allclose(smoothed[:, 0], math_golden[key], atol=1e-5)


def test_mesh_and_203_points_of_one_face_give_similar_crops() -> None:
    """The mesh's subset stands for the same extent: an upright synthetic face gives an upright, centred box."""
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = 256
    for index, place in {33: (200, 220), 133: (240, 220), 362: (272, 220), 263: (312, 220)}.items():
        points[index, :2] = place
    for index in (159, 145, 386, 374):
        points[index, :2] = ((220 if index < 200 else 292), 220)
    points[61, :2], points[291, :2] = (230, 320), (282, 320)
    points[234, :2], points[454, :2], points[152, :2], points[10, :2] = (160, 240), (352, 240), (256, 400), (256, 60)
    box = crop.crop_box(points, scale=crop.SOURCE_SCALE, vertical_shift=crop.SOURCE_SHIFT)
    assert box.angle == pytest.approx(0, abs=1e-6)
    assert box.centre[0] == pytest.approx(256, abs=0.5)
    assert box.side_px == pytest.approx(2.3 * 192, abs=1)  # the forehead point at y = 60 does not count


def test_opencv_is_the_release_line_that_the_goldens_hold_for() -> None:
    assert cv2.__version__.startswith("4.")
