"""Which speech engine is chosen, and when a service calls itself degraded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.small_voice import write_recording, write_voice
from visema_kit.errors import CheckpointMissing, VoiceNotFound
from visema_kit.recordings_store import RecordingFolder
from visema_kit.voices_store import VoiceFolder
from visema_speech.engines.catalogue import known_engines
from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.registry import EngineRegistry
from visema_speech.voices import Voices

VOICE = "piper/en_US-tones-low"


@pytest.fixture
def registries() -> Iterator[list[EngineRegistry]]:
    made: list[EngineRegistry] = []
    yield made
    for registry in made:
        registry.close()


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A checkpoint folder with one voice."""
    VoiceFolder(tmp_path / "checkpoints").import_voice(write_voice(tmp_path), "MIT")
    return tmp_path / "checkpoints"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four seconds of somebody, in a folder of their own."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    return write_recording(folder / "anna.wav", 4)


def loaded(registries: list[EngineRegistry], folder: Path | None, mode: str = "auto") -> EngineRegistry:
    espeak = EspeakEngine()
    registry = EngineRegistry(mode, espeak, known_engines(folder, espeak))
    registries.append(registry)
    registry.load()
    return registry


def names(registry: EngineRegistry) -> list[str]:
    return [engine.describe().name for engine in registry.engines]


@pytest.mark.parametrize("folder", [None, "an_empty_folder"])
def test_espeak_alone_is_not_degraded_where_no_neural_voice_is_installed(
    registries: list[EngineRegistry], tmp_path: Path, folder: str | None
) -> None:
    with capture_logs() as lines:
        registry = loaded(registries, tmp_path / folder if folder else None)
    assert names(registry) == ["espeak"]
    assert registry.degraded_reason == ""
    assert [line["event"] for line in lines] == ["espeak_started"]
    with pytest.raises(CheckpointMissing, match=r"No voice of piper is installed here.*visema models voices import"):
        Voices(registry, VOICE)


def test_a_voice_that_was_changed_is_degraded_loudly_and_never_replaced(
    registries: list[EngineRegistry], checkpoints: Path
) -> None:
    (checkpoints / "piper" / "en_US-tones-low.onnx").write_bytes(b"something else")
    with capture_logs() as lines:
        registry = loaded(registries, checkpoints)
    assert names(registry) == ["espeak"]
    assert "was changed after it was imported" in registry.degraded_reason
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["engine_degraded"]
    with pytest.raises(CheckpointMissing, match="was changed after it was imported"):
        Voices(registry, VOICE)


def test_an_imported_voice_without_its_runtime_is_degraded_loudly(
    registries: list[EngineRegistry], checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "visema_speech.engines.piper.engine", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what an installation without it looks like
    registry = loaded(registries, checkpoints)
    assert names(registry) == ["espeak"]
    assert "no module onnxruntime" in registry.degraded_reason
    with pytest.raises(CheckpointMissing, match=r"Install visema-speech\[neural\]"):
        Voices(registry, VOICE)


def test_a_registered_recording_is_a_clear_error_where_no_engine_can_use_it(
    registries: list[EngineRegistry], checkpoints: Path, recording: Path
) -> None:
    RecordingFolder(recording.parent).register(recording, "anna", "en", "agreed")
    registry = loaded(registries, recording.parent)
    assert names(registry) == ["espeak"]
    assert "No engine that is installed here speaks like a recording" in registry.degraded_reason
    with pytest.raises(CheckpointMissing, match=r"cloned/anna cannot speak here.*registered are anna") as caught:
        Voices(registry, "espeak/de").find("cloned/anna")
    assert caught.value.field == "voice_id"
    assert not [voice for voice in Voices(registry, "espeak/de").listed() if voice.engine == "cloned"]
    RecordingFolder(checkpoints).register(recording, "anna", "en", "agreed")
    assert loaded(registries, checkpoints).degraded_reason == ""  # other neural voices speak


def test_neural_mode_speaks_with_neural_voices_only(registries: list[EngineRegistry], checkpoints: Path) -> None:
    registry = loaded(registries, checkpoints, "neural")
    assert names(registry) == ["piper"]
    voices = Voices(registry, VOICE)
    assert voices.for_text("Привет, как дела?").voice_id == VOICE
    with pytest.raises(VoiceNotFound):
        voices.find("espeak/ru")


def test_neural_mode_without_a_neural_voice_does_not_start() -> None:
    espeak = EspeakEngine()
    registry = EngineRegistry("neural", espeak, known_engines(None, espeak))
    with pytest.raises(CheckpointMissing, match=r"No voice of piper is installed here"):
        registry.load()


def test_the_embedded_mode_loads_no_neural_voice(registries: list[EngineRegistry], checkpoints: Path) -> None:
    registry = loaded(registries, checkpoints, "embedded")
    assert names(registry) == ["espeak"]
    assert registry.degraded_reason == ""
    with pytest.raises(CheckpointMissing, match="embedded engine only"):
        Voices(registry, VOICE)


def test_a_text_without_a_voice_goes_to_one_that_speaks_its_language(
    registries: list[EngineRegistry], checkpoints: Path
) -> None:
    voices = Voices(loaded(registries, checkpoints), VOICE)
    assert voices.for_text("Hello, how are you and the others?").voice_id == VOICE
    assert voices.for_text("Привет, как дела?").voice_id == "espeak/ru"  # no neural voice speaks it
