"""What a person does with the web page, in a real browser, over the real stack."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from support.web_page import PHONE, PORTRAIT, SPEECH, choose_speech, wait_for_video, wait_until
from visema_media.audio import read_wav, write_wav

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("browser")]


def test_photo_and_speech_become_a_video_that_plays_and_downloads(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page()
    page.set_input_files("#image", PORTRAIT)
    choose_speech(page)
    page.click("#go")
    page.wait_for_selector("#stages li:nth-child(3) progress")
    wait_until(page, "document.querySelector('#target').textContent === 'target 3.5 s'")
    wait_for_video(page)
    wait_until(page, "video.currentTime > 0.3")
    assert page.evaluate("video.duration") == pytest.approx(5.0, abs=0.1)
    varied = page.evaluate(
        """() => { const c = document.createElement('canvas'); c.width = c.height = 64;
        const d = c.getContext('2d'); d.drawImage(video, 0, 0, 64, 64);
        return new Set(d.getImageData(0, 0, 64, 64).data).size; }"""
    )
    assert varied > 50  # a decoded picture, not a black one
    assert "built-in engine" in page.inner_text("#engine-badge")
    assert re.match(r"Quality: (9\d|100) of 100, very good\. Lips and sound are \d+ ms apart\.", quality_of(page))
    page.select_option("#language", "ru")
    assert quality_of(page).startswith("Качество: ")
    page.select_option("#language", "en")
    with page.expect_download() as download:
        page.click("#save")
    target = tmp_path / "video.mp4"
    download.value.save_as(target)
    with av.open(target) as container:
        assert sum(1 for _ in container.decode(video=0)) == 125
    page.click("nav a[data-view=history]")
    page.wait_for_selector("#jobs li img[src]")
    page.click("#jobs li button.primary")
    wait_for_video(page)


def quality_of(page: Any) -> str:
    return str(page.inner_text("#quality"))


def test_a_faulty_recording_is_told_in_the_language_of_the_page(open_page: Callable[..., Any], tmp_path: Path) -> None:
    quiet, rate_hz = read_wav(SPEECH.read_bytes())
    (tmp_path / "quiet.wav").write_bytes(write_wav(quiet * 0.01, rate_hz))
    page = open_page()
    page.set_input_files("#image", PORTRAIT)
    choose_speech(page, tmp_path / "quiet.wav")
    page.click("#go")
    wait_for_video(page)
    assert page.locator("#warnings li").all_inner_texts() == ["The recording is very quiet."]
    page.select_option("#language", "ru")
    assert page.locator("#warnings li").all_inner_texts() == ["Запись очень тихая."]


def test_a_wrong_file_is_explained_in_words_and_in_russian(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page(locale="ru-RU")
    assert page.inner_text("h1:visible") == "Оживите портрет"
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    page.set_input_files("#image", text)
    assert "не принимаются" in page.inner_text("#image-note")
    fake = tmp_path / "fake.jpg"
    fake.write_bytes(b"\xff\xd8\xff not really")
    page.set_input_files("#image", fake)
    wait_until(page, "document.querySelector('#image-note').textContent.includes('не читается')")
    page.set_input_files("#image", PORTRAIT)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF????")
    choose_speech(page, broken)
    page.click("#go")
    page.wait_for_selector("#problem:not([hidden])")
    assert "не принимаются" in page.inner_text("#problem")
    page.select_option("#language", "en")
    assert page.inner_text("h1:visible") == "Make a portrait speak"
    assert page.evaluate("document.documentElement.lang") == "en"


def test_whether_the_head_follows_the_speech_is_said_with_videos_and_never_with_avatars(
    open_page: Callable[..., Any],
) -> None:
    page = open_page()
    sent = """kind => import("/page/settings.js").then(({ addTo }) => {
        const form = new FormData();
        addTo(form, kind);
        return [...form.entries()];
    })"""
    page.click("#settings summary")
    assert page.evaluate(sent, "video") == []
    page.fill("#set-speech_motion", "1")
    assert page.get_attribute("#set-speech_motion", "aria-valuetext") == "natural"
    for kind, expected in (
        ("video", [["speech_motion", "1"]]),
        ("avatarVideo", [["speech_motion", "1"]]),
        ("avatar", []),
    ):
        assert page.evaluate(sent, kind) == expected


def test_a_job_can_be_stopped(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.set_input_files("#image", PORTRAIT)
    choose_speech(page)
    page.click("#settings summary")
    page.select_option("#set-size_px", "1024")
    page.click("#go")
    page.wait_for_selector("#cancel:visible")
    wait_until(page, "document.querySelector('#state').textContent.startsWith('Working')")
    page.click("#cancel")
    wait_until(page, "document.querySelector('#state').textContent === 'Stopped.'")
    assert page.is_enabled("#go")
    assert page.is_hidden("#video")


def test_an_avatar_shows_its_face_and_is_used_from_the_gallery_on_a_phone(open_page: Callable[..., Any]) -> None:
    page = open_page(**PHONE)
    page.set_input_files("#image", PORTRAIT)
    page.fill("#avatar-name", "Ann & <b>Co</b>")
    page.click("#keep")
    wait_until(page, "document.querySelector('#image-note').textContent.includes('is an avatar now')")
    page.wait_for_selector("#face-box:not([hidden])")
    face, picture = page.locator("#face-box").bounding_box(), page.locator("#preview-img").bounding_box()
    assert 0.05 < face["width"] / picture["width"] < 0.6
    page.goto(page.url.split("#")[0] + "#avatars")
    page.wait_for_selector("#avatars li h2")
    assert page.inner_text("#avatars li h2") == "Ann & <b>Co</b>"
    for view in ("create", "avatars", "history"):
        page.goto(page.url.split("#")[0] + f"#{view}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    page.goto(page.url.split("#")[0] + "#avatars")
    page.click("#avatars li button.primary")
    page.wait_for_selector("#face-box:not([hidden])")
    page.fill("#text", "Hello from a phone.")
    page.click("#go")
    wait_for_video(page)


def test_the_microphone_is_recorded_as_wav(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.set_input_files("#image", PORTRAIT)
    page.check("input[name=source][value=record]", force=True)
    page.click("#record")
    wait_until(page, "document.querySelector('#clock').textContent >= '0:01'")
    page.click("#record")
    page.wait_for_selector("#listen:not([hidden])")
    wait_until(page, "listen.duration > 0.5")  # the browser reads it as audio; the stages do below
    page.click("#go")
    wait_for_video(page)


def test_everything_works_with_the_keyboard_alone(open_page: Callable[..., Any]) -> None:
    page = open_page()

    def tab_to(target: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("target => document.activeElement?.matches(target)", target):
                return
        raise AssertionError(f"{target} cannot be reached")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("#image")
    outline = page.evaluate("getComputedStyle(document.querySelector('#drop-image')).outlineStyle")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(PORTRAIT)
    tab_to("input[name=source]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    tab_to("#text")
    page.keyboard.type("Hi there.")
    tab_to("#settings summary")
    page.keyboard.press("Enter")
    tab_to("#set-head_motion")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#set-head_motion", "aria-valuetext")
    tab_to("#go")
    page.keyboard.press("Enter")
    wait_for_video(page)
    assert outline == "solid"


def test_the_interactive_documentation_opens_without_other_hosts(browser: Any, page_url: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_url + "/api")
    page.wait_for_selector(".opblock-summary-path")
    assert all(url.startswith((page_url, "data:")) for url in asked)
    page.close()
