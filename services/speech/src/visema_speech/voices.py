"""All voices of the service: lists them, finds them by id, and picks one for a text that names none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from visema_kit.errors import CheckpointMissing, VoiceNotFound

from visema_speech.engines.protocol import SpeechEngine, Voice
from visema_speech.engines.registry import EngineRegistry
from visema_speech.text.language import guess_language, language_in
from visema_speech.text.scripts import Run

_LONGEST_ID_SHOWN = 80
_USUAL_DIALECTS = {"en": "en-us"}


class Voices:
    """The voices of engines that are loaded."""

    def __init__(self, registry: EngineRegistry, default_voice: str) -> None:
        """Raises: VoiceNotFound, CheckpointMissing: there is no default voice."""
        self._registry = registry
        self._engines: dict[str, SpeechEngine] = {engine.describe().name: engine for engine in registry.engines}
        self._voices = {voice.voice_id: voice for engine in registry.engines for voice in engine.voices()}
        self.default = self.find(default_voice)

    def find(self, voice_id: str) -> Voice:
        """The voice with this id.

        Raises: CheckpointMissing: it belongs to a neural engine that cannot run here. VoiceNotFound: there is none.
        """
        voice = self._voices.get(voice_id)
        if voice is not None:
            return voice
        silent = self._registry.silent_engine_of(voice_id)
        shown = voice_id[:_LONGEST_ID_SHOWN]
        if silent is not None:
            raise CheckpointMissing(
                f"The voice {shown} cannot speak here. {self._registry.why_missing(silent)}",
                field="voice_id",
                metadata={"voice_id": shown, "engine": silent.name},
            )
        raise VoiceNotFound(
            f"There is no voice {shown!r}; ListVoices lists them.", field="voice_id", metadata={"voice_id": shown}
        )

    def engine_of(self, voice: Voice) -> SpeechEngine:
        """The engine that speaks it."""
        return self._engines[voice.engine]

    def listed(self, language: str = "", after: str = "") -> Iterable[Voice]:
        """Voices sorted by id. Args: language: BCP 47 tag, also of a dialect; after: only ids behind this one."""
        wanted = language.lower()
        for voice_id in sorted(self._voices):
            voice = self._voices[voice_id]
            if voice_id > after and (not wanted or any(_covers(wanted, tag) for tag in voice.languages)):
                yield voice

    def for_text(self, text: str) -> Voice:
        """The voice of a text that names none: the default voice, or one that speaks the text's language."""
        language = guess_language(text)
        if not language or language == self.default.main_language:
            return self.default
        return self._for_language(language, self.default) or self._plain(language) or self.default

    def for_run(self, run: Run, text: str, voice: Voice) -> Voice:
        """The voice of a run in `text`: `voice` where it reads the run's script, else one that does.

        A single foreign letter is a symbol rather than a word: every voice knows most of their names.
        """
        word = text[run.start : run.end]
        if not run.script or run.script in voice.scripts or sum(map(str.isalpha, word)) == 1:
            return voice
        if run.script in self.default.scripts:
            return self._for_language(self.default.main_language, voice, self.default) or voice
        return self._for_language(language_in(run.script, text), voice) or voice

    def _for_language(self, language: str, like: Voice, preferred: Voice | None = None) -> Voice | None:
        """A voice of `like`'s engine and variant for a language: `preferred`, the plain one, or the first dialect."""
        fitting = [
            voice
            for voice in self._voices.values()
            if voice.engine == like.engine and voice.variant == like.variant and voice.main_language == language
        ]
        return _best(fitting, language, preferred)

    def _plain(self, language: str) -> Voice | None:
        """The voice for a language that no voice like the default one speaks, of any engine."""
        plain = [voice for voice in self._voices.values() if not voice.variant and voice.main_language == language]
        return _best(plain, language)


def _best(voices: Sequence[Voice], language: str, preferred: Voice | None = None) -> Voice | None:
    """`preferred`, the usual dialect, or the first; None when there is none."""
    usual = _USUAL_DIALECTS.get(language, language)

    def rank(voice: Voice) -> tuple[bool, bool, str]:
        is_preferred = preferred is not None and voice.languages == preferred.languages
        return not is_preferred, voice.languages[0] != usual, voice.voice_id

    return min(voices, key=rank, default=None)


def _covers(wanted: str, tag: str) -> bool:
    """Whether a voice for `tag` is one for `wanted`: the same language, or a dialect of it."""
    return tag.lower() == wanted or tag.lower().startswith(wanted + "-")
