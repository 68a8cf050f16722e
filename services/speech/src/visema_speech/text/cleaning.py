"""Takes out of a text what no voice should see."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_BRAILLE = range(0x2800, 0x2900)  # some voices of eSpeak NG crash on them, and none has words for them
_BREAKS = frozenset("\n\r\x0b\x0c\x85\u2028\u2029")
_JOINERS = frozenset("\u200c\u200d")  # part of the spelling of Persian and of Indian scripts


@dataclass(frozen=True, slots=True)
class CleanText:
    """Attributes: text: NFC, one space at most between words, paragraphs parted by a line feed; dropped: characters."""

    text: str
    dropped: int

    @property
    def is_speakable(self) -> bool:
        """Whether there is a letter, a digit or a symbol with a name."""
        return any(character.isalnum() or unicodedata.category(character)[0] == "S" for character in self.text)


def clean(text: str) -> CleanText:
    """Normalise a text and neutralise control characters.

    Control, format, private and unassigned characters become spaces: among them are eSpeak NG's embedded commands
    (which begin with U+0001) and the marks that turn the direction of text. Markup is kept as the text that it is.
    """
    kept = []
    dropped = 0
    for character in unicodedata.normalize("NFC", text):
        if character in _BREAKS:
            kept.append("\n")
        elif character.isspace():
            kept.append(" ")
        elif character in _JOINERS or (unicodedata.category(character)[0] != "C" and ord(character) not in _BRAILLE):
            kept.append(character)
        else:
            kept.append(" ")
            dropped += 1
    paragraphs = (" ".join(line.split(" ")).strip() for line in "".join(kept).split("\n"))
    return CleanText("\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph), dropped)
