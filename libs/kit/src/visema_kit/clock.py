"""Where the time of one stage call goes: the source of `StageReport` and of the stage metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from google.protobuf import duration_pb2
from visema.common.v1 import common_pb2

from visema_kit.executor import DeviceThread
from visema_kit.metrics import Metrics
from visema_kit.tracing import exemplar, step

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class StageClock:
    """Counts from its making, which is when the stage accepted the call.

    Use it as a context manager around the call: at the end it observes the stage metrics with the outcome `ok`,
    `error` or `cancelled`. Times of work that overlaps (storage while computing) are added up, so the parts of a report
    may exceed its whole.
    """

    def __init__(self, stage: str, engine: common_pb2.EngineInfo, metrics: Metrics | None = None) -> None:
        self.stage = stage
        self.engine = engine
        self._metrics = metrics
        self._start = time.perf_counter()
        self._first_segment_s: float | None = None
        self._last_segment_s: float | None = None
        self._compute_s = 0.0
        self._wait_s = 0.0
        self._storage_s = 0.0
        self._frame_count = 0
        self._segment_count = 0
        self._reused_segment_count = 0
        self._read_bytes = 0
        self._written_bytes = 0
        self._warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cancelled = kind is not None and issubclass(kind, (asyncio.CancelledError, GeneratorExit))
        self._observe("ok" if kind is None else "cancelled" if cancelled else "error")

    def elapsed_s(self) -> float:
        """Seconds since the call was accepted."""
        return time.perf_counter() - self._start

    @contextmanager
    def compute(self) -> Iterator[None]:
        """Time in the block is computing. For work on a DeviceThread use `compute_on`, which tells waiting apart."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._compute_s += time.perf_counter() - start

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Time in the block is waiting for input, for the device or for credit."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._wait_s += time.perf_counter() - start

    @contextmanager
    def storage(self) -> Iterator[None]:
        """Time in the block is reading or writing objects."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._storage_s += time.perf_counter() - start

    async def compute_on(
        self, device: DeviceThread, function: Callable[[*Ts], T], *args: *Ts, caller: Hashable | None = None
    ) -> T:
        """`await device.run(function, *args)`; time in the queue counts as waiting, the rest as computing."""
        submitted = time.perf_counter()

        def measured() -> T:
            started = time.perf_counter()
            self._wait_s += started - submitted
            try:
                with step("compute"):
                    return function(*args)
            finally:
                self._compute_s += time.perf_counter() - started

        return await device.run(measured, caller=caller)

    def segment_delivered(self, frame_count: int, *, reused: bool = False) -> None:
        """A segment went to the caller. Args: reused: it existed already and was not computed."""
        now_s = self.elapsed_s()
        if self._first_segment_s is None:
            self._first_segment_s = now_s
        self._last_segment_s = now_s
        self._frame_count += frame_count
        self._segment_count += 1
        self._reused_segment_count += reused

    def bytes_read(self, count: int) -> None:
        """Bytes came from object storage."""
        self._read_bytes += count

    def bytes_written(self, count: int) -> None:
        """Bytes went to object storage."""
        self._written_bytes += count

    def warn(self, text: str) -> None:
        """Something that a person should know; said once."""
        if text not in self._warnings:
            self._warnings.append(text)

    def report(self) -> common_pb2.StageReport:
        """Everything so far; durations of segments are absent when none was delivered."""
        report = common_pb2.StageReport(
            engine=self.engine,
            frame_count=self._frame_count,
            segment_count=self._segment_count,
            reused_segment_count=self._reused_segment_count,
            compute_duration=duration_of(self._compute_s),
            wait_duration=duration_of(self._wait_s),
            storage_duration=duration_of(self._storage_s),
            total_duration=duration_of(self.elapsed_s()),
            read_bytes=self._read_bytes,
            written_bytes=self._written_bytes,
            warnings=self._warnings,
        )
        if self._first_segment_s is not None and self._last_segment_s is not None:
            report.first_segment_duration.CopyFrom(duration_of(self._first_segment_s))
            report.last_segment_duration.CopyFrom(duration_of(self._last_segment_s))
        return report

    def _observe(self, outcome: str) -> None:
        if self._metrics is None:
            return
        labels, link = (self.stage, self.engine.name), exemplar()
        self._metrics.stage_duration.labels(*labels, outcome).observe(self.elapsed_s(), link)
        self._metrics.frames.labels(*labels).inc(self._frame_count)
        if self._first_segment_s is not None:
            self._metrics.stage_first_segment.labels(*labels).observe(self._first_segment_s, link)
        if outcome == "ok":
            self._metrics.stage_compute.labels(*labels).observe(self._compute_s, link)
            self._metrics.stage_wait.labels(*labels).observe(self._wait_s, link)
            self._metrics.stage_storage.labels(*labels).observe(self._storage_s, link)


def duration_of(seconds: float) -> duration_pb2.Duration:
    """Seconds as a proto Duration, to the microsecond."""
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(round(seconds * 1_000_000))
    return duration
