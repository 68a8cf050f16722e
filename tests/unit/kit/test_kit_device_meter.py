"""What a device does becomes metrics, and a call that it has no memory for is refused."""

from __future__ import annotations

import pytest
from support.accelerator import FakeMemory
from visema_kit.device_meter import DeviceMeter
from visema_kit.errors import DeviceBusy
from visema_kit.metrics import Metrics


def test_batches_are_counted_by_size_stage_and_engine() -> None:
    metrics = Metrics()
    meter = DeviceMeter("wav2lip", metrics)
    for frames in (8, 8, 3):
        meter.batch_done("embedded", frames)
    labels = {"stage": "wav2lip", "engine": "embedded"}
    value = metrics.registry.get_sample_value
    assert value("visema_batch_frames_sum", labels) == 19
    assert value("visema_batch_frames_bucket", {**labels, "le": "4.0"}) == 1
    assert value("visema_batch_frames_bucket", {**labels, "le": "8.0"}) == 3


def test_an_accelerators_memory_is_read_with_each_batch_and_a_cpu_has_no_series() -> None:
    metrics, memory = Metrics(), FakeMemory()
    meter = DeviceMeter("wav2lip", metrics)
    meter.batch_done("wav2lip", 1)
    assert not metrics.gpu_memory.collect()[0].samples
    meter.watch(memory)
    for memory.used in (70, 40):
        meter.batch_done("wav2lip", 1)
    (sample,) = metrics.gpu_memory.collect()[0].samples
    assert (sample.labels, sample.value) == ({"device": "cuda:0"}, 40.0)


def test_a_call_is_let_in_while_a_frame_fits_and_refused_with_a_delay_when_none_does() -> None:
    meter, memory = DeviceMeter(), FakeMemory(need=30)
    meter.check_room()  # a CPU always has room
    meter.watch(memory)
    meter.measure_frame(lambda: None)
    memory.free = 30
    meter.check_room()
    memory.free = 29
    with pytest.raises(DeviceBusy) as refused:
        meter.check_room()
    assert refused.value.retry_after_s > 0
    assert refused.value.metadata == {"free_bytes": "29", "needed_bytes": "30"}
    memory.free = 100
    meter.check_room()


def test_what_is_measured_is_also_run_where_there_is_no_accelerator() -> None:
    runs: list[str] = []
    DeviceMeter().measure_frame(lambda: runs.append("frame"))
    assert runs == ["frame"]
