"""Which engine serves a call: neural when it can run, else embedded, and never silently."""

from __future__ import annotations

import enum
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Generic, Literal, Protocol, TypeVar

from visema.common.v1 import common_pb2

from visema_kit.errors import CheckpointMissing, InvalidInput, PreconditionFailed, Unavailable
from visema_kit.logs import get_logger

log = get_logger(__name__)


class EngineChoice(enum.Enum):
    """What a caller asks for."""

    AUTO = "auto"
    NEURAL = "neural"
    EMBEDDED = "embedded"


_CHOICES: Final[dict[int, EngineChoice]] = {
    common_pb2.ENGINE_CHOICE_UNSPECIFIED: EngineChoice.AUTO,
    common_pb2.ENGINE_CHOICE_AUTO: EngineChoice.AUTO,
    common_pb2.ENGINE_CHOICE_NEURAL: EngineChoice.NEURAL,
    common_pb2.ENGINE_CHOICE_EMBEDDED: EngineChoice.EMBEDDED,
}


def engine_choice(value: int, field: str) -> EngineChoice:
    """The choice of a request. Raises: InvalidInput: a number that this version does not know."""
    if value not in _CHOICES:
        raise InvalidInput(f"{value} is not a kind of engine.", field=field)
    return _CHOICES[value]


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What computes, and under which licence.

    Attributes:
        name: Engine name, a small closed set, e.g. `embedded` or `liveportrait`.
        version: Version of code and settings; part of every object key.
        model_license: SPDX expression where there is one.
        weights_sha256: Over the weights in use; empty for engines without weights.
        device: E.g. `cpu` or `cuda:0 NVIDIA H100`.
        capabilities: E.g. `gaze`, `foreign-video`.
    """

    name: str
    version: str
    model_license: str
    weights_sha256: str
    device: str
    capabilities: tuple[str, ...] = ()

    def identity(self) -> tuple[str, str, str]:
        """What object keys depend on: name, version and weights."""
        return self.name, self.version, self.weights_sha256


class Engine(Protocol):
    """What every engine of a stage can say; the stage's own protocol adds the work."""

    def describe(self) -> EngineDescription:
        """What computes; cheap, any thread."""
        ...

    def check_room(self) -> None:
        """Ask whether one more call may begin; cheap, any thread.

        Raises: DeviceBusy: the device has no memory for it at the moment.
        """
        ...


E = TypeVar("E", bound=Engine)


@dataclass(frozen=True, slots=True)
class ChosenEngine(Generic[E]):
    """The engine of one call.

    Attributes:
        engine: What computes.
        degraded_reason: Why a better engine cannot run here; empty when this is the best one or was asked for.
    """

    engine: E
    degraded_reason: str = ""

    def info(self) -> common_pb2.EngineInfo:
        """The engine as callers see it."""
        description = self.engine.describe()
        return common_pb2.EngineInfo(
            name=description.name,
            version=description.version,
            model_license=description.model_license,
            weights_sha256=description.weights_sha256,
            device=description.device,
            degraded=bool(self.degraded_reason),
            degraded_reason=self.degraded_reason,
            capabilities=description.capabilities,
        )


class EngineRegistry(Generic[E]):
    """The engines of one stage's process and the rule that picks one."""

    def __init__(self, mode: Literal["auto", "neural", "embedded"], embedded: E, load_neural: Callable[[], E]) -> None:
        """Load nothing yet.

        Args:
            mode: `VISEMA_ENGINE`.
            embedded: Always there.
            load_neural: Makes the neural engine; raises a PreconditionFailed when it cannot run here.
        """
        self._mode = mode
        self._embedded = embedded
        self._load_neural = load_neural
        self._neural: E | PreconditionFailed | None = None  # or why there is none; None: not loaded yet

    def load(self) -> None:
        """Load what the mode asks for; blocks for seconds when there are checkpoints.

        Raises: CheckpointMissing, LicenseNotAccepted: the mode is `neural` and it cannot run.
        """
        if self._mode == "embedded":
            self._neural = CheckpointMissing("This service is set to the embedded engine only.")
            return
        try:
            self._neural = self._load_neural()
        except PreconditionFailed as missing:
            if self._mode == "neural":
                raise
            self._neural = missing
            log.warning("engine_degraded", engine="embedded", wanted="neural", why=missing.message)

    def choose(self, choice: EngineChoice = EngineChoice.AUTO) -> ChosenEngine[E]:
        """The engine for one call.

        Raises:
            CheckpointMissing, LicenseNotAccepted: neural was asked for and cannot run here.
            Unavailable: `load` has not ended yet.
        """
        neural = self._neural
        if neural is None:
            raise Unavailable("The engine is being loaded.")
        if choice is EngineChoice.EMBEDDED:
            return ChosenEngine(self._embedded)
        if not isinstance(neural, PreconditionFailed):
            return ChosenEngine(neural)
        if choice is EngineChoice.NEURAL:
            raise type(neural)(
                f"The neural engine cannot run here: {neural.message}", metadata=neural.metadata, field="engine"
            )
        return ChosenEngine(self._embedded, neural.message if self._mode == "auto" else "")


def import_neural(module: str) -> ModuleType:
    """A neural engine's module, imported late: it needs torch, which an embedded installation does without.

    Raises: CheckpointMissing: it, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise CheckpointMissing(
            f"The neural engine is not installed here: there is no module {missing.name}.",
            metadata={"module": str(missing.name)},
        ) from missing
