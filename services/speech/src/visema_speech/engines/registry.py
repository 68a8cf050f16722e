"""Chooses the engine: neural when it can run, else embedded, and never silently."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Literal

from visema_kit.errors import CheckpointMissing
from visema_kit.logs import get_logger

from visema_speech.engines.catalogue import FAMILIES, NeuralFamily
from visema_speech.engines.protocol import SpeechEngine

log = get_logger(__name__)

NeuralLoader = Callable[[NeuralFamily], SpeechEngine | None]


class EngineRegistry:
    """The engines of this process."""

    def __init__(
        self,
        mode: Literal["auto", "neural", "embedded"],
        embedded: SpeechEngine,
        load_neural: NeuralLoader,
        families: Sequence[NeuralFamily] = FAMILIES,
    ) -> None:
        """Load nothing yet.

        Args:
            mode: `VISEMA_ENGINE`.
            embedded: Speaks without checkpoints.
            load_neural: Makes the engine of a family; None where it is not installed, raises CheckpointMissing
                where it is but cannot run.
            families: The neural families there are.
        """
        self._mode = mode
        self._embedded = embedded
        self._load_neural = load_neural
        self._families = families
        self._neural: dict[str, SpeechEngine] = {}
        self._unusable: dict[str, str] = {}

    def load(self) -> None:
        """Load what the mode asks for; blocks.

        Raises: CheckpointMissing: the mode is `neural` and no neural engine can run, or eSpeak NG does not start.
        """
        if self._mode != "embedded":
            for family in self._families:
                self._load_family(family)
            if self._mode == "neural" and not self._neural:
                raise CheckpointMissing(
                    " ".join(f"{self.why_missing(family)} {family.needs()}" for family in self._families)
                )
        if self._mode != "neural":
            self._embedded.load()
            if self.degraded_reason:
                log.warning("engine_degraded", engine="espeak", wanted="neural", why=self.degraded_reason)

    @property
    def engines(self) -> tuple[SpeechEngine, ...]:
        """Those that can speak, the best first."""
        embedded = () if self._mode == "neural" else (self._embedded,)
        return (*self._neural.values(), *embedded)

    @property
    def degraded_reason(self) -> str:
        """Why better voices that are installed cannot speak here; empty when they can, or there are none.

        An installation without neural voices is whole: eSpeak NG is then what it was made to speak with.
        """
        return "" if self._neural else " ".join(self._unusable.values())

    def why_missing(self, family: NeuralFamily) -> str:
        """Why a family's voices cannot speak here."""
        if self._mode == "embedded":
            return "This service is set to the embedded engine only."
        return self._unusable.get(family.name, f"The neural voices of {family.name} are not installed here.")

    def close(self) -> None:
        """Free everything."""
        for engine in (*self._neural.values(), self._embedded):
            engine.close()

    def _load_family(self, family: NeuralFamily) -> None:
        try:
            engine = self._load_neural(family)
            if engine is not None:
                engine.load()
                self._neural[family.name] = engine
        except CheckpointMissing as missing:
            self._unusable[family.name] = missing.message


def load_installed(family: NeuralFamily) -> SpeechEngine | None:
    """Import a neural engine late: an embedded installation has neither its code nor its runtime.

    Returns: the engine, or None where its code is not installed.
    Raises: CheckpointMissing: its code is installed, but a module that it needs is not.
    """
    try:
        module = importlib.import_module(family.module)
    except ModuleNotFoundError as missing:
        if missing.name is not None and f"{family.module}.".startswith(f"{missing.name}."):
            return None
        raise CheckpointMissing(
            f"The neural voices of {family.name} cannot run here: there is no module {missing.name}.",
            metadata={"module": str(missing.name), "license": family.weights.license_name},
        ) from missing
    engine: SpeechEngine = module.load_engine()
    return engine
