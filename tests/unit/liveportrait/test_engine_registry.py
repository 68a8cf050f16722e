"""The engine is chosen by a rule, and never silently."""

from __future__ import annotations

import sys

import pytest
import structlog.testing
from visema_kit.errors import CheckpointMissing
from visema_liveportrait.engines.embedded.engine import EmbeddedEngine
from visema_liveportrait.engines.protocol import AnimationEngine
from visema_liveportrait.engines.registry import NEURAL_MODULE, EngineChoice, EngineRegistry, neural_loader
from visema_liveportrait.settings import LiveportraitSettings


class OtherEngine(EmbeddedEngine):
    """Stands for a better engine."""


def present() -> AnimationEngine:
    return OtherEngine()


def missing() -> AnimationEngine:
    raise CheckpointMissing("generator.safetensors is not in the folder.")


def loaded(mode: str, loader: object) -> EngineRegistry:
    registry = EngineRegistry(mode, loader)
    registry.load()
    return registry


@pytest.mark.parametrize(
    ("mode", "choice", "kind"),
    [
        ("auto", EngineChoice.AUTO, OtherEngine),
        ("auto", EngineChoice.NEURAL, OtherEngine),
        ("auto", EngineChoice.EMBEDDED, EmbeddedEngine),
        ("neural", EngineChoice.AUTO, OtherEngine),
        ("neural", EngineChoice.EMBEDDED, EmbeddedEngine),
        ("embedded", EngineChoice.AUTO, EmbeddedEngine),
        ("embedded", EngineChoice.EMBEDDED, EmbeddedEngine),
    ],
)
def test_with_checkpoints_the_setting_and_the_request_choose(
    mode: str, choice: EngineChoice, kind: type[EmbeddedEngine]
) -> None:
    chosen = loaded(mode, present).choose(choice)
    assert type(chosen.engine) is kind
    assert not chosen.degraded


def test_auto_without_checkpoints_is_degraded_loudly() -> None:
    with structlog.testing.capture_logs() as lines:
        chosen = loaded("auto", missing).choose()
    assert type(chosen.engine) is EmbeddedEngine
    assert chosen.degraded
    assert "generator.safetensors" in chosen.degraded_reason
    assert [(line["event"], line["log_level"]) for line in lines] == [("engine_degraded", "warning")]


def test_embedded_on_request_is_not_degraded() -> None:
    assert not loaded("auto", missing).choose(EngineChoice.EMBEDDED).degraded


def test_neural_without_checkpoints_is_refused_at_the_start_and_per_request() -> None:
    with pytest.raises(CheckpointMissing):
        loaded("neural", missing)
    for mode in ("auto", "embedded"):
        with pytest.raises(CheckpointMissing) as refused:
            loaded(mode, missing).choose(EngineChoice.NEURAL)
        assert refused.value.field == "engine"


def test_an_installation_without_the_neural_module_counts_as_without_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, NEURAL_MODULE, None)
    settings = LiveportraitSettings(
        s3_endpoint="http://127.0.0.1:1", s3_access_key="a", s3_secret_key="b", s3_bucket="visema"
    )
    with pytest.raises(CheckpointMissing, match="not installed"):
        neural_loader(settings)()
