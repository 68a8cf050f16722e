"""The embedded engine: eSpeak NG."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import espeakng_loader
import numpy as np
from visema_kit.errors import CheckpointMissing, InvalidInput
from visema_kit.logs import get_logger

from visema_speech.engines.espeak.process import Answer, EspeakProcess, WorkerDied
from visema_speech.engines.protocol import EngineDescription, SpokenMark, Utterance, Voice
from visema_speech.text.scripts import LATIN, scripts_of_language

NAME = "espeak"
LICENSE = "GPL-3.0-or-later"
_NORMAL_WPM = 175  # eSpeak NG's own default
_FEMALE = "f3"  # one of its female voice variants, which go with every language
_ATTEMPTS = 2
_FULL_SCALE = 32_768

# eSpeak NG calls its British voice plain `en`, and many callers would not expect that.
_RENAMED = {"en": "en-gb"}
# In these voices Latin letters are spelled one by one; the others read Latin words, most of them as English.
_SPELLS_LATIN = frozenset({"ba", "cv", "hak", "hyw", "ja", "kok", "ky", "my", "nog", "shn", "ti"})

log = get_logger(__name__)


class EspeakEngine:
    """Speaks with eSpeak NG in a process of its own."""

    def __init__(self, library: Path | None = None, data: Path | None = None) -> None:
        """Start nothing yet. Args: library, data: instead of those that the package espeakng-loader brings."""
        self._process = EspeakProcess(
            library or Path(espeakng_loader.get_library_path()), data or Path(espeakng_loader.get_data_path())
        )
        self._voices: tuple[Voice, ...] = ()
        self._names: dict[str, str] = {}

    @property
    def worker_pid(self) -> int:
        """Process id of eSpeak NG; 0 when it does not run."""
        return self._process.pid

    def load(self) -> None:
        """Start eSpeak NG and list its voices, once. Raises: CheckpointMissing: it does not start."""
        if self._voices:
            return
        try:
            entries = self._process.ask({"ask": "voices"}).header["voices"]
        except WorkerDied as error:
            raise CheckpointMissing(f"eSpeak NG does not run here: {error}.") from error
        voices = []
        for identifier, name, languages in entries:
            file_name = identifier.rpartition("/")[2].lower()
            short_name = _RENAMED.get(file_name, file_name)
            scripts = _scripts(file_name, languages)
            for variant, note in (("", ""), (f"+{_FEMALE}", ", female")):
                voice_id = f"{NAME}/{short_name}{variant}"
                voices.append(Voice(voice_id, name + note, tuple(languages), NAME, LICENSE, scripts, variant))
                self._names[voice_id] = identifier + variant
        self._voices = tuple(sorted(voices, key=lambda voice: voice.voice_id))

    def describe(self) -> EngineDescription:
        """See SpeechEngine."""
        version = f"{metadata.version('visema-speech')}+espeakng{self._process.version}"
        return EngineDescription(NAME, version, "cpu", ("word-timings", "speaking-rate"))

    def voices(self) -> tuple[Voice, ...]:
        """See SpeechEngine."""
        return self._voices

    def speak(self, voice: Voice, text: str, speaking_rate: float) -> Utterance:
        """See SpeechEngine. A text that brings eSpeak NG down twice is refused."""
        question: dict[str, object] = {
            "ask": "speak",
            "voice": self._names[voice.voice_id],
            "text": text,
            "words_per_minute": round(_NORMAL_WPM * speaking_rate),
        }
        answer = self._ask_patiently(question, voice)
        levels = np.frombuffer(answer.sound, np.int16)
        samples = levels.astype(np.float32)[None, :] * np.float32(1 / _FULL_SCALE)  # (1, n)
        marks = tuple(SpokenMark(min(at, len(text) - 1), ms / 1000) for at, ms in answer.header["words"])
        return Utterance(samples, self._process.rate_hz, marks)

    def voice_named(self, name: str) -> Voice | None:
        """The plain voice that eSpeak NG itself knows by this name: that of a file, or a language's best."""
        plain = [voice for voice in self._voices if not voice.variant]
        named = {self._names[voice.voice_id].rpartition("/")[2].lower(): voice for voice in plain}
        spoken = (voice for voice in plain if name.lower() in voice.languages)
        return named.get(name.lower()) or next(spoken, None)

    def phonemes(self, voice: Voice, text: str) -> list[tuple[str, str]]:
        """Each clause of a text in the International Phonetic Alphabet, and the text that was read for it.

        Raises: InvalidInput: as of `speak`.
        """
        question: dict[str, object] = {"ask": "phonemes", "voice": self._names[voice.voice_id], "text": text}
        return [(clause, source) for clause, source in self._ask_patiently(question, voice).header["clauses"]]

    def close(self) -> None:
        """End eSpeak NG."""
        self._process.close()

    def _ask_patiently(self, question: dict[str, object], voice: Voice) -> Answer:
        """Raises: InvalidInput: eSpeak NG dies of it."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._process.ask(question)
            except WorkerDied as error:
                log.warning("espeak_text_refused", voice=voice.voice_id, attempt=attempt, why=str(error))
                if attempt == _ATTEMPTS:
                    raise InvalidInput(
                        f"The voice {voice.voice_id} cannot speak a part of this text; it may hold unusual symbols.",
                        field="text",
                        metadata={"voice_id": voice.voice_id},
                    ) from error
        raise AssertionError("unreachable")


def _scripts(file_name: str, languages: list[str]) -> frozenset[str]:
    own = frozenset().union(*(scripts_of_language(tag) for tag in (file_name, *languages)))
    return own if file_name in _SPELLS_LATIN else own | {LATIN}
