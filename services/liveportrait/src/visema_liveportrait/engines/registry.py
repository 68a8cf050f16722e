"""Chooses the engine: neural when it can run, else embedded, and never silently."""

from __future__ import annotations

import enum
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from visema_kit.device_meter import DeviceMeter
from visema_kit.errors import CheckpointMissing
from visema_kit.logs import get_logger

from visema_liveportrait.engines.embedded.engine import EmbeddedEngine
from visema_liveportrait.engines.protocol import AnimationEngine
from visema_liveportrait.settings import LiveportraitSettings

NEURAL_MODULE = "visema_liveportrait.engines.neural"

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
        degraded_reason: Why a better engine cannot run here; empty when this is the best one or was asked for.
    """

    engine: AnimationEngine
    degraded_reason: str

    @property
    def degraded(self) -> bool:
        """True when a better engine exists but cannot run here."""
        return bool(self.degraded_reason)


class EngineRegistry:
    """The engines of this process and the rule that picks one."""

    def __init__(
        self,
        mode: Literal["auto", "neural", "embedded"],
        load_neural: Callable[[], AnimationEngine],
        meter: DeviceMeter | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            mode: `VISEMA_ENGINE`.
            load_neural: Makes the neural engine; raises CheckpointMissing when it cannot run here.
            meter: Learns what the device does for the embedded engine.
        """
        self._mode = mode
        self._load_neural = load_neural
        self._embedded: AnimationEngine = EmbeddedEngine(meter)
        self._neural: AnimationEngine | None = None
        self._neural_missing = "This service is set to the embedded engine only."

    def load(self) -> None:
        """Load what the mode asks for; blocks for seconds when there are checkpoints.

        Raises: CheckpointMissing: the mode is `neural` and it cannot run.
        """
        if self._mode == "embedded":
            return
        try:
            self._neural = self._load_neural()
        except CheckpointMissing as missing:
            if self._mode == "neural":
                raise
            self._neural_missing = missing.message
            log.warning("engine_degraded", engine="embedded", wanted="neural", why=missing.message)

    def choose(self, choice: EngineChoice = EngineChoice.AUTO) -> ChosenEngine:
        """The engine for one call.

        Raises: CheckpointMissing: neural was asked for and cannot run here.
        """
        if choice is EngineChoice.EMBEDDED:
            return ChosenEngine(self._embedded, "")
        if self._neural is not None:
            return ChosenEngine(self._neural, "")
        if choice is EngineChoice.NEURAL:
            raise CheckpointMissing(f"The neural engine cannot run here: {self._neural_missing}", field="engine")
        return ChosenEngine(self._embedded, self._neural_missing if self._mode == "auto" else "")


def neural_loader(settings: LiveportraitSettings, meter: DeviceMeter | None = None) -> Callable[[], AnimationEngine]:
    """The factory of the neural engine, imported late: it needs torch, which an embedded installation does without.

    Args: meter: Learns what the device does.
    """

    def load() -> AnimationEngine:
        try:
            module = importlib.import_module(NEURAL_MODULE)
        except ModuleNotFoundError as missing:
            raise CheckpointMissing(
                f"The neural engine is not installed here: there is no module {missing.name}.",
                metadata={"module": str(missing.name)},
            ) from missing
        engine: AnimationEngine = module.load_neural_engine(settings, meter)
        return engine

    return load
