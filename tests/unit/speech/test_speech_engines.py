"""Which speech engine is chosen, and when a service calls itself degraded."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from visema_kit.errors import CheckpointMissing
from visema_speech.engines.catalogue import FAMILIES, KOKORO, NeuralFamily
from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.registry import EngineRegistry, load_installed
from visema_speech.voices import Voices

IN_NO_PACKAGE = NeuralFamily("kokoro", "a_package_that_nobody_has.kokoro", KOKORO)
WITHOUT_CHECKPOINT = """
from visema_kit.errors import CheckpointMissing

def load_engine():
    raise CheckpointMissing("kokoro-v1.0.onnx is not in the checkpoint folder.")
"""
WITHOUT_RUNTIME = "import a_runtime_that_nobody_has"


@pytest.fixture
def registries() -> Iterator[list[EngineRegistry]]:
    made: list[EngineRegistry] = []
    yield made
    for registry in made:
        registry.close()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> NeuralFamily:
    """A neural family whose code is the fixture's parameter."""
    module = f"neural_voices_{uuid.uuid4().hex}"  # modules stay imported: a name for each test
    (tmp_path / f"{module}.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    return NeuralFamily("kokoro", module, KOKORO)


def loaded(registries: list[EngineRegistry], family: NeuralFamily) -> EngineRegistry:
    registry = EngineRegistry("auto", EspeakEngine(), load_installed, [family])
    registries.append(registry)
    registry.load()
    return registry


@pytest.mark.parametrize("family", [*FAMILIES, IN_NO_PACKAGE], ids=lambda family: family.module)
def test_espeak_alone_is_not_degraded_where_no_neural_voice_is_installed(
    registries: list[EngineRegistry], family: NeuralFamily
) -> None:
    with capture_logs() as lines:
        registry = loaded(registries, family)
    assert [engine.describe().name for engine in registry.engines] == ["espeak"]
    assert registry.degraded_reason == ""
    assert [line["event"] for line in lines] == ["espeak_started"]


@pytest.mark.parametrize(
    ("installed", "why"),
    [(WITHOUT_CHECKPOINT, "kokoro-v1.0.onnx is not in"), (WITHOUT_RUNTIME, "no module a_runtime_that_nobody_has")],
    indirect=["installed"],
    ids=["checkpoint", "runtime"],
)
def test_an_installed_neural_voice_that_cannot_run_is_degraded_loudly(
    registries: list[EngineRegistry], installed: NeuralFamily, why: str
) -> None:
    with capture_logs() as lines:
        registry = loaded(registries, installed)
    assert [engine.describe().name for engine in registry.engines] == ["espeak"]
    assert why in registry.degraded_reason
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["engine_degraded"]
    with pytest.raises(CheckpointMissing, match=why):
        Voices(registry, "kokoro/af_heart")


def test_a_neural_voice_as_default_is_never_replaced(registries: list[EngineRegistry]) -> None:
    registry = loaded(registries, FAMILIES[0])
    with pytest.raises(CheckpointMissing, match=r"not installed here.*kokoro-v1\.0\.onnx"):
        Voices(registry, "kokoro/af_heart")


def test_neural_mode_without_a_neural_engine_does_not_start() -> None:
    registry = EngineRegistry("neural", EspeakEngine(), load_installed)
    with pytest.raises(CheckpointMissing, match=r"not installed here.*kokoro-v1\.0\.onnx"):
        registry.load()
