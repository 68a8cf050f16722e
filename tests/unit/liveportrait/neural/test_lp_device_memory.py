"""The accelerator memory that the process holds becomes a metric, read by the thread that computes."""

from __future__ import annotations

import threading

import pytest

torch = pytest.importorskip("torch", reason="the neural engine needs torch")

from visema_kit.device_memory import MemoryMeter  # noqa: E402  skipped without torch
from visema_kit.executor import DeviceThread  # noqa: E402
from visema_kit.metrics import Metrics  # noqa: E402
from visema_liveportrait.engines.neural_device import Batches, ComputeDevice  # noqa: E402

pytestmark = pytest.mark.neural


def reported(metrics: Metrics) -> dict[str, float]:
    """The gauge's samples by device."""
    (family,) = metrics.gpu_memory.collect()
    return {sample.labels["device"]: sample.value for sample in family.samples}


async def test_a_cuda_device_is_read_after_each_batch_on_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[tuple[str, str]] = []

    def reserved(device: object) -> int:
        readings.append((str(device), threading.current_thread().name))
        return 1000 * len(readings)

    monkeypatch.setattr(torch.cuda, "memory_reserved", reserved)
    metrics = Metrics()
    meter = MemoryMeter(metrics.gpu_memory)
    ComputeDevice(torch.device("cuda:1"), torch.float16).watch_memory(meter)
    assert reported(metrics) == {}
    thread = DeviceThread("fake")
    await thread.run(Batches(2, meter).run, torch.neg, torch.zeros(5, 1))
    await thread.aclose()
    assert readings == [("cuda:1", "device-fake")] * 3
    assert reported(metrics) == {"cuda:1": 3000.0}


def test_a_cpu_is_not_reported() -> None:
    metrics = Metrics()
    meter = MemoryMeter(metrics.gpu_memory)
    ComputeDevice(torch.device("cpu"), torch.float32).watch_memory(meter)
    Batches(2, meter).run(torch.neg, torch.zeros(5, 1))
    assert reported(metrics) == {}
