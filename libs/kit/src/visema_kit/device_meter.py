"""What an engine tells of its device: how many frames it computes at once, its memory, and whether there is room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from visema_kit.errors import DeviceBusy

if TYPE_CHECKING:  # benches of the networks run on machines that have torch and numpy only
    from visema_kit.metrics import Metrics

ROOM_RETRY_S: Final = 1.0  # memory comes back when another call ends or forgets a portrait


class DeviceMemory(Protocol):
    """The memory of one accelerator, as the framework that computes there sees it."""

    @property
    def name(self) -> str:
        """E.g. `cuda:0`."""
        ...

    def used_bytes(self) -> int:
        """What this process holds."""
        ...

    def free_bytes(self) -> int:
        """What this process could still get, its own unused reserve included. Any thread."""
        ...

    def need_bytes(self, compute: Callable[[], object]) -> int:
        """What `compute()` takes at its peak, beyond what was held before."""
        ...


class DeviceMeter:
    """Reports what one stage's device does, and refuses calls that it has no memory for.

    On a CPU no memory is watched: there is no series of it, and always room.

    Attributes:
        frame_bytes: What a call's smallest piece of work needs, once measured.
    """

    def __init__(self, stage: str = "", metrics: Metrics | None = None) -> None:
        """Report to `metrics` with the label `stage`; without metrics nowhere."""
        self._stage = stage
        self._metrics = metrics
        self._memory: DeviceMemory | None = None
        self.frame_bytes = 0

    def watch(self, memory: DeviceMemory) -> None:
        """Report this memory from now on."""
        self._memory = memory

    def measure_frame(self, compute: Callable[[], object]) -> None:
        """Run `compute()`, a call's smallest piece of work: a call is let in while there is memory for it."""
        if self._memory is None:
            compute()
        else:
            self.frame_bytes = self._memory.need_bytes(compute)

    def batch_done(self, engine: str, frame_count: int) -> None:
        """So many frames were computed at once. On the device's thread."""
        if self._metrics is None:
            return
        self._metrics.batch_frames.labels(self._stage, engine).observe(frame_count)
        if self._memory is not None:
            self._metrics.gpu_memory.labels(self._memory.name).set(self._memory.used_bytes())

    def runs_compiled(self, engine: str, *, compiled: bool) -> None:
        """Compiling was asked for, and `engine` runs compiled, or as it is written because that failed."""
        if self._metrics is not None:
            self._metrics.engine_compiled.labels(self._stage, engine).set(compiled)

    def check_room(self) -> None:
        """Ask whether one more call may begin. Any thread.

        Raises: DeviceBusy: the device has no memory for a single frame at the moment.
        """
        if self._memory is None:
            return
        free = self._memory.free_bytes()
        if free < self.frame_bytes:
            raise DeviceBusy(
                "The device has no free memory at the moment.",
                metadata={"free_bytes": str(free), "needed_bytes": str(self.frame_bytes)},
                retry_after_s=ROOM_RETRY_S,
            )
