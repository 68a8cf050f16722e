"""Writing systems: of characters, of languages, and runs of one script in a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

LATIN, CYRILLIC, GREEK, ARABIC, HEBREW = "latin", "cyrillic", "greek", "arabic", "hebrew"
HAN, KANA, HANGUL, DEVANAGARI, THAI = "han", "kana", "hangul", "devanagari", "thai"

# Languages that are not written in Latin letters, by script; the first of a script is its most usual language.
_LANGUAGES = {
    CYRILLIC: "ru uk be bg mk sr kk ky tt ba cv nog uz bs hr",
    GREEK: "el grc",
    ARABIC: "ar fa ur ug sd",
    HEBREW: "he",
    DEVANAGARI: "hi mr ne kok",
    "bengali": "bn as bpy",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "oriya": "or",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
    THAI: "th",
    "myanmar": "my shn",
    "georgian": "ka",
    "armenian": "hy hyw",
    "ethiopic": "am ti",
    "cherokee": "chr",
    HANGUL: "ko",
    HAN: "cmn yue hak ja ko",
    KANA: "ja",
}
_BOTH = frozenset({"uz", "bs", "hr", "sr"})  # written in Latin letters as well
_NAMES = {"cjk": HAN, "hiragana": KANA, "katakana": KANA} | {script: script for script in (LATIN, *_LANGUAGES)}
# Scripts without spaces between words.
UNSPACED = frozenset({HAN, KANA, THAI, "myanmar"})


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive characters of a text. Attributes: script: theirs; empty when they belong to none, e.g. digits."""

    script: str
    start: int
    end: int


@lru_cache(maxsize=4096)
def script_of(character: str) -> str:
    """Script of a letter; empty for everything else and for scripts that no voice reads."""
    if not character.isalpha():
        return ""
    return _NAMES.get(unicodedata.name(character, "").partition(" ")[0].lower(), "")


@lru_cache(maxsize=512)
def scripts_of_language(tag: str) -> frozenset[str]:
    """Scripts of a language given as a BCP 47 tag."""
    language = tag.partition("-")[0]
    scripts = {script for script, languages in _LANGUAGES.items() if language in languages.split()}
    return frozenset(scripts | {LATIN} if language in _BOTH or not scripts else scripts)


def usual_language(script: str) -> str:
    """The most usual language of a script; empty for Latin, which has none."""
    return _LANGUAGES.get(script, "").partition(" ")[0]


def runs(text: str) -> Iterator[Run]:
    """Runs of one script. What belongs to no script goes with what stands before it, at the start with what follows."""
    start, script = 0, ""
    for index, character in enumerate(text):
        own = script_of(character)
        if not own or own == script:
            continue
        if script:
            yield Run(script, start, index)
            start = index
        script = own
    if text:
        yield Run(script, start, len(text))
