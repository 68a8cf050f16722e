"""torch.compile as an option that never costs a job. For engine code, as `torch_device`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

import torch

from visema_kit.device_meter import DeviceMeter

Backend = str | Callable[..., Callable[..., Any]]  # as torch.compile takes it
P = ParamSpec("P")
Tensors = TypeVar("Tensors", torch.Tensor, list[torch.Tensor])

# What tracing, code generators and their C compiler raise; torch wraps whatever else goes wrong there.
_FAILURES: Final = (RuntimeError, OSError, ImportError)

log = logging.getLogger(__name__)


class NetworkCompiler:
    """Runs an engine's functions compiled; on a CUDA device as CUDA graphs.

    Only what runs within `warming()` is compiled. With other shapes (a clip's last frames, a batch that memory halved)
    a function runs as it is written, so nothing is compiled while a job waits. Once something fails, everything runs as
    it is written, with a warning in the log and `visema_engine_compiled` at 0. Used on the device's thread only, which
    CUDA graphs belong to.
    """

    def __init__(
        self, engine: str, device: torch.device, meter: DeviceMeter | None = None, backend: Backend = "inductor"
    ) -> None:
        """Compile nothing yet.

        Args:
            engine: Label of the metric.
            device: Where the functions compute.
            meter: Learns whether they run compiled.
            backend: Of torch.compile.
        """
        self.active = True
        self._engine = engine
        self._device = device
        self._meter = meter or DeviceMeter()
        self._backend = backend
        self._warming = False

    @contextmanager
    def warming(self) -> Iterator[None]:
        """What runs in the block for the first time is compiled, which takes minutes."""
        self._warming = True
        try:
            yield
        finally:
            self._warming = False
        self._meter.runs_compiled(self._engine, compiled=self.active)

    def compiled(self, function: Callable[P, Tensors]) -> Callable[P, Tensors]:
        """`function`, compiled for the shapes that it is warmed up with."""
        graphs = self._device.type == "cuda"
        mode = "reduce-overhead" if graphs else None  # with CUDA graphs
        fast = torch.compile(function, backend=self._backend, mode=mode, dynamic=False)

        def run(*args: P.args, **kwargs: P.kwargs) -> Tensors:
            if not self.active:
                return function(*args, **kwargs)
            try:
                with torch.compiler.set_stance("default" if self._warming else "eager_on_recompile"):
                    result = fast(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise  # for `Batches`
            except _FAILURES as error:
                self._give_up(error)
                return function(*args, **kwargs)
            return _copied(result) if graphs else result  # the graph's next run overwrites its results

        return run

    def _give_up(self, error: Exception) -> None:
        self.active = False
        log.warning(
            "%s runs as it is written: torch.compile failed with %s: %s", self._engine, type(error).__name__, error
        )
        self._meter.runs_compiled(self._engine, compiled=False)


def _copied(result: Tensors) -> Tensors:
    return result.clone() if isinstance(result, torch.Tensor) else [tensor.clone() for tensor in result]
