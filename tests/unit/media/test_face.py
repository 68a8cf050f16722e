"""Faces in pictures: found at any size, none where there is none, landmarks as they always were."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from visema_media.face import FaceLandmarks, find_faces, person_mask

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT.parent / "shared" / "samples"
GOLDEN = ROOT / "tests" / "golden" / "face_landmarks.npz"
PORTRAITS = (
    "portrait_astronaut_smile.png",
    "portrait_girl.jpg",
    "portrait_lady_small_face.jpg",
    "portrait_mona_lisa.jpg",
    "portrait_pearl_earring_turned.jpg",
)
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here")


def picture(name: str) -> np.ndarray:
    bgr = cv2.imread(str(SAMPLES / name))
    assert bgr is not None
    return bgr


@pytest.mark.parametrize("name", PORTRAITS)
def test_landmarks_are_those_that_were_found_when_the_models_were_chosen(name: str) -> None:
    (face,) = find_faces(picture(name))
    with np.load(GOLDEN) as golden:
        expected = golden[Path(name).stem]
    assert face.points_px.shape == (478, 3)
    error = np.abs(face.points_px - expected).max() / face.height_px
    assert error < 0.01, f"landmarks are off by {100 * error:.2f} % of the face height"


def test_a_cat_is_no_face() -> None:
    assert find_faces(picture("not_a_human_face_cat.jpg")) == ()


def test_a_picture_without_anything_has_no_face() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (400, 600, 3), np.uint8)
    assert find_faces(noise) == ()
    assert find_faces(np.full((64, 64, 3), 128, np.uint8)) == ()


def test_two_faces_are_found_once_each_from_left_to_right() -> None:
    faces = find_faces(picture("two_faces.jpg"))
    assert len(faces) == 2
    assert faces[0].box_px[0] < 300
    assert faces[1].box_px[0] > 600


def test_a_small_face_in_a_40_megapixel_picture_is_found_where_it_is() -> None:
    portrait = picture("portrait_lady_small_face.jpg")
    large = np.full((5000, 8000, 3), 90, np.uint8)
    large[3000:3720, 6000:6720] = portrait
    (face,) = find_faces(large)
    (alone,) = find_faces(portrait)
    shift = np.median(face.points_px[:, :2] - alone.points_px[:, :2], axis=0)
    np.testing.assert_allclose(shift, (6000, 3000), atol=1.0)


def test_a_face_that_fills_the_picture_is_found() -> None:
    portrait = picture("portrait_astronaut_smile.png")
    (face,) = find_faces(np.ascontiguousarray(portrait[70:185, 172:282]))
    assert face.height_px > 80


def test_landmarks_scale_with_the_picture() -> None:
    portrait = picture("portrait_girl.jpg")
    (face,) = find_faces(portrait)
    (double,) = find_faces(cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    expected = face.moved(2.0, 0.0, 0.0).points_px[:, :2]
    assert np.abs(double.points_px[:, :2] - expected).mean() < 0.01 * double.height_px


def test_the_turn_of_a_head_is_estimated_with_its_direction() -> None:
    (straight,) = find_faces(picture("portrait_girl.jpg"))
    (turned,) = find_faces(picture("portrait_pearl_earring_turned.jpg"))
    mirrored_picture = np.ascontiguousarray(picture("portrait_pearl_earring_turned.jpg")[:, ::-1])
    (mirrored,) = find_faces(mirrored_picture)
    assert abs(straight.yaw_degrees) < 8
    assert turned.yaw_degrees < -25
    assert mirrored.yaw_degrees > 25


def test_the_person_covers_the_face_and_not_the_corners() -> None:
    portrait = picture("portrait_girl.jpg")
    mask = person_mask(portrait)
    assert mask.dtype == np.float32
    assert mask.shape == portrait.shape[:2]
    assert 0.0 <= mask.min() <= mask.max() <= 1.0
    assert mask[250, 350] > 0.9
    assert mask[20, 20] < 0.1


def test_threads_may_ask_at_the_same_time() -> None:
    portrait = picture("portrait_girl.jpg")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(find_faces, [portrait] * 8))
    for (face,) in answers:
        np.testing.assert_array_equal(face.points_px, answers[0][0].points_px)


def test_nothing_is_printed_and_nothing_is_loaded_by_the_import(tmp_path: Path) -> None:
    code = (
        "import sys, cv2, visema_media.face as face\n"
        "assert not any(name.startswith('mediapipe') for name in sys.modules)\n"
        "face.warm_up()\n"
        f"face.find_faces(cv2.imread({str(SAMPLES / PORTRAITS[1])!r}))\n"
        f"face.person_mask(cv2.imread({str(SAMPLES / PORTRAITS[1])!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == ""
    assert done.stderr == ""


def test_an_open_eye_and_a_closed_one_are_told_apart() -> None:
    (face,) = find_faces(picture("portrait_girl.jpg"))
    assert face.eye_opening > 0.2
    points = face.points_px.copy()
    points[[159, 386]] = points[[145, 374]]
    assert FaceLandmarks(points, 1.0).eye_opening < 0.05
