"""How much accelerator memory this process holds, told by the thread that computes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Gauge


class MemoryMeter:
    """Sets `visema_gpu_memory_bytes`. An engine on an accelerator watches its device and reads after each batch.

    On a CPU nothing is watched and there is no series: the process's own figures are elsewhere.
    """

    def __init__(self, gauge: Gauge | None = None) -> None:
        """Report to `gauge`, with the label `device`; None reports nowhere."""
        self._gauge = gauge
        self._device = ""
        self._used_bytes: Callable[[], int] | None = None

    def watch(self, device: str, used_bytes: Callable[[], int]) -> None:
        """Report this device from now on. Args: device: e.g. `cuda:0`. used_bytes: Called on the device's thread."""
        self._device, self._used_bytes = device, used_bytes

    def read(self) -> None:
        """Report what is used now; does nothing where nothing is watched."""
        if self._gauge is not None and self._used_bytes is not None:
            self._gauge.labels(self._device).set(self._used_bytes())
