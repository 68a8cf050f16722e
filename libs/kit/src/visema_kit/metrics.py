"""Every Prometheus metric of VISEMA, declared once; a test compares docs/metrics.md with this module.

Labels are small closed sets: never a job, a tenant or a key.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from visema.common.v1 import common_pb2

from visema_kit.tracing import exemplar

# Targets for 5 s of video.
SLO_TARGETS_S: Final = {"liveportrait": 2.0, "wav2lip": 1.0, "encoder": 0.5, "total": 3.5}
REALTIME_TARGET: Final = 0.7  # seconds of work for a second of video, beyond 5 s of video

# Hold 0.5, 1.0, 2.0 and 3.5 exactly, so that "within the target" is a bucket and not an interpolation.
DURATION_BUCKETS_S: Final = (
    *(0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.75, 3.5),
    *(5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0),
)
RPC_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.0, 3.5, 7.5, 15.0, 30.0, 60.0, 300.0),
)
STORE_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64)  # frames
SCORE_BUCKETS: Final = (*range(10, 100, 10), 95, 100)  # of 100
RATIO_BUCKETS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


def job_target_s(video_s: float) -> float:
    """Time that a job with this much video may take: the larger of 3.5 s and 0.7 times the video's length."""
    return max(SLO_TARGETS_S["total"], REALTIME_TARGET * video_s)


class Metrics:
    """The metrics of one process, in a registry of their own. Made once in `__main__` and handed on."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.stage_duration = self._histogram(
            "visema_stage_duration_seconds", "Whole stage calls.", ("stage", "engine", "outcome")
        )
        self.stage_first_segment = self._histogram(
            "visema_stage_first_segment_seconds", "From the call to the first segment.", ("stage", "engine")
        )
        self.stage_compute = self._histogram(
            "visema_stage_compute_seconds", "Computing in a stage call.", ("stage", "engine")
        )
        self.stage_wait = self._histogram(
            "visema_stage_wait_seconds", "Waiting for input, device or credit in a stage call.", ("stage", "engine")
        )
        self.stage_storage = self._histogram(
            "visema_stage_storage_seconds", "Reading and writing objects in a stage call.", ("stage", "engine")
        )
        self.job_duration = self._histogram(
            "visema_job_duration_seconds", "From a job's start to its end.", ("outcome", "prepared")
        )
        self.job_queue = self._histogram("visema_job_queue_seconds", "From CreateJob to the job's start.", ())
        self.job_realtime_factor = self._histogram(
            "visema_job_realtime_factor",
            "Seconds of work for a second of video.",
            ("prepared", "engine"),
            RATIO_BUCKETS,
        )
        self.job_target_ratio = self._histogram(
            "visema_job_target_ratio",
            "Duration of a job divided by its target, max(3.5 s, 0.7 × video seconds).",
            ("prepared", "engine"),
            RATIO_BUCKETS,
        )
        self.job_quality_score = self._histogram(
            "visema_job_quality_score", "Score of a job's quality report, 0 to 100.", ("engine",), SCORE_BUCKETS
        )
        self.job_critical_path = Counter(
            "visema_job_critical_path_seconds_total",
            "Seconds of succeeded jobs by what the job waited for; the parts add up to the jobs.",
            ("part",),
            registry=self.registry,
        )
        self.job_errors = Counter("visema_job_errors_total", "Jobs that failed.", ("reason",), registry=self.registry)
        self.frames = Counter("visema_frames_total", "Frames delivered.", ("stage", "engine"), registry=self.registry)
        self.batch_frames = self._histogram(
            "visema_batch_frames", "Frames that were computed at once.", ("stage", "engine"), BATCH_BUCKETS
        )
        self.queue_jobs = Gauge("visema_queue_jobs", "Jobs that wait for a free slot.", registry=self.registry)
        self.running_jobs = Gauge("visema_running_jobs", "Jobs that are being computed.", registry=self.registry)
        self.inflight = Gauge("visema_inflight", "Calls that are being served.", ("method",), registry=self.registry)
        self.rpc_duration = self._histogram(
            "visema_rpc_duration_seconds", "Calls served.", ("method", "code"), RPC_BUCKETS_S
        )
        self.cache_requests = Counter(
            "visema_cache_requests_total", "Look-ups of prepared work.", ("cache", "result"), registry=self.registry
        )
        self.object_store = self._histogram(
            "visema_object_store_seconds", "Operations on the object store.", ("operation",), STORE_BUCKETS_S
        )
        self.object_store_errors = Counter(
            "visema_object_store_errors_total",
            "Operations on the object store that failed.",
            ("operation", "reason"),
            registry=self.registry,
        )
        self.gpu_memory = Gauge(
            "visema_gpu_memory_bytes", "Accelerator memory in use by this process.", ("device",), registry=self.registry
        )
        self.engine_info = Gauge(
            "visema_engine_info",
            "1 for the engine in use; `degraded` is `true` when a better one exists but cannot run here.",
            ("stage", "engine", "version", "degraded"),
            registry=self.registry,
        )
        self.engine_compiled = Gauge(
            "visema_engine_compiled",
            "1 while the networks run through torch.compile, 0 when that was asked for and failed.",
            ("stage", "engine"),
            registry=self.registry,
        )
        self.build_info = Gauge(
            "visema_build_info",
            "1, with the version in labels.",
            ("service", "version", "python"),
            registry=self.registry,
        )
        self.slo_target = Gauge(
            "visema_slo_target_seconds", "Target for 5 s of video.", ("stage",), registry=self.registry
        )
        self._described = False
        for stage, target_s in SLO_TARGETS_S.items():
            self.slo_target.labels(stage).set(target_s)

    def describe_engine(self, stage: str, engine: common_pb2.EngineInfo) -> None:
        """Say which engine a stage uses."""
        self.engine_info.labels(stage, engine.name, engine.version, str(engine.degraded).lower()).set(1)

    def describe_process(self, service: str) -> None:
        """Add build_info and Python's own process metrics."""
        if self._described:
            return
        self._described = True
        version = metadata.version("visema-kit")
        self.build_info.labels(service, version, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def observe_job(
        self,
        *,
        duration_s: float,
        video_s: float,
        prepared: bool,
        engine: str,
        outcome: str = "succeeded",
        reason: str = "",
        critical_path_s: Mapping[str, float] = MappingProxyType({}),
        quality_score: int | None = None,
    ) -> None:
        """Count an ended job; the ratios only when it has a video.

        Args:
            reason: Of a failed job, see docs/errors.md.
            critical_path_s: Part of the job to seconds.
            quality_score: Of the quality report, where there is one.
        """
        was_prepared, link = str(prepared).lower(), exemplar()
        self.job_duration.labels(outcome, was_prepared).observe(duration_s, link)
        if outcome == "succeeded" and video_s > 0:
            self.job_realtime_factor.labels(was_prepared, engine).observe(duration_s / video_s, link)
            self.job_target_ratio.labels(was_prepared, engine).observe(duration_s / job_target_s(video_s), link)
            for part, seconds in critical_path_s.items():
                self.job_critical_path.labels(part).inc(seconds)
        if quality_score is not None:
            self.job_quality_score.labels(engine).observe(quality_score)
        if reason:
            self.job_errors.labels(reason).inc()

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...] = DURATION_BUCKETS_S
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
