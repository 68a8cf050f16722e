"""The engines of this service."""

from __future__ import annotations

from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineRegistry, import_neural

from visema_wav2lip.engines.embedded.engine import EmbeddedEngine
from visema_wav2lip.engines.protocol import LipSyncEngine
from visema_wav2lip.settings import Wav2LipSettings

NEURAL_MODULE = "visema_wav2lip.engines.neural"


def make_registry(settings: Wav2LipSettings, meter: DeviceMeter | None = None) -> EngineRegistry[LipSyncEngine]:
    """The embedded engine, and the neural one to be loaded.

    Args: meter: Learns what the device does.
    """

    def load_neural() -> LipSyncEngine:
        engine: LipSyncEngine = import_neural(NEURAL_MODULE).load_neural_engine(settings, meter)
        return engine

    return EngineRegistry(settings.engine, EmbeddedEngine(meter), load_neural)
