"""The rhythm that stage 1 hears in speech: accents and pauses, whatever the voice and its level."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from support.voices import RATE_HZ, VOWELS, join, silence, vowel
from visema_liveportrait.speech_cues import SHORTEST_PAUSE_S, SpeechCues, read_cues
from visema_media.audio import resample
from visema_speech.engines.espeak.engine import EspeakEngine

ACCENTED = 1.0  # prominence of what a listener would call stressed
SENTENCES = "The quick brown fox jumps over the lazy dog. We have announced something of great importance to all of us."
UNSTRESSED = {"The", "the", "of", "to", "We", "over", "have"}


def syllables(*stressed: int, count: int = 10) -> np.ndarray:
    """Syllables every 0.25 s, those named louder and longer."""
    parts = []
    for number, name in zip(range(count), "aeoiu" * count, strict=False):
        length_s = 0.19 if number in stressed else 0.12
        parts += [vowel(name, length_s) * (1.0 if number in stressed else 0.6), silence(0.25 - length_s)]
    return join(*parts)


def accents_s(cues: SpeechCues) -> list[float]:
    return [nucleus.time_s for nucleus in cues.nuclei if nucleus.prominence >= ACCENTED]


@pytest.fixture(scope="module")
def espeak() -> Iterator[EspeakEngine]:
    engine = EspeakEngine()
    engine.load()
    yield engine
    engine.close()


def test_every_syllable_is_heard_and_the_longer_louder_ones_are_accented() -> None:
    cues = read_cues(syllables(2, 7))
    assert [nucleus.time_s for nucleus in cues.nuclei] == pytest.approx(
        [0.25 * number + (0.095 if number in {2, 7} else 0.06) for number in range(10)], abs=0.03
    )
    assert accents_s(cues) == pytest.approx([0.595, 1.845], abs=0.03)


@pytest.mark.parametrize("gain", [0.003, 0.05, 1.9])
def test_the_recording_level_changes_no_accent(gain: float) -> None:
    assert accents_s(read_cues(gain * syllables(2, 7))) == pytest.approx(accents_s(read_cues(syllables(2, 7))))


def test_noise_in_the_room_changes_no_accent() -> None:
    noisy = syllables(2, 7) + np.random.default_rng(1).normal(0, 0.008, 40_000).astype(np.float32)
    assert accents_s(read_cues(noisy)) == pytest.approx([0.595, 1.845], abs=0.03)


def test_only_silence_of_a_quarter_second_is_a_pause_also_at_the_end() -> None:
    word = join(*(vowel(name, 0.15) for name in VOWELS))
    speech = join(silence(0.5), word, silence(0.15), word, silence(0.45), word, silence(0.6))
    pauses = read_cues(speech).pauses
    first_s = 0.5 + 2 * len(word) / RATE_HZ + 0.15
    second_s = first_s + 0.45 + len(word) / RATE_HZ
    assert [pause.start_s for pause in pauses] == pytest.approx([first_s, second_s], abs=0.04)
    assert [pause.end_s for pause in pauses] == pytest.approx([first_s + 0.45, second_s + 0.6], abs=0.04)
    assert all(pause.end_s - pause.start_s >= SHORTEST_PAUSE_S for pause in pauses)


def test_a_click_in_a_pause_does_not_end_it() -> None:
    word = join(*(vowel(name, 0.15) for name in VOWELS))
    click = np.full(80, 0.3)
    pauses = read_cues(join(word, silence(0.3), click, silence(0.3), word)).pauses
    assert len(pauses) == 1
    assert pauses[0].end_s - pauses[0].start_s == pytest.approx(0.605, abs=0.06)


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0, np.float32),
        np.ones(100, np.float32),
        np.zeros(32_000, np.float32),
        np.full(32_000, 2e-5, np.float32),
        np.random.default_rng(2).normal(0, 0.1, 64_000).astype(np.float32),
        0.3 * np.sin(np.arange(64_000) * 0.17).astype(np.float32),
        np.full(32_000, np.nan, np.float32),
    ],
    ids=["nothing", "a moment", "silence", "a hair above silence", "noise", "a tone", "no numbers"],
)
def test_what_is_no_speech_has_no_cues(sound: np.ndarray) -> None:
    cues = read_cues(sound)
    assert accents_s(cues) == []
    assert cues.pauses == ()


def test_stressed_words_of_a_synthetic_voice_are_accented_and_little_words_are_not(espeak: EspeakEngine) -> None:
    voice = next(voice for voice in espeak.voices() if voice.voice_id == "espeak/en-us")
    spoken = espeak.speak(voice, SENTENCES, 0.9)
    cues = read_cues(resample(spoken.samples, spoken.rate_hz, RATE_HZ)[0])
    starts_s = np.array([mark.start_s for mark in spoken.marks])
    words = [SENTENCES[mark.position :].split(maxsplit=1)[0].strip(".") for mark in spoken.marks]
    accented = {words[int(np.searchsorted(starts_s, time_s)) - 1] for time_s in accents_s(cues)}
    assert not accented & UNSTRESSED
    assert len(accented) >= 0.6 * len(set(words) - UNSTRESSED)
    assert len(cues.pauses) >= 1
    dog_s, we_s = (spoken.marks[words.index(word)].start_s for word in ("dog", "We"))
    assert dog_s < cues.pauses[0].start_s < cues.pauses[0].end_s < we_s + 0.1


def test_a_minute_of_speech_needs_little_memory() -> None:
    minute = np.tile(syllables(2, 7), 24)
    tracemalloc.start()
    try:
        read_cues(minute)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 6 * minute.nbytes
