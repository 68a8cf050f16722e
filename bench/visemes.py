"""Compares mouth plans with what eSpeak NG says it speaks: phonemes with exact times, in eight languages.

`python bench/visemes.py` (needs `pip install espeakng-loader`) prints one line per language:

- `p b m shut`: share of these sounds during which some frame is shut (below 0.08 of full opening);
- `pressed on p b m`: share of the plan's own lip closures that lie on one of these sounds (the rest: `t k d n`);
- `f v` and `s`: share of these with the lower lip at the teeth (`s` should have none of it);
- `open r`: correlation of the opening with the openness of the vowel spoken;
- `round o-u / i-e`: mean rounding in rounded and in spread vowels;
- `rounding right`: share of rounded vowels above `ROUND_FROM` and of spread ones below it, the mean of the two;
- `lag`: frames by which the opening lags behind the vowels' openness (negative: the mouth leads).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
from visema_wav2lip.mouthplan import MouthPlan
from visema_wav2lip.visemes import plan_mouth

RATE_HZ = 16_000
FRAME_RATE = Fraction(25)
WORDS_PER_MINUTE = (140, 175)
SHUT = 0.08
PRESSED = 0.5
ROUND_FROM = 0.12
NEAR_S = 0.03  # a frame's distance that still counts
LAGS = range(-4, 5)

TEXTS = {
    "en": "Bob may put a big map on the table. My mother bought five vivid photos for Sam. We hope you are fine, Papa.",
    "ru": "Мама мыла раму. Папа купил большой помидор. Вова видел фильм про войну. Бабушка поёт и любит молоко.",
    "de": "Mama und Papa bauen ein Boot. Fünf wilde Vögel fliegen vorbei. Der Bäcker backt immer gutes Brot.",
    "fr": "Papa a pu voir un beau bateau. Ma mère aime beaucoup la musique. Vous avez fait une bonne photo.",
    "es": "Mi mamá compra pan bueno. Pablo bebe vino famoso y habla mucho. El mapa muestra un pueblo bonito.",
    "it": "La mamma prepara la pappa. Un bambino vede molti fiori belli. Povero lupo, vuole dormire ma fa freddo.",
    "tr": "Babam büyük bir balık buldu. Mavi vapur limana vardı. Çocuk bana iyi bir fotoğraf verdi.",
    "pl": "Mama kupiła piękny bukiet. Babcia pamięta bardzo wiele bajek. Wojna i pokój to dobra książka.",
}
LABIAL, LIP_TEETH, HISS = set("pbm"), set("fv"), set("szʃʒ")
OPENNESS = {"a": 1, "ɐ": 0.9, "ɑ": 1, "ɒ": 0.8, "æ": 1, "ʌ": 0.8, "ɔ": 0.6, "ɛ": 0.6, "œ": 0.5, "e": 0.4, "ø": 0.35}
OPENNESS |= {"o": 0.4, "ə": 0.4, "ɪ": 0.25, "ʊ": 0.25, "i": 0.15, "y": 0.1, "u": 0.1, "ɨ": 0.2, "ɯ": 0.2}
ROUNDED, SPREAD = set("ouɔʊyøœ"), set("ieɛɪ")
_AUDIO_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _PHONEME, _END = 2, 1, 2, 7, 0


class _Event(ctypes.Structure):
    """eSpeak NG's espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Phoneme:
    """A sound with its time in seconds; `name` is IPA without stress and length, `stressed` means primary stress."""

    name: str
    start_s: float
    end_s: float
    stressed: bool

    def frames(self, count: int) -> slice:
        """Video frames during the sound, at least one."""
        first = round((self.start_s - 0.02) * FRAME_RATE - 0.5)
        last = max(round((self.end_s + 0.02) * FRAME_RATE - 0.5), first)
        return slice(max(first, 0), min(last + 1, count))


class Speaker:
    """eSpeak NG in this process."""

    def __init__(self) -> None:
        import espeakng_loader  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - only this benchmark needs it

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = espeakng_loader.get_data_path().encode()
        self._rate_hz = self._library.espeak_Initialize(_AUDIO_SYNCHRONOUS, 200, folder, _PHONEME_EVENTS | _IPA)
        self._library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        )

    def say(self, text: str, language: str, words_per_minute: int) -> tuple[npt.NDArray[np.float32], list[Phoneme]]:
        """Speech at 16 kHz and its sounds."""
        pieces: list[npt.NDArray[np.int16]] = []
        marks: list[tuple[float, str]] = []

        def collect(wave: Any, count: int, events: Any) -> int:
            if count > 0 and wave:
                pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
            marks.extend(
                (event.sample / self._rate_hz, event.name.decode("utf-8", "ignore"))
                for event in _until_end(events)
                if event.type == _PHONEME
            )
            return 0

        kept = _CALLBACK(collect)  # must live while eSpeak may call it
        self._library.espeak_SetSynthCallback(kept)
        self._library.espeak_SetVoiceByName(language.encode())
        self._library.espeak_SetParameter(1, words_per_minute, 0)
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 1, 0, 1, None, None)
        samples = np.concatenate(pieces).astype(np.float32) / 32768
        sounds = [
            Phoneme(name.translate({ord(mark): None for mark in "ˈˌʲː"}), start, marks[i + 1][0], "ˈ" in name)
            for i, (start, name) in enumerate(marks[:-1])
        ]
        return soxr.resample(samples, self._rate_hz, RATE_HZ).astype(np.float32), sounds


