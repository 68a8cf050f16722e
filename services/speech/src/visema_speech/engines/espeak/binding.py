"""eSpeak NG's C interface (`speak_lib.h`) for one process: library-wide state, so one thread at a time."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OUTPUT_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when the callback has got everything
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_BUFFER_MS = 200
_POSITION_BY_CHARACTER = 1
_UTF8 = 1  # espeakCHARS_UTF8, and no espeakSSML or espeakPHONEMES: markup is text like any other
_IPA = 2  # espeakPHONEMES_IPA
_RATE_PARAMETER = 1  # espeakRATE
_WORD, _END_OF_LIST = 1, 0


class _EventValue(ctypes.Union):
    """`espeak_EVENT.id`."""

    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventValue),
    )


class _Voice(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # pairs of a priority byte and a string, then a zero byte
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """A voice file. Attributes: identifier: e.g. `gmw/en-US`; languages: BCP 47 tags, the best first."""

    identifier: str
    name: str
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """Attributes: pcm: 16-bit mono in the machine's byte order; words: (character from 0, milliseconds) of each."""

    pcm: bytes
    words: list[tuple[int, int]]


class Espeak:
    """The library, initialised."""

    def __init__(self, library: Path, data: Path) -> None:
        """Raises: OSError: there is no such library, or it does not find its data."""
        self._library = ctypes.CDLL(str(library))
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._library.espeak_Info.restype = ctypes.c_char_p
        self._library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        )
        self.rate_hz: int = self._library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, _BUFFER_MS, str(data).encode(), _DONT_EXIT
        )
        if self.rate_hz <= 0:
            raise OSError(f"eSpeak NG finds no data in {data}")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = (ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int)
        self._pcm = array("h")
        self._words: list[tuple[int, int]] = []
        self._callback = _Callback(self._collect)  # must live as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    @property
    def version(self) -> str:
        """Version of the library, e.g. `1.52.0`."""
        text: bytes = self._library.espeak_Info(None)
        return text.split()[0].decode()

    def voices(self) -> list[VoiceEntry]:
        """The voice files."""
        found = self._library.espeak_ListVoices(None)
        entries: list[VoiceEntry] = []
        while pointer := found[len(entries)]:
            voice = pointer.contents
            languages = sorted(_languages(voice.languages))
            entries.append(
                VoiceEntry(
                    voice.identifier.decode(),
                    voice.name.decode().strip(),
                    tuple(tag for _, tag in languages),
                )
            )
        return entries

    def speak(self, voice: str, text: str, words_per_minute: int) -> Sound:
        """Speak. Args: voice: identifier, with `+variant` where wanted. Raises: ValueError: no such voice."""
        self._choose(voice)
        self._library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
        self._pcm, self._words = array("h"), []
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, _POSITION_BY_CHARACTER, 0, _UTF8, None, None)
        return Sound(self._pcm.tobytes(), self._words)

    def phonemes(self, voice: str, text: str) -> list[tuple[str, str]]:
        """Read without a sound: (IPA, text) of each clause; the text ends a word's beginning behind the clause.

        Raises: ValueError: no such voice.
        """
        self._choose(voice)
        encoded = text.encode()
        buffer = ctypes.create_string_buffer(encoded)
        start = ctypes.addressof(buffer)
        at, read = ctypes.c_void_p(start), 0
        clauses = []
        while at.value:  # the library moves it on, and to NULL at the end
            spoken = self._library.espeak_TextToPhonemes(ctypes.byref(at), _UTF8, _IPA)
            end = at.value - start if at.value else len(encoded)
            clauses.append((spoken.decode(), encoded[read:end].decode(errors="replace")))
            read = end
        return clauses

    def _choose(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"eSpeak NG has no voice {voice}")

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._pcm.frombytes(ctypes.string_at(samples, count * self._pcm.itemsize))
        index = 0
        while events[index].type != _END_OF_LIST:
            event = events[index]
            if event.type == _WORD:
                self._words.append((max(event.text_position - 1, 0), max(event.audio_position, 0)))
            index += 1
        return 0  # go on


def _languages(address: int) -> Iterator[tuple[int, str]]:
    """(priority, tag) pairs; a low priority is a good match."""
    while priority := ctypes.string_at(address, 1)[0]:
        tag = ctypes.string_at(address + 1)
        yield priority, tag.decode()
        address += len(tag) + 2
