"""The preview says where the face is, before anything is made of the photo."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.web_page import PORTRAIT, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("browser")]

BOX = {"left_px": 128, "top_px": 128, "width_px": 256, "height_px": 256}
ANSWER = {"width_px": 512, "height_px": 512, "faces": [BOX], "selected": 0, "flaws": [], "warnings": []}
SAYS = "document.querySelector('#face-note').textContent.includes({!r})"


def photo(folder: Path, name: str, *parts: np.ndarray) -> Path:
    path = folder / f"{name}.jpg"
    cv2.imwrite(str(path), np.hstack(parts))
    return path


@pytest.fixture
def portrait() -> np.ndarray:
    return cv2.resize(cv2.imread(str(PORTRAIT)), (512, 512), interpolation=cv2.INTER_AREA)


def test_a_face_is_framed_and_announced_in_the_language_of_the_page(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.set_input_files("#image", PORTRAIT)
    wait_until(page, SAYS.format("The face was found"))
    page.wait_for_selector("#face-box:not([hidden])")
    face, picture = page.locator("#face-box").bounding_box(), page.locator("#preview-img").bounding_box()
    assert 0.1 < face["width"] / picture["width"] < 0.9
    assert picture["x"] < face["x"] < face["x"] + face["width"] < picture["x"] + picture["width"]
    assert page.get_attribute("#face-note", "role") == "status"
    assert "face-note" in page.get_attribute("#image", "aria-describedby")
    page.select_option("#language", "ru")
    assert "Лицо найдено" in page.inner_text("#face-note")


def test_a_photo_without_a_face_with_two_and_with_a_small_one_are_told_apart(
    open_page: Callable[..., Any], tmp_path: Path, portrait: np.ndarray
) -> None:
    page = open_page()
    grey = np.full((512, 512, 3), 128, np.uint8)
    page.set_input_files("#image", photo(tmp_path, "nobody", grey))
    wait_until(page, SAYS.format("no human face"))
    assert page.is_hidden("#face-box")
    page.set_input_files("#image", photo(tmp_path, "two", portrait, cv2.resize(portrait, (512, 512))[:, ::-1]))
    wait_until(page, SAYS.format("There are 2 faces"))
    page.wait_for_selector("#face-box:not([hidden])")
    small = grey.copy()
    small[200:328, 200:328] = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    page.set_input_files("#image", photo(tmp_path, "small", small))
    wait_until(page, SAYS.format("very small"))
    assert "bad" in page.get_attribute("#face-note", "class")


def test_the_answer_about_an_earlier_photo_is_not_shown_with_a_later_one(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page()
    nobody = photo(tmp_path, "nobody", np.full((512, 512, 3), 128, np.uint8))
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/v1/portraits/inspect", hold)
    page.set_input_files("#image", PORTRAIT)
    wait_until(page, SAYS.format("Looking for the face"))
    while not held:
        page.wait_for_timeout(20)
    page.unroute("**/v1/portraits/inspect")
    page.set_input_files("#image", nobody)
    wait_until(page, SAYS.format("no human face"))
    with contextlib.suppress(Exception):  # of Playwright: the page gave the request up
        held[0].fulfill(json=ANSWER)
    page.wait_for_timeout(300)
    assert page.evaluate(SAYS.format("no human face"))
    assert page.is_hidden("#face-box")
