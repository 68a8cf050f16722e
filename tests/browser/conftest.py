"""Headless Chromium in front of the local stack with its gateway."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from visema_client.localstack import LocalStack, LocalStackError, StackOptions
from visema_client.localstack.seaweed import find_weed

# No background traffic: the machine may be offline. The fake microphone beeps.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give 64 MiB
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)


# Not session: while Playwright's synchronous API is open, its event loop counts as running in this thread, and no
# asyncio test that follows in the same process could start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for a module's tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def page_url() -> Iterator[str]:
    """URL of the web page, over real services."""
    try:
        find_weed()
    except LocalStackError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    options = StackOptions(gateway_port=0, variables={"VISEMA_ENGINE": "embedded"}, start_timeout_s=180)
    with LocalStack(options) as stack:
        yield stack.url


@pytest.fixture
def open_page(browser: Any, page_url: str, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page in a fresh profile; it must have met no error and no other host when the test ends."""
    contexts, faults = [], []

    def opened(path: str = "/", **options: Any) -> Any:
        context = browser.new_context(locale=options.pop("locale", "en-US"), accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((page_url, "blob:", "data:")) else faults.append(request.url)
            ),
        )
        page.goto(page_url + path)
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
