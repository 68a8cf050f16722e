"""The mouth plan against the phonemes of a synthesiser, in languages that it did not speak for the training."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
LANGUAGES = ("en", "ru", "de", "fr", "es", "it", "tr", "pl")


@pytest.fixture(scope="module")
def table() -> dict[str, list[list[float]]]:
    """Numbers of each column by language; eSpeak NG (GPL) speaks in a process of its own."""
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    script = [sys.executable, str(REPOSITORY / "bench" / "visemes.py")]
    printed = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    rows = [line.strip("|").split("|") for line in printed.splitlines()[2:]]
    return {row[0].strip(): [[float(n) for n in re.findall(r"[-+]?[\d.]+", cell)] for cell in row[1:]] for row in rows}


@pytest.mark.parametrize("language", LANGUAGES)
def test_lips_shut_on_their_sounds_and_on_few_others(language: str, table: dict[str, list[list[float]]]) -> None:
    (shut, _), (pressed, _), (touch, _), *_ = table[language]
    assert shut >= 0.85
    assert pressed >= 0.75
    assert touch >= 0.5


@pytest.mark.parametrize("language", LANGUAGES)
def test_rounding_follows_the_vowels_and_the_mouth_is_in_time(
    language: str, table: dict[str, list[list[float]]]
) -> None:
    *_, (rounded, spread), (right,), (lag,) = table[language]
    assert rounded > 3 * spread
    assert right >= 0.75
    assert abs(lag) <= 1