def _until_end(events: Any) -> Iterator[_Event]:
    position = 0
    while (event := events[position]).type != _END:
        yield event
        position += 1


@dataclass
class Scores:
    """What one language's clips gave, one entry per sound."""

    shut: list[bool]
    pressed_right: list[bool]
    lip_teeth: list[bool]
    hiss_lip_teeth: list[bool]
    opening: list[tuple[float, float]]
    rounded: list[float]
    spread: list[float]
    lags: list[int]


def judge(plan: MouthPlan, sounds: list[Phoneme], scores: Scores) -> None:
    """Add one clip."""
    target = np.zeros(len(plan))
    for sound in sounds:
        frames = sound.frames(len(plan))
        if frames.stop <= frames.start or not sound.name:
            continue
        if sound.name in LABIAL:
            scores.shut.append(bool(plan.opening[frames].min() < SHUT))
        elif sound.name in LIP_TEETH:
            scores.lip_teeth.append(bool(plan.lip_teeth[frames].max() > 0.4))
        elif sound.name in HISS:
            scores.hiss_lip_teeth.append(bool(plan.lip_teeth[frames].max() > 0.4))
        vowel = sound.name[0]
        if vowel in OPENNESS:
            target[frames] = OPENNESS[vowel]
            scores.opening.append((float(plan.opening[frames].max()), OPENNESS[vowel]))
            middle = (frames.start + frames.stop) // 2
            if vowel in ROUNDED:
                scores.rounded.append(float(plan.rounding[middle]))
            elif vowel in SPREAD:
                scores.spread.append(float(plan.rounding[middle]))
    labial = [(sound.start_s, sound.end_s) for sound in sounds if sound.name in LABIAL]
    edges = np.flatnonzero(np.diff(plan.press > PRESSED, prepend=False, append=False)) / float(FRAME_RATE)
    spoken_s = [sound.start_s for sound in sounds if sound.name and sound.name[0] in OPENNESS]
    scores.pressed_right += [
        any(start < end_s + NEAR_S and end > start_s - NEAR_S for start_s, end_s in labial)
        for start, end in edges.reshape(-1, 2)
        if spoken_s[0] <= start <= spoken_s[-1]  # not the rest before and after the speech
    ]
    inner = slice(max(LAGS), len(plan) - max(LAGS))
    fits = {lag: np.corrcoef(np.roll(plan.opening, -lag)[inner], target[inner])[0, 1] for lag in LAGS}
    scores.lags.append(max(fits, key=lambda lag: fits[lag]))


def main() -> None:
    """Print the table."""
    speaker = Speaker()
    print(
        "| language | p b m shut | pressed on p b m | f v at teeth | s at teeth | open r | round o-u / i-e "
        "| rounding right | lag |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for language, text in TEXTS.items():
        scores = Scores([], [], [], [], [], [], [], [])
        for speed in WORDS_PER_MINUTE:
            samples, sounds = speaker.say(text, language, speed)
            judge(plan_mouth(samples, FRAME_RATE, int(len(samples) / RATE_HZ * FRAME_RATE)), sounds, scores)
        heard, spoken = np.array(scores.opening).T
        rounded, spread = np.array(scores.rounded), np.array(scores.spread)
        right = ((rounded > ROUND_FROM).mean() + (spread <= ROUND_FROM).mean()) / 2
        print(
            f"| {language} | {np.mean(scores.shut):.2f} of {len(scores.shut)} | "
            f"{np.mean(scores.pressed_right):.2f} of {len(scores.pressed_right)} | {np.mean(scores.lip_teeth):.2f} | "
            f"{np.mean(scores.hiss_lip_teeth or [False]):.2f} | {np.corrcoef(heard, spoken)[0, 1]:.2f} | "
            f"{rounded.mean():.2f} / {spread.mean():.2f} | {right:.2f} | {np.mean(scores.lags):+.1f} |"
        )


if __name__ == "__main__":
    main()
