"""Texts are cleaned, split and given to voices."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_speech.engines.protocol import SpokenMark, Utterance
from visema_speech.text.cleaning import clean
from visema_speech.text.language import guess_language
from visema_speech.text.scripts import runs, script_of
from visema_speech.text.sentences import LONGEST_PIECE, Pause, split_sentences
from visema_speech.words import timed_words


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_a_clean_text_has_no_control_characters_and_single_spaces(text: str) -> None:
    cleaned = clean(text).text
    assert clean(cleaned).text == cleaned
    kept = [character for character in cleaned if character not in "\n\u200c\u200d"]
    assert not [character for character in kept if unicodedata.category(character)[0] == "C"]
    assert "  " not in cleaned
    assert cleaned == cleaned.strip()


def test_embedded_commands_and_direction_marks_are_neutralised() -> None:
    cleaned = clean("a\x01+20sb\u202ec\x00d <speak>e</speak>\r\n\tf ⣿")
    assert cleaned.text == "a +20sb c d <speak>e</speak>\nf"
    assert cleaned.dropped == 4


@pytest.mark.parametrize(("text", "speakable"), [("…!? —", False), ("\u200d", False), ("5", True), ("€", True)])
def test_only_letters_digits_and_symbols_can_be_spoken(text: str, speakable: bool) -> None:
    assert clean(text).is_speakable is speakable


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith paid $3.50. J. R. Doe did, e.g. him.", ["Dr. Smith paid $3.50.", "J. R. Doe did, e.g. him."]),
        ("В г. Москва и т.д. живут люди. Да!", ["В г. Москва и т.д. живут люди.", "Да!"]),
        ("今日は。元気？はい！", ["今日は。", "元気？", "はい！"]),
        ("He said “Go.” Then he left", ["He said “Go.”", "Then he left"]),
        ("no full stop\nnew line", ["no full stop", "new line"]),
    ],
)  # fmt: skip
def test_texts_are_split_at_sentences(text: str, sentences: list[str]) -> None:
    assert [sentence.text for sentence in split_sentences(text)] == sentences


def test_paragraphs_pause_longer_and_the_end_not_at_all() -> None:
    pauses = [sentence.pause for sentence in split_sentences("One. Two.\nThree.")]
    assert pauses == [Pause.SENTENCE, Pause.PARAGRAPH, Pause.NONE]


@given(st.text(alphabet="ab ,.;!?Я語。\n", max_size=2000))
@settings(max_examples=100, deadline=None)
def test_splitting_loses_no_letter_and_makes_no_long_piece(text: str) -> None:
    cleaned = clean(text).text
    pieces = split_sentences(cleaned)
    assert all(0 < len(piece.text) <= LONGEST_PIECE for piece in pieces)
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(cleaned.split())


def test_runs_change_with_the_script_and_keep_digits_with_what_stands_before() -> None:
    text = "12 ab 34, где 5 日本"
    assert [(run.script, text[run.start : run.end]) for run in runs(text)] == [
        ("latin", "12 ab 34, "),
        ("cyrillic", "где 5 "),
        ("han", "日本"),
    ]
    assert [script_of(character) for character in "é я 5!"] == ["latin", "", "cyrillic", "", "", ""]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Съешь ещё этих мягких французских булок", "ru"),
        ("Їжак їсть яблука", "uk"),
        ("Қазақ тілі әдемі", "kk"),
        ("The quick brown fox jumps over the lazy dog", "en"),
        ("Guten Tag, wie geht es Ihnen?", "de"),
        ("Je ne sais pas où est la gare, mais c'est très loin", "fr"),
        ("¿Dónde está la biblioteca?", "es"),
        ("Dzień dobry, jak się masz?", "pl"),
        ("今日は学校へ行きました", "ja"),
        ("今天天气很好", "cmn"),
        ("안녕하세요", "ko"),
        ("سلام، چطوری؟ پدر", "fa"),
        ("Zxqv brrt", ""),
        ("12345", ""),
        ("", ""),
    ],
)
def test_letters_and_common_words_tell_the_language(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_marks_are_gathered_by_the_words_of_the_text_and_end_with_the_sound() -> None:
    rate_hz = 1000
    samples = np.zeros((1, 1000), np.float32)
    samples[0, 0:100] = samples[0, 200:500] = samples[0, 700:800] = 0.5
    marks = tuple(SpokenMark(at, ms / 1000) for at, ms in [(1, 0), (6, 200), (7, 350), (15, 700)])
    words = timed_words("«Pay $12.50» — now!", Utterance(samples, rate_hz, marks))
    assert [(word.word, round(word.start_s, 3), round(word.end_s, 3)) for word in words] == [
        ("Pay", 0.0, 0.12),
        ("$12.50", 0.2, 0.52),
        ("now", 0.7, 0.82),
    ]
