"""A stage's account of its time. No test asserts absolute times, only order and sums."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest
from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock, duration_of
from visema_kit.executor import DeviceThread
from visema_kit.metrics import Metrics

ENGINE = common_pb2.EngineInfo(name="embedded", version="1")
LABELS = {"stage": "wav2lip", "engine": "embedded"}


def seconds(duration) -> float:
    return duration.ToNanoseconds() / 1e9


def test_a_report_holds_what_was_counted() -> None:
    clock = StageClock("wav2lip", ENGINE)
    clock.segment_delivered(25)
    clock.segment_delivered(25, reused=True)
    clock.segment_delivered(10)
    clock.bytes_read(100)
    clock.bytes_written(30)
    clock.bytes_written(4)
    clock.warn("the face is turned")
    clock.warn("the face is turned")
    report = clock.report()
    assert (report.frame_count, report.segment_count, report.reused_segment_count) == (60, 3, 1)
    assert (report.read_bytes, report.written_bytes) == (100, 34)
    assert list(report.warnings) == ["the face is turned"]
    assert report.engine == ENGINE
    first, last = seconds(report.first_segment_duration), seconds(report.last_segment_duration)
    assert 0 <= first <= last <= seconds(report.total_duration)


def test_each_kind_of_time_is_counted_on_its_own() -> None:
    clock = StageClock("wav2lip", ENGINE)
    with clock.compute():
        time.sleep(0.02)
    with clock.wait(), clock.storage():
        time.sleep(0.01)
    report = clock.report()
    assert seconds(report.compute_duration) >= 0.02
    assert seconds(report.wait_duration) >= seconds(report.storage_duration) >= 0.01
    assert seconds(report.compute_duration) <= seconds(report.total_duration)


def test_without_segments_their_times_are_absent() -> None:
    report = StageClock("wav2lip", ENGINE).report()
    assert not report.HasField("first_segment_duration")
    assert not report.HasField("last_segment_duration")


async def test_waiting_for_the_device_is_not_computing() -> None:
    device = DeviceThread("clock")
    first, second = StageClock("a", ENGINE), StageClock("b", ENGINE)
    begun, may_end = threading.Event(), threading.Event()

    def hold() -> float:
        begun.set()
        assert may_end.wait(60)
        return time.perf_counter()

    holding = asyncio.create_task(first.compute_on(device, hold))
    waiting = asyncio.create_task(second.compute_on(device, time.perf_counter))
    while first.elapsed_s() < 60 and not (begun.is_set() and device.waiting == 1):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    may_end.set()
    free_s, _ = await asyncio.gather(holding, waiting)
    since_free_s = time.perf_counter() - free_s
    await device.aclose()
    assert seconds(first.report().compute_duration) >= 0.1
    assert seconds(second.report().wait_duration) >= 0.1
    assert seconds(second.report().compute_duration) <= since_free_s + 1e-6  # durations are rounded


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "ok"), (ValueError(), "error"), (asyncio.CancelledError(), "cancelled")]
)
def test_the_end_is_observed_with_its_outcome(error: BaseException | None, outcome: str) -> None:
    metrics = Metrics()
    with contextlib.suppress(ValueError, asyncio.CancelledError), StageClock("wav2lip", ENGINE, metrics) as clock:
        clock.segment_delivered(25)
        if error is not None:
            raise error
    count = metrics.registry.get_sample_value
    assert count("visema_stage_duration_seconds_count", LABELS | {"outcome": outcome}) == 1
    assert count("visema_frames_total", LABELS) == 25
    assert count("visema_stage_first_segment_seconds_count", LABELS) == 1


def test_durations_are_exact_to_the_microsecond() -> None:
    assert duration_of(1.5000004).ToMicroseconds() == 1_500_000
    assert duration_of(0.0).ToMicroseconds() == 0
