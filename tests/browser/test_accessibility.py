"""axe-core looks at every view of the web page, in both languages, on a phone and on a desktop, light and dark."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.web_page import PHONE, PORTRAIT, SPEECH, choose_speech, wait_for_video, wait_until

# Best practices are in as well; the size of targets is off unless asked for.
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": PHONE | {"color_scheme": "dark"},
}

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def furnished_url(page_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of somebody with an avatar and a video."""
    speech = tmp_path_factory.mktemp("speech") / "short.wav"
    with wave.open(str(SPEECH)) as source, wave.open(str(speech), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(source.getframerate() // 2))
    image = {"image": (PORTRAIT.name, PORTRAIT.read_bytes())}
    with httpx.Client(base_url=page_url, timeout=60, trust_env=False) as web:
        assert web.post("/avatar/upload", files=image, data={"name": "Anna"}).status_code < 300
        job = web.post("/generate", files=image | {"audio": ("short.wav", speech.read_bytes())}).json()["session_id"]
        web.get(f"/v1/jobs/{job}/events").raise_for_status()  # ends with the job
        assert web.get(f"/status/{job}").json()["status"] == "completed"
    return page_url


def barriers(page: Any) -> list[str]:
    """What axe-core finds on the page as it is now: impact, rule, and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, options=OPTIONS).response
    assert not [rule["id"] for rule in found["violations"] if rule["impact"] is None]
    return [
        f"{rule['impact']}: {rule['id']} at {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
def test_axe_finds_no_barriers(
    open_page: Callable[..., Any], furnished_url: str, tmp_path: Path, screen: str, locale: str
) -> None:
    page = open_page(locale=locale, **SCREENS[screen])
    found = {"empty": barriers(page)}
    page.set_input_files("#image", PORTRAIT)
    page.click("#settings summary")
    for source in ("text", "file", "record"):
        page.check(f"input[name=source][value={source}]", force=True)
        found[source] = barriers(page)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF????")
    choose_speech(page, broken)
    page.click("#go")
    page.wait_for_selector("#problem:not([hidden])")
    found["problem"] = barriers(page)
    for view, cards in (("avatars", "#avatars"), ("history", "#jobs")):
        page.click(f"nav a[data-view={view}]")
        page.wait_for_selector(f"{cards} li")
        found[view] = barriers(page)
    page.click("#jobs li button.primary")
    wait_for_video(page)
    wait_until(page, "document.querySelector('#badges').textContent !== ''")
    found["video"] = barriers(page)
    page.evaluate("document.querySelector('#token-dialog').showModal()")
    found["dialog"] = barriers(page)
    assert [f"{view}: {line}" for view, lines in found.items() for line in lines] == []


def test_the_scan_sees_a_barrier_that_is_there(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.evaluate("document.querySelector('label[for=text]').remove(), text.removeAttribute('placeholder')")
    assert any(line.startswith("critical: label at ['#text']") for line in barriers(page))
