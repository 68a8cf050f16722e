"""Frames of a portrait: square around the face, or the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_media.face import FaceLandmarks
from visema_media.framing import Framing, frame_portrait

SIZES = st.integers(128, 512).map(lambda half: 2 * half)


def face_at(left: float, top: float, width: float, height: float, yaw_depth: float = 0.0) -> FaceLandmarks:
    """A mesh that fills a box; only the points that framing looks at are at meaningful places."""
    points = np.zeros((478, 3), np.float32)
    points[:, 0], points[:, 1] = left + width / 2, top + height / 2
    points[10, :2], points[152, :2] = (left + width / 2, top), (left + width / 2, top + height)
    points[234], points[454] = (left, top + height / 2, 0.0), (left + width, top + height / 2, yaw_depth)
    for eye, centre in (((33, 133, 159, 145), 0.3), ((362, 263, 386, 374), 0.7)):
        x, y = left + centre * width, top + 0.4 * height
        for index, (dx, dy) in zip(eye, ((-0.1, 0), (0.1, 0), (0, -0.03), (0, 0.03)), strict=True):
            points[index, :2] = x + dx * width, y + dy * height
    return FaceLandmarks(points, 0.9)


def gradient(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)


@settings(max_examples=80, deadline=None)
@given(
    sides=st.tuples(st.integers(120, 900), st.integers(120, 900)),
    corner=st.tuples(st.floats(-0.2, 0.9), st.floats(-0.2, 0.9)),
    share=st.floats(0.1, 1.2),
    framing=st.sampled_from(Framing),
    size=SIZES,
)
def test_every_face_gets_a_frame_of_the_right_size_that_shows_it(
    *, sides: tuple[int, int], corner: tuple[float, float], share: float, framing: Framing, size: int
) -> None:
    (width, height), (left, top) = sides, corner
    face = face_at(left * width, top * height, share * min(width, height) * 0.8, share * min(width, height))
    framed = frame_portrait(gradient(width, height), face, framing, size)
    shape = framed.bgr.shape
    assert framed.bgr.dtype == np.uint8
    assert max(shape[:2]) == size
    assert shape[0] % 2 == shape[1] % 2 == 0
    if framing is not Framing.FULL_PICTURE:
        assert shape == (size, size, 3)
        assert framed.face.box_px[3] <= 0.81 * size


def test_a_bust_shows_the_face_at_42_percent_and_keeps_the_pixels_of_the_picture() -> None:
    picture = gradient(1000, 1000)
    framed = frame_portrait(picture, face_at(400, 300, 180, 210), Framing.BUST, 500)
    left, _, width, height = framed.face.box_px
    assert height / 500 == pytest.approx(0.42, abs=0.01)
    assert left + width / 2 == pytest.approx(250, abs=2)
    np.testing.assert_allclose(framed.bgr[250, 250], picture[415 + 5, 490], atol=6)


def test_landmarks_point_at_the_same_place_of_the_picture() -> None:
    picture = np.zeros((800, 1200, 3), np.uint8)
    picture[395:405, 595:605] = 255
    face = face_at(500, 280, 200, 240)
    face.points_px[1, :2] = 599.5, 399.5
    for framing in Framing:
        framed = frame_portrait(picture, face, framing, 600)
        y, x = np.mgrid[0 : framed.bgr.shape[0], 0 : framed.bgr.shape[1]]
        weight = framed.bgr[..., 0].astype(float)
        centre = (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()
        np.testing.assert_allclose(framed.face.points_px[1, :2], centre, atol=0.1)


def test_the_whole_picture_keeps_its_shape() -> None:
    framed = frame_portrait(gradient(720, 1280), face_at(300, 300, 100, 120), Framing.FULL_PICTURE, 512)
    assert framed.bgr.shape == (512, 288, 3)


def test_a_picture_too_narrow_for_its_face_is_continued_without_a_hard_edge() -> None:
    framed = frame_portrait(gradient(200, 600), face_at(5, 200, 190, 230), Framing.BUST, 400)
    rows = framed.bgr[200].astype(int)
    assert np.abs(np.diff(rows[:, 1])).max() < 40
    assert framed.face.box_px[3] <= 0.81 * 400


@pytest.mark.parametrize(
    ("face", "word"),
    [
        (face_at(-30, 100, 200, 240), "cut"),
        (face_at(100, 100, 40, 50), "pixels high"),
        (face_at(100, 100, 200, 240, yaw_depth=200.0), "turned"),
    ],
)
def test_a_person_is_told_what_makes_a_face_hard(face: FaceLandmarks, word: str) -> None:
    framed = frame_portrait(gradient(600, 600), face, Framing.BUST, 256)
    assert any(word in warning for warning in framed.warnings)


def test_a_good_portrait_gets_no_warning() -> None:
    assert frame_portrait(gradient(600, 600), face_at(200, 150, 180, 210), Framing.BUST, 256).warnings == ()


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        frame_portrait(gradient(100, 100), face_at(20, 20, 50, 60), Framing.BUST, 255)
