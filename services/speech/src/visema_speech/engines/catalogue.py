"""Neural voices that this service knows by name, and the checkpoints that they need."""

from __future__ import annotations

from dataclasses import dataclass

from visema_kit.checkpoints import CheckpointFile, ModelWeights

_KOKORO_URL = "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0/"

KOKORO = ModelWeights(
    "kokoro",
    "Apache-2.0",
    "",
    (
        CheckpointFile(
            "kokoro/kokoro-v1.0.onnx",
            _KOKORO_URL + "kokoro-v1.0.onnx",
            0,
            "7d5df8ecf7d4b1878015a32686053fd0eebe2bc377234608764cc0ef3636a6c5",
            (),
        ),
        CheckpointFile(
            "kokoro/voices-v1.0.bin",
            _KOKORO_URL + "voices-v1.0.bin",
            0,
            "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d",
            (),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class NeuralFamily:
    """Voices of one neural engine.

    Attributes:
        name: Name of the engine and first part of its voice ids.
        module: Module with `load_engine() -> SpeechEngine`, imported when it is wanted.
        weights: Checkpoints that it needs, with hashes and licence.
    """

    name: str
    module: str
    weights: ModelWeights

    def needs(self) -> str:
        """A sentence about its checkpoints."""
        files = ", ".join(f"{file.name} (sha256 {file.sha256[:12]}…)" for file in self.weights.files)
        return f"They need {files}, licence {self.weights.license_name}."


FAMILIES = (NeuralFamily("kokoro", "visema_speech.engines.kokoro", KOKORO),)


def family_of(voice_id: str) -> NeuralFamily | None:
    """The neural family that a voice id names; None for other ids."""
    name = voice_id.partition("/")[0]
    return next((family for family in FAMILIES if family.name == name), None)
