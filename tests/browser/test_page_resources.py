"""What the page fetches, holds and leaves on: files of a token's owner, long lists, the microphone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.web_page import PORTRAIT, wait_for_video, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("browser")]

RECORD = """async (turns) => {
    const { Recorder } = await import("/page/recorder.js");
    const counts = [];
    for (let turn = 0; turn < turns; turn++) {
        const recorder = new Recorder();
        await new Promise((heard, failed) => recorder.start(heard).catch(failed));
        const { file } = await recorder.stop();
        counts.push((file.size - 44) / 2);
    }
    return counts;
}"""
PLAYS = """(url) => new Promise((told) => {
    const video = document.createElement("video");
    video.onloadedmetadata = () => told(true);
    video.onerror = () => told(false);
    video.src = url;
})"""


def test_with_a_token_a_video_is_fetched_once_and_let_go(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.evaluate("sessionStorage.setItem('visema-token', 'a-token-of-somebody')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_input_files("#image", PORTRAIT)
    page.fill("#text", "Hi.")
    page.click("#go")
    wait_for_video(page)
    page.wait_for_selector("#save-log:visible")
    with page.expect_download() as saved:
        page.click("#save")
    assert saved.value.path().read_bytes()[4:8] == b"ftyp"
    fetched = [url for url in asked if url.endswith("/video") or "/download/" in url]
    assert [url.rsplit("/", 1)[1] for url in fetched] == ["video"]
    with page.expect_download() as saved:
        page.click("#save-log")
    assert saved.value.suggested_filename.endswith(".jsonl")
    assert b"job_report" in saved.value.path().read_bytes()
    first = page.evaluate("video.src")
    assert first.startswith("blob:")
    page.click("nav a[data-view=history]")
    page.click("#jobs li button.primary")
    wait_until(page, f"video.src.startsWith('blob:') && video.src !== '{first}'")
    assert page.evaluate(PLAYS, page.evaluate("video.src"))
    assert not page.evaluate(PLAYS, first)


def test_every_avatar_can_be_reached(open_page: Callable[..., Any], page_url: str) -> None:
    with httpx.Client(base_url=page_url, timeout=60, trust_env=False) as web:
        for name in ("Older", "Newer"):
            image = {"image": (PORTRAIT.name, PORTRAIT.read_bytes())}
            assert web.post("/avatar/upload", files=image, data={"name": name}).status_code < 300
    page = open_page()
    page.route(
        "**/v1/avatars?page_size=60*",
        lambda route: route.continue_(url=route.request.url.replace("page_size=60", "page_size=1")),
    )
    page.click("nav a[data-view=avatars]")
    wait_until(page, "document.querySelector('#avatars li h2')?.textContent === 'Newer'")
    assert page.locator("#avatars li").count() == 1
    page.click("#avatars-more")
    wait_until(page, "document.querySelectorAll('#avatars li').length === 2")
    assert page.locator("#avatars li h2").all_inner_texts() == ["Newer", "Older"]
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#avatars li:nth-child(2) button.danger")
    wait_until(page, "document.querySelectorAll('#avatars li').length === 1")


def test_a_recording_has_its_last_samples(open_page: Callable[..., Any]) -> None:
    counts = open_page().evaluate(RECORD, 5)
    assert all(counts)
    assert any(count % 4096 for count in counts)  # whole pieces only, five times: once in 30 million runs


def test_a_recorder_that_cannot_start_leaves_the_microphone_off(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.evaluate(
        """() => { const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wish) => (window.microphone = await ask(wish));
        AudioWorklet.prototype.addModule = () => Promise.reject(new Error("the connection broke")); }"""
    )
    page.check("input[name=source][value=record]", force=True)
    page.click("#record")
    wait_until(page, "document.querySelector('#audio-note').textContent.includes('cannot be used')")
    assert page.evaluate("window.microphone.getTracks().map((track) => track.readyState)") == ["ended"]


def test_two_clicks_ask_for_the_microphone_once(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.evaluate(
        """() => { window.asked = 0;
        navigator.mediaDevices.getUserMedia = () => { window.asked++; return new Promise(() => {}); }; }"""
    )
    page.check("input[name=source][value=record]", force=True)
    page.dblclick("#record")
    assert page.evaluate("window.asked") == 1
