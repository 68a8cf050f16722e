"""Splits a text into sentences, and sentences that are too long where a speaker would breathe."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_PIECE = 300  # characters; keeps a piece well below a second of computing

_CLOSING = "\"'”’»)\\]"
_END = re.compile(rf"[.!?…]+[{_CLOSING}]*\s+|[。！？｡]+[」』”）]*\s*|[।؟۔]+\s*")
_BREATH = re.compile(r"[,;:—–]\s|[、，；：]|\s")
# A full stop behind these ends no sentence.
_ABBREVIATED = (
    "dr mr mrs ms prof sr jr st vs etc e.g i.e approx no vol fig inc ltd co dept"
    " т.е т.д т.п т.к г ул д стр рис тыс млн млрд им проф акад bzw ca usw z.b d.h"
    " nr mme mlle sra ud uds ing dott avv"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())


class Pause(enum.Enum):
    """What follows a piece; the value is the pause in seconds at normal speed."""

    NONE = 0.0
    BREATH = 0.08
    SENTENCE = 0.3
    PARAGRAPH = 0.5


@dataclass(frozen=True, slots=True)
class Sentence:
    """Attributes: text: not empty, without surrounding spaces; pause: what follows it."""

    text: str
    pause: Pause


def split_sentences(text: str) -> list[Sentence]:
    """Sentences of a cleaned text, in order."""
    sentences = []
    for paragraph in filter(None, text.split("\n")):
        pieces = [piece for sentence in _sentences(paragraph) for piece in _breaths(sentence)]
        for index, (piece, pause) in enumerate(pieces):
            last = index == len(pieces) - 1
            sentences.append(Sentence(piece, Pause.PARAGRAPH if last else pause))
    if sentences:
        sentences[-1] = Sentence(sentences[-1].text, Pause.NONE)
    return sentences


def _sentences(paragraph: str) -> Iterator[str]:
    start = 0
    for match in _END.finditer(paragraph):
        if _goes_on(paragraph, start, match):
            continue
        yield paragraph[start : match.end()].strip()
        start = match.end()
    if rest := paragraph[start:].strip():
        yield rest


def _goes_on(paragraph: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence goes on behind this full stop: an abbreviation, an initial, or a small letter follows."""
    if match.group().strip() != ".":
        return False
    words = paragraph[start : match.start()].rsplit(maxsplit=1)
    word = words[-1].lower().lstrip("(\"'«“") if words else ""
    follows = paragraph[match.end() : match.end() + 1]
    is_initial = len(word) == 1 and word.isalpha()
    return is_initial or word in _ABBREVIATIONS or follows.islower()


def _breaths(sentence: str) -> Iterator[tuple[str, Pause]]:
    """Pieces of at most LONGEST_PIECE characters."""
    while len(sentence) > LONGEST_PIECE:
        places = [match.end() for match in _BREATH.finditer(sentence, 1, LONGEST_PIECE)]
        marked = [place for place in places if not sentence[place - 2 : place - 1].isalnum()]
        late = [place for place in marked if place > LONGEST_PIECE // 2]
        place = (late or places or [LONGEST_PIECE])[-1]
        if piece := sentence[:place].strip():
            yield piece, Pause.BREATH
        sentence = sentence[place:].strip()
    if sentence:
        yield sentence, Pause.SENTENCE
