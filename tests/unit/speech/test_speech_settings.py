"""The speech service's variables and their documentation."""

from __future__ import annotations

import re
from pathlib import Path

from visema_kit.settings import ServiceSettings
from visema_speech.settings import SpeechSettings

README = Path(__file__).resolve().parents[3] / "services" / "speech" / "README.md"


def test_the_readme_lists_every_variable_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(VISEMA_\w+)` \| `?(.*?)`? ?\| (.*) \|$", README.read_text(), re.MULTILINE)
    own = {
        name: field for name, field in SpeechSettings.model_fields.items() if name not in ServiceSettings.model_fields
    }
    assert rows == [
        (
            f"VISEMA_{name.upper()}",
            f"{field.default:g}" if isinstance(field.default, float) else field.default or "",
            field.description,
        )
        for name, field in own.items()
    ]
