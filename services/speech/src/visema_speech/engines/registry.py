"""Chooses the engine: neural when it can run, else embedded, and never silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from visema_kit.errors import CheckpointMissing
from visema_kit.logs import get_logger

from visema_speech.engines.catalogue import NeuralEngine
from visema_speech.engines.protocol import SpeechEngine

log = get_logger(__name__)


class EngineRegistry:
    """The engines of this process."""

    def __init__(
        self, mode: Literal["auto", "neural", "embedded"], embedded: SpeechEngine, neural: Sequence[NeuralEngine]
    ) -> None:
        """Load nothing yet.

        Args:
            mode: `VISEMA_SPEECH_ENGINE`.
            embedded: Speaks without checkpoints.
            neural: Engines with checkpoints, the best first.
        """
        self._mode = mode
        self._embedded = embedded
        self._known = neural
        self._neural: dict[str, SpeechEngine] = {}
        self._unusable: dict[str, str] = {}

    def load(self) -> None:
        """Load what the mode asks for; blocks.

        Raises: CheckpointMissing: the mode is `neural` and no neural engine can run, or eSpeak NG does not start.
        """
        if self._mode != "embedded":
            for engine in self._known:
                self._load_neural(engine)
            if self._mode == "neural" and not self._neural:
                raise CheckpointMissing(" ".join(self.why_missing(engine) for engine in self._known))
        if self._mode != "neural":
            self._embedded.load()
            if self.degraded_reason:
                log.warning("engine_degraded", engine="espeak", wanted="neural", why=self.degraded_reason)

    @property
    def engines(self) -> tuple[SpeechEngine, ...]:
        """Those that can speak, the best first."""
        embedded = () if self._mode == "neural" else (self._embedded,)
        return (*self._neural.values(), *embedded)

    @property
    def degraded_reason(self) -> str:
        """Why better voices that are installed cannot speak here; empty when they can, or there are none.

        An installation without neural voices is whole: eSpeak NG is then what it was made to speak with.
        """
        return "" if self._neural else " ".join(self._unusable.values())

    def silent_engine_of(self, voice_id: str) -> NeuralEngine | None:
        """The neural engine that a voice id names, where it cannot speak; None for other ids."""
        name = voice_id.partition("/")[0]
        return next((engine for engine in self._known if engine.name == name and name not in self._neural), None)

    def why_missing(self, engine: NeuralEngine) -> str:
        """Why an engine's voices cannot speak here, and what helps."""
        if self._mode == "embedded":
            return "This service is set to the embedded engine only."
        return self._unusable.get(engine.name, f"No voice of {engine.name} is installed here. {engine.how_to_get}")

    def close(self) -> None:
        """Free everything."""
        for engine in (*self._neural.values(), self._embedded):
            engine.close()

    def _load_neural(self, known: NeuralEngine) -> None:
        try:
            engine = known.make()
            if engine is not None:
                engine.load()
                self._neural[known.name] = engine
        except CheckpointMissing as missing:
            self._unusable[known.name] = missing.message
