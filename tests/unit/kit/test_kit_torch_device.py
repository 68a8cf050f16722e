"""Batches shrink when memory runs out, grow again, and leave nothing behind; devices are chosen and read."""

from __future__ import annotations

import threading
import weakref

import pytest

torch = pytest.importorskip("torch", reason="the neural engines need torch")

from visema_kit.device_meter import DeviceMeter  # noqa: E402  skipped without torch
from visema_kit.errors import CheckpointMissing, ResourceExhausted  # noqa: E402
from visema_kit.executor import DeviceThread  # noqa: E402
from visema_kit.metrics import Metrics  # noqa: E402
from visema_kit.torch_device import (  # noqa: E402
    GROW_AFTER,
    SEGMENT_BYTES,
    Batches,
    CudaMemory,
    choose_device,
    cpu_has_bfloat16,
    watch_memory,
    with_memory,
)

pytestmark = pytest.mark.neural


class Device:
    """Computes twice each number, as many at once as fit."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.sizes: list[int] = []

    def double(self, part: slice) -> list[int]:
        numbers = list(range(part.start, part.stop))
        self.sizes.append(len(numbers))
        if len(numbers) > self.fits:
            raise torch.OutOfMemoryError("too much")
        return [2 * number for number in numbers]


@pytest.mark.parametrize(
    ("fits", "sizes"), [(8, [8, 1]), (3, [8, 4, 2, 2, 2, 2, 1]), (1, [8, 4, 2, *[1] * 9])], ids=["all", "3", "1"]
)
def test_out_of_memory_halves_the_batch_and_loses_no_frame(fits: int, sizes: list[int]) -> None:
    device = Device(fits)
    done = [number for part in Batches("test", 8).run(9, device.double) for number in part]
    assert done == list(range(0, 18, 2))
    assert device.sizes == sizes


def test_a_job_fails_only_if_a_single_frame_does_not_fit_and_the_next_one_succeeds() -> None:
    device, batches = Device(0), Batches("test", 4)
    with pytest.raises(ResourceExhausted, match="single frame") as failed:
        list(batches.run(4, device.double))
    assert failed.value.retry_after_s > 0
    device.fits = 4
    assert sum(map(len, batches.run(6, device.double))) == 6


def test_a_smaller_batch_is_no_sentence_for_life() -> None:
    device, batches = Device(2), Batches("test", 6)
    list(batches.run(6, device.double))
    assert batches.frames == 1
    device.fits = 6
    for expected in (2, 4, 6):
        list(batches.run(GROW_AFTER * batches.frames, device.double))
        assert batches.frames == expected
    list(batches.run(GROW_AFTER * batches.frames, device.double))
    assert batches.frames == 6


def test_what_did_not_fit_is_let_go_before_the_smaller_attempt() -> None:
    kept: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def compute(part: slice) -> int:
        alive.extend(reference() is not None for reference in kept)
        activations = torch.zeros(part.stop - part.start)
        if len(activations) > 1:
            kept.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("too much")
        return len(activations)

    assert sum(Batches("test", 2).run(2, compute)) == 2
    assert alive
    assert not any(alive)


def test_what_cannot_be_divided_is_an_error_of_its_own_when_it_does_not_fit() -> None:
    def too_large() -> None:
        raise torch.OutOfMemoryError("too much")

    assert with_memory(lambda: "portrait") == "portrait"
    with pytest.raises(ResourceExhausted):
        with_memory(too_large)


async def test_batches_and_memory_are_reported_by_the_thread_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[tuple[str, str]] = []

    def reserved(device: object) -> int:
        readings.append((str(device), threading.current_thread().name))
        return 1000 * len(readings)

    monkeypatch.setattr(torch.cuda, "memory_reserved", reserved)
    metrics = Metrics()
    meter = DeviceMeter("wav2lip", metrics)
    watch_memory(meter, torch.device("cpu"))  # is not reported
    watch_memory(meter, torch.device("cuda:1"))
    thread = DeviceThread("fake")
    await thread.run(lambda: list(Batches("test", 2, meter).run(5, Device(2).double)))
    await thread.aclose()
    assert readings == [("cuda:1", "device-fake")] * 3
    value = metrics.registry.get_sample_value
    assert value("visema_gpu_memory_bytes", {"device": "cuda:1"}) == 3000
    assert value("visema_batch_frames_count", {"stage": "wav2lip", "engine": "test"}) == 3
    assert value("visema_batch_frames_sum", {"stage": "wav2lip", "engine": "test"}) == 5


def test_free_memory_includes_what_torch_keeps_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (50, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    memory = CudaMemory(torch.device("cuda"))
    assert (memory.name, memory.used_bytes(), memory.free_bytes()) == ("cuda:0", 30, 60)
    shares = {limit: CudaMemory(torch.device("cuda"), limit).free_bytes() for limit in (20, 30, 45, 80, 100)}
    assert shares == {20: 10, 30: 10, 45: 25, 80: 60, 100: 60}


def test_what_a_frame_needs_is_what_torch_takes_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: done.append("reset"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 30 if done[-1] == "frame" else 99)
    assert CudaMemory(torch.device("cuda")).need_bytes(lambda: done.append("frame")) == 10 + SEGMENT_BYTES
    assert done == ["empty", "reset", "frame"]


def test_torch_gets_a_share_of_the_card_before_anything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[float, str]] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda part, at: shares.append((part, str(at))))
    for limit_mib in (0, 2048, 9000):
        watch_memory(DeviceMeter(), torch.device("cuda:1"), limit_mib)
    watch_memory(DeviceMeter(), torch.device("cpu"), 2048)
    assert shares == [(0.25, "cuda:1"), (1.0, "cuda:1")]


def test_the_cpu_computes_bfloat16_only_where_the_hardware_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for features, expected in (({"avx2": True}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda features=features: features, raising=False)
        assert cpu_has_bfloat16() is expected


def test_a_device_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cpu").type == choose_device("auto").type == "cpu"
    with pytest.raises(CheckpointMissing, match="no CUDA device"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1").index == 1
