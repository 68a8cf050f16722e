"""The engine is chosen by a rule, and never silently."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import structlog.testing
from visema.common.v1 import common_pb2
from visema_kit.engines import EngineChoice, EngineDescription, EngineRegistry, engine_choice, import_neural
from visema_kit.errors import CheckpointMissing, InvalidInput, LicenseNotAccepted, PreconditionFailed, Unavailable
from visema_kit.metrics import Metrics


@dataclass(frozen=True)
class Named:
    """An engine with nothing but a name."""

    name: str

    def describe(self) -> EngineDescription:
        return EngineDescription(self.name, "1", "MIT", "", "cpu", ("blink",))

    def check_room(self) -> None:
        """There is."""


def present() -> Named:
    return Named("neural")


def missing() -> Named:
    raise CheckpointMissing("generator.safetensors is not in the folder.", metadata={"file": "generator"})


def loaded(mode: str, load_neural: object) -> EngineRegistry[Named]:
    registry: EngineRegistry[Named] = EngineRegistry(mode, Named("embedded"), load_neural)
    registry.load()
    return registry


@pytest.mark.parametrize(
    ("mode", "choice", "name"),
    [
        ("auto", EngineChoice.AUTO, "neural"),
        ("auto", EngineChoice.NEURAL, "neural"),
        ("auto", EngineChoice.EMBEDDED, "embedded"),
        ("neural", EngineChoice.AUTO, "neural"),
        ("neural", EngineChoice.EMBEDDED, "embedded"),
        ("embedded", EngineChoice.AUTO, "embedded"),
        ("embedded", EngineChoice.EMBEDDED, "embedded"),
    ],
)
def test_with_checkpoints_the_setting_and_the_request_choose(mode: str, choice: EngineChoice, name: str) -> None:
    chosen = loaded(mode, present).choose(choice)
    assert chosen.engine.name == name
    assert chosen.degraded_reason == ""


def test_auto_without_checkpoints_is_degraded_loudly() -> None:
    with structlog.testing.capture_logs() as lines:
        chosen = loaded("auto", missing).choose()
    assert chosen.engine.name == "embedded"
    assert "generator.safetensors" in chosen.degraded_reason
    assert [(line["event"], line["log_level"]) for line in lines] == [("engine_degraded", "warning")]


def test_embedded_on_request_is_not_degraded() -> None:
    assert loaded("auto", missing).choose(EngineChoice.EMBEDDED).degraded_reason == ""


@pytest.mark.parametrize("error", [CheckpointMissing, LicenseNotAccepted])
def test_neural_that_cannot_run_is_refused_at_the_start_and_per_request(error: type[PreconditionFailed]) -> None:
    def cannot() -> Named:
        raise error("No.", metadata={"file": "generator"})

    with pytest.raises(error):
        loaded("neural", cannot)
    with pytest.raises(error, match=r"cannot run here: No\.") as refused:
        loaded("auto", cannot).choose(EngineChoice.NEURAL)
    assert (refused.value.field, refused.value.metadata) == ("engine", {"file": "generator"})
    with pytest.raises(CheckpointMissing, match="embedded engine only"):
        loaded("embedded", cannot).choose(EngineChoice.NEURAL)


@pytest.mark.parametrize("choice", list(EngineChoice))
def test_before_it_is_loaded_no_engine_serves(choice: EngineChoice) -> None:
    with pytest.raises(Unavailable):
        EngineRegistry("auto", Named("embedded"), present).choose(choice)


def test_callers_and_metrics_see_what_was_chosen() -> None:
    info = loaded("auto", missing).choose().info()
    assert (info.name, info.version, info.model_license, info.device) == ("embedded", "1", "MIT", "cpu")
    assert list(info.capabilities) == ["blink"]
    assert info.degraded
    assert info.degraded_reason
    metrics = Metrics()
    metrics.describe_engine("wav2lip", info)
    labels = {"stage": "wav2lip", "engine": "embedded", "version": "1", "degraded": "true"}
    assert metrics.registry.get_sample_value("visema_engine_info", labels) == 1


def test_requests_choose_by_the_protos_enum() -> None:
    assert engine_choice(common_pb2.ENGINE_CHOICE_UNSPECIFIED, "engine") is EngineChoice.AUTO
    assert engine_choice(common_pb2.ENGINE_CHOICE_EMBEDDED, "engine") is EngineChoice.EMBEDDED
    with pytest.raises(InvalidInput) as refused:
        engine_choice(77, "open.engine")
    assert refused.value.field == "open.engine"


def test_an_installation_without_the_neural_module_counts_as_without_checkpoints() -> None:
    with pytest.raises(CheckpointMissing, match="not installed"):
        import_neural("visema_kit.no_such_module")
    assert import_neural("visema_kit.engines").EngineChoice is EngineChoice
