"""The gateway's documentation and its page agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from visema_gateway.core.options import AppearanceOptions, VideoOptions
from visema_gateway.settings import GatewaySettings
from visema_kit import quality
from visema_kit.errors import error_classes
from visema_media import image, recording, speech
from visema_media.face import FaceLandmarks
from visema_media.framing import face_warnings
from visema_wav2lip import pipeline as lip_sync
from visema_wav2lip.engines.embedded import engine as lips

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "services/gateway/src/visema_gateway/page"


def test_the_readme_lists_every_variable() -> None:
    text = (ROOT / "services/gateway/README.md").read_text()
    rows = dict(re.findall(r"^\| `VISEMA_(\w+)` \| .*? \| (.*) \|$", text, re.MULTILINE))
    assert rows == {name.upper(): field.description for name, field in GatewaySettings.model_fields.items()}


def test_both_languages_have_the_same_words() -> None:
    english, russian = (PAGE / "words.js").read_text().split("const RU = ")
    key = re.compile(r'(?:^|[{,]\s*|\n\s*)"?([A-Za-z_][\w-]*)"?: "')
    words = [set(key.findall(part)) for part in (english, russian.split("const BOOKS")[0])]
    assert len(words[0]) > 120
    assert words[0] == words[1]


def test_every_word_that_the_page_asks_for_exists() -> None:
    known = set(re.findall(r'"?([A-Za-z_][\w-]*)"?: "', (PAGE / "words.js").read_text()))
    html = (PAGE / "index.html").read_text()
    asked = set(re.findall(r'data-i18n(?:-label|-placeholder)?="(\w+)"', html))
    for script in PAGE.glob("*.js"):
        asked |= set(re.findall(r'\bsay\("(\w+)"', script.read_text()))
    assert asked - known == set()


def test_every_error_has_words() -> None:
    known = (PAGE / "words.js").read_text()
    assert [error.reason for error in error_classes() if f"err_{error.reason}:" not in known] == []


def test_every_warning_about_a_video_can_be_told_in_russian() -> None:
    patterns = re.findall(r'^  \[/(\^.*\$)/, "', (PAGE / "sentences.js").read_text(), re.MULTILINE)
    for sentence in warnings():
        fitting = [pattern for pattern in patterns if re.search(pattern, sentence)]
        assert len(fitting) == 1, sentence


def warnings() -> list[str]:
    """What lip-sync, the portrait and the recording can give rise to."""
    turned, shut = np.zeros((2, 478, 3), np.float32)  # a face beyond the edge, and one that is a single point
    turned[:, 0] = turned[:, 2] = np.linspace(-20, 20, 478)
    constants = [
        value
        for module in (quality, image, recording, speech, lip_sync, lips)
        for name, value in vars(module).items()
        if name.startswith("WARN_")
    ]
    black = np.zeros((64, 64, 3), np.uint8)
    about_face = {note for points in (turned, shut) for note in face_warnings(black, FaceLandmarks(points, 1.0))}
    assert len(constants) > 14
    assert len(about_face) == 5  # the height is said twice
    lag = [quality.lag_warning(120.0), quality.lag_warning(-120.0)]
    return [*constants, *about_face, *lag]


def test_the_page_sends_with_an_avatar_what_avatars_take() -> None:
    controls = dict(re.findall(r'\{ name: "(\w+)", of: "(\w+)"', (PAGE / "settings.js").read_text()))
    assert controls.keys() < VideoOptions.model_fields.keys()
    kept = {name for name, of in controls.items() if of in {"look", "picture"}}
    assert kept == controls.keys() & AppearanceOptions.model_fields.keys()
