"""Guesses the language of a text from its letters and its commonest words. Small on purpose: it only picks a voice."""

from __future__ import annotations

import re
from collections import Counter

from visema_speech.text.scripts import ARABIC, CYRILLIC, HAN, KANA, LATIN, script_of, usual_language

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_ENOUGH_WORDS = 2

# Letters that only one language of a script has, the most telling first.
_LETTERS = {
    CYRILLIC: (
        ("kk", "әғқұһ"),
        ("tt", "җ"),
        ("be", "ў"),
        ("uk", "іїєґ"),
        ("mk", "ѓќѕ"),
        ("sr", "ћђљњџј"),
        ("ky", "өүң"),
    ),
    ARABIC: (("ur", "ٹڈڑےں"), ("fa", "پچژگ")),
}

# Words that are common in one language and rare or absent in the others.
_WORDS = {
    "en": "the and is are was you that this with have for not what it's of to my we they hello",
    "de": "und der die das ist nicht ich ein eine wir sie mit für auf auch guten wie heute",
    "fr": "le les des est et une vous nous je dans pour avec c'est bonjour qui sur pas très",
    "es": "el los las es y una que por para con está pero muy hola cómo gracias como yo",
    "it": "il gli che è una per con sono non di ciao come questo della molto buongiorno",
    "pt": "os as é uma não com para você que do da em olá obrigado muito isso está são",
    "nl": "het een en van ik niet is je dat op voor met zijn hallo goed wij deze",
    "pl": "nie jest się to na i w że dzień dobry jak co dla ale tak proszę",
    "cs": "je se na že to není jsem dobrý den jak ale pro co také jsou",
    "tr": "ve bir bu için çok ne ben değil merhaba nasıl var ile gibi evet",
    "sv": "och är att det jag inte en på som för med hej du har vi",
    "fi": "ja on ei se että hän mutta kuin minä hyvää olen tämä kiitos päivää",
    "ro": "și este nu un o în la cu pentru bună ce sunt care mai",
    "hu": "és az egy nem hogy van jó napot ez meg köszönöm mint de",
    "id": "dan yang di ini itu dengan untuk tidak saya ada dari apa selamat",
    "vi": "và là của không có tôi được một những xin chào cho này",
}
# Letters that tell a Latin language; one of them in a text counts as two common words.
_LATIN_LETTERS = {
    "de": "ß",
    "es": "ñ¿¡",
    "fr": "œ",
    "pt": "ãõ",
    "pl": "łążę",
    "cs": "řěů",
    "tr": "ğış",
    "sv": "å",
    "ro": "șț",
    "hu": "őű",
    "vi": "ơưđ",
}
_LATIN_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def main_script(text: str) -> str:
    """The script of most letters; empty when there is none. A little kana among Han characters means Japanese."""
    counts = Counter(filter(None, map(script_of, text)))
    if not counts:
        return ""
    script = max(counts, key=lambda found: (counts[found], found))
    return KANA if script == HAN and counts[KANA] else script


def guess_language(text: str) -> str:
    """First part of a BCP 47 tag, e.g. `ru`; empty when it cannot be told."""
    script = main_script(text)
    return _guess_latin(text) if script == LATIN else language_in(script, text)


def language_in(script: str, text: str) -> str:
    """The language in which `text` uses `script`; empty for Latin."""
    if script == HAN and any(script_of(character) == KANA for character in text):
        return usual_language(KANA)
    letters = frozenset(text.lower())
    for language, telling in _LETTERS.get(script, ()):
        if letters & frozenset(telling):
            return language
    return usual_language(script)


def _guess_latin(text: str) -> str:
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    votes = Counter({language: sum(word in common for word in words) for language, common in _LATIN_WORDS.items()})
    letters = frozenset(text.lower())
    for language, telling in _LATIN_LETTERS.items():
        votes[language] += _ENOUGH_WORDS * bool(letters & frozenset(telling))
    (best, count), (_, second) = votes.most_common(2)
    enough = min(_ENOUGH_WORDS, len(words))
    return best if count >= enough and count > second else ""
