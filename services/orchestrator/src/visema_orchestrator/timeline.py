"""When each stage of a job started, delivered and ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import jobs_pb2


def to_duration(seconds: float) -> Duration:
    """Seconds as a proto."""
    duration = Duration()
    duration.FromNanoseconds(round(max(seconds, 0.0) * 1e9))
    return duration


@dataclass
class StageTimes:
    """Measures one stage against the clock of its job.

    Attributes:
        job_start_s: `time.monotonic()` at the job's start.
        report: The stage's own account; empty until the stage has ended.
        engine: The engine that answered last.
    """

    stage: str
    job_start_s: float
    retry_count: int = 0
    engine: common_pb2.EngineInfo | None = None
    report: common_pb2.StageReport | None = None
    _start_s: float | None = field(default=None, repr=False)
    _first_s: float | None = field(default=None, repr=False)
    _last_s: float | None = field(default=None, repr=False)
    _end_s: float | None = field(default=None, repr=False)

    def start(self) -> None:
        """The stage is called; further calls do not count."""
        if self._start_s is None:
            self._start_s = self._now()

    def segment(self) -> None:
        """A segment is there."""
        self._last_s = self._now()
        if self._first_s is None:
            self._first_s = self._last_s

    def end(self) -> None:
        """The stage has ended."""
        self._end_s = self._now()

    def to_proto(self) -> jobs_pb2.StageTimeline:
        """What was measured so far."""
        message = jobs_pb2.StageTimeline(stage=self.stage, retry_count=self.retry_count)
        for name, offset_s in (
            ("start_offset", self._start_s),
            ("first_segment_offset", self._first_s),
            ("last_segment_offset", self._last_s),
            ("end_offset", self._end_s),
        ):
            if offset_s is not None:
                getattr(message, name).CopyFrom(to_duration(offset_s))
        if self.report is not None:
            message.report.CopyFrom(self.report)
        elif self.engine is not None:
            message.report.engine.CopyFrom(self.engine)
        return message

    def _now(self) -> float:
        return time.monotonic() - self.job_start_s
