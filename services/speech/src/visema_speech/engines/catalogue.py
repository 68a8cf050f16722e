"""The neural engines that this service knows, and how to make each ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from visema_kit.errors import CheckpointMissing
from visema_kit.recordings_store import RecordingFolder
from visema_kit.voices_store import HOW_TO_GET, VoiceFolder

from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.protocol import SpeechEngine


@dataclass(frozen=True, slots=True)
class NeuralEngine:
    """A neural engine before it is loaded.

    Attributes:
        name: Name of the engine and first part of its voice ids.
        make: Makes it; None where no voice of it is installed. Raises: CheckpointMissing: one is, but cannot run.
        how_to_get: A sentence about where its voices come from.
    """

    name: str
    make: Callable[[], SpeechEngine | None]
    how_to_get: str


def known_engines(checkpoint_dir: Path | None, espeak: EspeakEngine) -> tuple[NeuralEngine, ...]:
    """Every neural engine. Args: espeak: reads the text for engines that speak phonemes."""

    def piper() -> SpeechEngine | None:
        if checkpoint_dir is None or not (folder := VoiceFolder(checkpoint_dir)).record():
            return None
        try:
            from visema_speech.engines.piper.engine import PiperEngine  # noqa: PLC0415  # its runtime is an extra
        except ModuleNotFoundError as missing:
            raise CheckpointMissing(
                f"The voices of piper cannot run here: there is no module {missing.name}. "
                "Install visema-speech[neural].",
                metadata={"module": str(missing.name)},
            ) from missing
        return PiperEngine(folder, espeak)

    def cloned() -> SpeechEngine | None:
        if checkpoint_dir is None or not (recordings := RecordingFolder(checkpoint_dir).record()):
            return None
        raise CheckpointMissing(
            f"No engine that is installed here speaks like a recording; registered are {', '.join(sorted(recordings))}."
        )

    return (
        NeuralEngine("piper", piper, HOW_TO_GET),
        NeuralEngine("cloned", cloned, "Recordings of voices are kept here, and no engine that is installed uses one."),
    )
