"""What tests do with the web page in a browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import visema_client

SAMPLES = Path(visema_client.__file__).parent / "samples"
PORTRAIT, SPEECH = SAMPLES / "portrait.jpg", SAMPLES / "speech.wav"
WAIT_S = 120.0
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def wait_until(page: Any, expression: str) -> None:
    """Poll from outside: the page's own policy forbids evaluating strings inside it."""
    deadline = time.monotonic() + WAIT_S
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(50)


def choose_speech(page: Any, file: Path = SPEECH) -> None:
    page.check("input[name=source][value=file]", force=True)
    page.set_input_files("#audio", file)


def wait_for_video(page: Any) -> None:
    page.wait_for_selector("#video:not([hidden])")
    wait_until(page, "video.readyState >= 2 && video.duration > 0")
