"""Chooses the engine: neural when it can run, else embedded, and never silently."""

from __future__ import annotations

import enum
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from visema_kit.device_meter import DeviceMeter
from visema_kit.errors import CheckpointMissing, LicenseNotAccepted, PreconditionFailed
from visema_kit.logs import get_logger

from visema_wav2lip.engines.embedded.engine import EmbeddedEngine
from visema_wav2lip.engines.protocol import EngineDescription, LipSyncEngine
from visema_wav2lip.settings import Wav2LipSettings

_NEURAL_MODULE = "visema_wav2lip.engines.neural"

log = get_logger(__name__)


class EngineChoice(enum.Enum):
    """What a caller asks for."""

    AUTO = "auto"
    NEURAL = "neural"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """The engine of one call.

    Attributes:
        engine: What computes.
        description: Who that is, with the reason when a better one cannot run here.
    """

    engine: LipSyncEngine
    description: EngineDescription


class EngineRegistry:
    """The engines of this process and the rule that picks one."""

    def __init__(
        self,
        mode: Literal["auto", "neural", "embedded"],
        embedded: LipSyncEngine,
        neural: LipSyncEngine | None,
        neural_missing: PreconditionFailed | None,
    ) -> None:
        """Keep the engines.

        Args:
            mode: `VISEMA_ENGINE`.
            embedded: Always there.
            neural: None when it cannot run here or was not wanted.
            neural_missing: Why `neural` is None.
        """
        self._mode = mode
        self._embedded = embedded
        self._neural = neural
        self._neural_missing = neural_missing

    def choose(self, choice: EngineChoice = EngineChoice.AUTO) -> ChosenEngine:
        """The engine for one call.

        Raises: CheckpointMissing, LicenseNotAccepted: neural was asked for and cannot run here.
        """
        if choice is not EngineChoice.EMBEDDED and self._neural is not None:
            return ChosenEngine(self._neural, self._neural.describe())
        description = self._embedded.describe()
        if choice is EngineChoice.EMBEDDED or self._neural_missing is None:
            return ChosenEngine(self._embedded, description)
        if choice is EngineChoice.NEURAL:
            raise self._neural_missing
        if self._mode == "auto":
            description = description.degraded_because(self._neural_missing.message)
        return ChosenEngine(self._embedded, description)


def load_engines(
    settings: Wav2LipSettings,
    make_neural: Callable[[Wav2LipSettings], LipSyncEngine] | None = None,
    meter: DeviceMeter | None = None,
) -> EngineRegistry:
    """Load what `VISEMA_ENGINE` asks for. Blocks for seconds when there are checkpoints.

    Args:
        settings: The service's.
        make_neural: Instead of `load_neural`.
        meter: Learns what the device does.
    Raises: CheckpointMissing, LicenseNotAccepted: `neural` was asked for and cannot run.
    """
    embedded = EmbeddedEngine(meter)
    if settings.engine == "embedded":
        unwanted = CheckpointMissing("This service is set to the embedded engine only.", field="engine")
        return EngineRegistry("embedded", embedded, None, unwanted)
    try:
        neural = make_neural(settings) if make_neural is not None else load_neural(settings, meter)
    except (CheckpointMissing, LicenseNotAccepted) as missing:
        if settings.engine == "neural":
            raise
        log.warning("engine_degraded", engine="embedded", wanted="neural", why=missing.message)
        return EngineRegistry("auto", embedded, None, missing)
    return EngineRegistry(settings.engine, embedded, neural, None)


def load_neural(settings: Wav2LipSettings, meter: DeviceMeter | None = None) -> LipSyncEngine:
    """Import the neural engine late: it needs torch, which an embedded installation does without.

    Args: meter: Learns what the device does.
    Raises: CheckpointMissing, LicenseNotAccepted: it cannot run here.
    """
    try:
        module = importlib.import_module(_NEURAL_MODULE)
    except ModuleNotFoundError as missing:
        raise CheckpointMissing(
            f"The neural engine is not installed here: there is no module {missing.name}.",
            metadata={"module": str(missing.name)},
        ) from missing
    engine: LipSyncEngine = module.load_neural_engine(settings, meter)
    return engine
