"""The engines of this service."""

from __future__ import annotations

from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineRegistry, import_neural

from visema_liveportrait.engines.embedded.engine import EmbeddedEngine
from visema_liveportrait.engines.protocol import AnimationEngine
from visema_liveportrait.settings import LiveportraitSettings

NEURAL_MODULE = "visema_liveportrait.engines.neural"


def make_registry(settings: LiveportraitSettings, meter: DeviceMeter | None = None) -> EngineRegistry[AnimationEngine]:
    """The embedded engine, and the neural one to be loaded.

    Args: meter: Learns what the device does.
    """

    def load_neural() -> AnimationEngine:
        engine: AnimationEngine = import_neural(NEURAL_MODULE).load_neural_engine(settings, meter)
        return engine

    return EngineRegistry(settings.engine, EmbeddedEngine(meter), load_neural)
