"""The encoder's variables and their documentation."""

from __future__ import annotations

import re
from pathlib import Path

from visema_encoder.settings import EncoderSettings
from visema_kit.settings import ServiceSettings

README = Path(__file__).resolve().parents[3] / "services" / "encoder" / "README.md"


def test_the_readme_lists_every_variable_with_its_default_and_meaning() -> None:
    documented = {
        name: (default, meaning)
        for name, default, meaning in re.findall(
            r"^\| `(VISEMA_\w+)` \| (?:`(.*?)`)? ?\| (.*) \|$", README.read_text(), re.MULTILINE
        )
    }
    own = {
        name: field for name, field in EncoderSettings.model_fields.items() if name not in ServiceSettings.model_fields
    }
    assert documented == {
        f"VISEMA_{name.upper()}": (f"{field.default:g}" if field.default is not None else "", field.description)
        for name, field in own.items()
    }
