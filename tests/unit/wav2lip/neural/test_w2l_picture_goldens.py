"""Boxes, crops, masking and pasting equal the published ones; ours keeps the mouth and the rest of the face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_wav2lip import boxes, compositing, detection, faces, masking

TO_EDGES = [2, 0, 3, 1]  # the goldens keep boxes as y1, y2, x1, x2


@pytest.mark.parametrize("count", [1, 3, 5, 9, 12])
def test_official_smoothing_equals_the_golden_with_its_oddities(goldens, count):
    smooth = boxes.official_smooth_boxes(goldens[f"smooth.n{count}.in"])
    np.testing.assert_array_equal(smooth, goldens[f"smooth.n{count}.out"])


def test_padding_and_official_smoothing_equal_the_goldens(goldens):
    padded = boxes.pad_boxes(goldens["rects_x1y1x2y2"], boxes.Pads(), (160, 200))
    np.testing.assert_array_equal(padded, goldens["nosmooth_y1y2x1x2"][:, TO_EDGES])
    np.testing.assert_array_equal(boxes.official_smooth_boxes(padded), goldens["smoothed_y1y2x1x2"][:, TO_EDGES])


def test_padding_never_leaves_the_picture():
    padded = boxes.pad_boxes(np.array([[2, 3, 98, 59]]), boxes.Pads(top=5, bottom=5, left=5, right=5), (60, 100))
    assert padded.tolist() == [[0, 0, 100, 60]]


@given(count=st.integers(0, 20), step=st.floats(-5, 5))
@settings(max_examples=60, deadline=None)
def test_our_smoothing_does_not_shift_a_steady_motion_of_any_length(count, step):
    moving = np.arange(count)[:, None] * step + np.array([[10.0, 20.0, 110.0, 140.0]])
    np.testing.assert_allclose(boxes.smooth_boxes(moving), moving, atol=1e-9)


def test_our_smoothing_averages_five_frames():
    spike = np.zeros((9, 4))
    spike[4] = 5
    assert boxes.smooth_boxes(spike)[:, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_network_input_equals_the_golden(goldens):
    frames = goldens["frames_bgr_u8"]
    edges = goldens["datagen.coords_y1y2x1x2"][:, TO_EDGES]
    chosen = [frames[i % len(frames)] for i in range(len(edges))]
    pictures = masking.with_hidden_half(faces.crop_faces(chosen, edges))
    expected = np.concatenate((goldens["datagen.0.img_u8"], goldens["datagen.1.img_u8"]))
    difference = np.abs(pictures.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.005


def test_hard_paste_equals_the_golden(goldens):
    for i in range(2):
        face = goldens["gen.0.out"][i].transpose(1, 2, 0)
        box = tuple(goldens["datagen.coords_y1y2x1x2"][i, TO_EDGES])
        pasted = compositing.paste_square(goldens["frames_bgr_u8"][i], face, box)
        difference = np.abs(pasted.astype(int) - goldens[f"composited.0.{i}_u8"])
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.005


def test_a_shifted_or_swapped_paste_would_be_noticed(goldens):
    face = goldens["gen.0.out"][0].transpose(1, 2, 0)
    left, top, right, bottom = goldens["datagen.coords_y1y2x1x2"][0, TO_EDGES]
    golden = goldens["composited.0.0_u8"].astype(int)
    frame = goldens["frames_bgr_u8"][0]
    for wrong_face, wrong_box in [
        (face[:, :, ::-1], (left, top, right, bottom)),
        (face, (left + 1, top, right + 1, bottom)),
        (face, (left, top, right, bottom - 1)),
    ]:
        wrong = compositing.paste_square(frame, wrong_face, wrong_box).astype(int)
        assert (np.abs(wrong - golden) > 1).mean() > 0.005


BOXES = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(30, 160), st.integers(30, 160)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(box=BOXES, mouth=st.tuples(*[st.floats(0.0, 1.0)] * 4))
@settings(max_examples=150, deadline=None)
def test_the_feather_never_weakens_the_mouth_wherever_it_is_in_the_box(box, mouth):
    left, top, right, bottom = box
    x = sorted(round(left + part * (right - left)) for part in mouth[:2])
    y = sorted(round(top + part * (bottom - top)) for part in mouth[2:])
    weight = compositing.FeatheredPaste().weights(box, (x[0], y[0], x[1], y[1]))
    assert weight.shape == (bottom - top, right - left)
    assert (weight[y[0] - top : y[1] - top, x[0] - left : x[1] - left] == 1).all()


def test_the_invented_half_counts_fully_and_the_edges_not_at_all():
    weight = compositing.FeatheredPaste().weights((0, 0, 200, 200))
    assert (weight[100:150, 25:175] == 1).all()
    assert (weight[100:180, 70:130] == 1).all()  # down to the chin
    assert max(weight[-20:, :20].max(), weight[-20:, -20:].max()) == 0  # background and collar beside the jaw
    assert weight[:60].max() == 0  # eyes and forehead keep the frame's own pixels
    assert max(weight[:, 0].max(), weight[:, -1].max(), weight[-1].max()) < 0.02


@pytest.mark.parametrize("side", [60, 96, 230])
def test_pasting_the_face_itself_changes_neither_colour_nor_brightness(side):
    gradient = np.linspace(0, 1, 320)
    frame = np.stack(
        (
            60 + 60 * np.outer(gradient, gradient),
            90 + 50 * np.outer(gradient, 1 - gradient),
            200 - 40 * np.outer(1 - gradient, gradient),
        ),
        axis=2,
    ).astype(np.uint8)
    box = (40, 50, 40 + side, 50 + side)
    face = faces.crop_faces([frame], np.array([box]))[0].astype(np.float32) / 255
    pasted = frame.copy()
    compositing.FeatheredPaste().paste(pasted, face, box)
    region = np.s_[50 : 50 + side, 40 : 40 + side]
    colour_shift = pasted[region].mean(axis=(0, 1)) - frame[region].mean(axis=(0, 1))
    assert np.abs(colour_shift).max() < 0.5  # of 255, for each of B, G, R: no blue, no brown lips
    outside = np.ones(frame.shape[:2], bool)
    outside[region] = False
    np.testing.assert_array_equal(pasted[outside], frame[outside])


def test_detector_finds_the_golden_faces(goldens):
    maps = [goldens[f"s3fd.raw{i}"] for i in range(12)]
    for picture in range(2):
        found = detection.detections(maps, picture)
        expected = goldens[f"s3fd.detections{picture}"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=5e-5, atol=1e-3)
        assert detection.whole_box(found[0]) == tuple(goldens["s3fd.first_box_int"][picture])


@pytest.mark.parametrize(
    ("constant", "wrong"),
    [("CENTRE_VARIANCE", 0.2), ("SIZE_VARIANCE", 0.1), ("ANCHOR_STRIDES", 2), ("OVERLAP_LIMIT", 0.5)],
)
def test_a_wrong_detector_constant_fails_the_golden(goldens, monkeypatch, constant, wrong):
    monkeypatch.setattr(detection, constant, wrong)
    found = detection.detections([goldens[f"s3fd.raw{i}"] for i in range(12)], 0)
    expected = goldens["s3fd.detections0"]
    assert found.shape != expected.shape or np.abs(found - expected).max() > 0.01


def test_no_face_gives_no_boxes():
    empty = [np.full((1, 2 if i % 2 == 0 else 4, 4, 4), 0, np.float32) for i in range(12)]
    for scores in empty[::2]:
        scores[:, 0] = 20
    assert detection.detections(empty, 0).shape == (0, 5)
