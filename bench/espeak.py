"""eSpeak NG in this process: speech together with its phonemes and their exact times.

Needs `pip install espeakng-loader`.
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

RATE_HZ = 16_000
FRAME_RATE = Fraction(25)
_AUDIO_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _UTF8, _PHONEME, _END = 2, 1, 2, 1, 7, 0


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
        self._library.espeak_TextToPhonemes.argtypes = (ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def set_parameter(self, parameter: int, value: int) -> None:
        """Set one of eSpeak NG's numbered parameters, such as 3, the pitch (0 to 100)."""
        self._library.espeak_SetParameter(parameter, value, 0)

    def pronounce(self, word: str, language: str) -> list[str]:
        """The sounds of a word, in IPA without stress and length."""
        self._library.espeak_SetVoiceByName(language.encode())
        text = ctypes.c_char_p(word.encode())
        found = self._library.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, _IPA | ord("_") << 8)
        return [name for name in (_plain(name) for name in found.decode("utf-8", "ignore").split("_")) if name]

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
            Phoneme(_plain(name), start, marks[i + 1][0], "ˈ" in name) for i, (start, name) in enumerate(marks[:-1])
        ]
        return soxr.resample(samples, self._rate_hz, RATE_HZ).astype(np.float32), sounds


def _plain(name: str) -> str:
    return name.strip().translate(dict.fromkeys(map(ord, "ˈˌʲː")))


def _until_end(events: Any) -> Iterator[_Event]:
    position = 0
    while (event := events[position]).type != _END:
        yield event
        position += 1
