"""Phonetic names to the kinds of sounds that a mouth plan knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from visema_wav2lip.sounds import Sound

UNKNOWN = -1  # a sound whose look is not settled, such as the Spanish β: neither learnt nor judged
_MARKS = str.maketrans(dict.fromkeys("ˈˌʲːˑˈʰʷ'|-_^\"( \u0329\u032f\u0303\u032a\u0325\u030a"))
_LETTERS = {
    Sound.LABIAL: "pbm",
    Sound.LIP_TEETH: "fvʋ",
    Sound.SIBILANT: "szʃʒʂʐɕʑ",
    Sound.A: "aɐɑæʌ",
    Sound.E: "eɛəɜɝɚɘɤ",
    Sound.I: "iɪɨɯjᵻ",
    Sound.O: "oɔɒ",
    Sound.U: "uʊwʉ",
    Sound.Y: "yøœɵʏɥ",
}
_KINDS: dict[str, int] = {letter: kind for kind, letters in _LETTERS.items() for letter in letters}
_KINDS |= dict.fromkeys("βɸɱʔ?;", UNKNOWN)
ENGLISH = {  # ARPAbet, whose other consonants are called as in IPA
    "aa": "ɑ",
    "ae": "æ",
    "ah": "ʌ",
    "ao": "ɔ",
    "aw": "aʊ",
    "ax": "ə",
    "axr": "ə",
    "ay": "aɪ",
    "eh": "ɛ",
    "er": "ə",
    "ey": "eɪ",
    "ih": "ɪ",
    "iy": "i",
    "ow": "oʊ",
    "oy": "ɔɪ",
    "uh": "ʊ",
    "uw": "u",
    "y": "j",
    "sh": "ʃ",
    "zh": "ʒ",
    "ch": "tʃ",
    "jh": "dʒ",
    "th": "θ",
    "dh": "ð",
    "ng": "ŋ",
    "hh": "h",
    "pau": "",
    "sil": "",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A kind of sound (`Sound` or `UNKNOWN`) with its time in seconds."""

    start_s: float
    end_s: float
    kind: int


def kinds_of(name: str) -> list[int]:
    """What an IPA name shows, in order; diphthongs and affricates show two, a pause (no letter) is silence."""
    shown: list[int] = []
    for letter in name.translate(_MARKS):
        kind = _KINDS.get(letter, Sound.CONSONANT)
        if not shown or shown[-1] != kind:
            shown.append(kind)
    return shown or [Sound.SILENCE]


def spans(marks: Iterable[tuple[float, float, list[int]]]) -> list[Span]:
    """Each sound's time shared equally by the kinds that it shows."""
    return [
        Span(start_s + (end_s - start_s) * i / len(kinds), start_s + (end_s - start_s) * (i + 1) / len(kinds), kind)
        for start_s, end_s, kinds in marks
        for i, kind in enumerate(kinds)
    ]
