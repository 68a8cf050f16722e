"""The gateway's documentation and its page agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

from visema_gateway.settings import GatewaySettings

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


def test_every_error_that_a_person_may_meet_has_words() -> None:
    known = (PAGE / "words.js").read_text()
    shown = ("NO_FACE_FOUND", "SEVERAL_FACES", "IMAGE_TOO_LARGE", "AUDIO_TOO_LONG", "MEDIA_UNREADABLE", "QUEUE_FULL")
    assert all(f"err_{reason}:" in known for reason in shown)
