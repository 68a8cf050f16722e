"""A job's report: where the time went and how good the result is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.duration_pb2 import Duration
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.metrics import job_target_s

from visema_orchestrator.stages import ENCODER, LIVEPORTRAIT, WAV2LIP
from visema_orchestrator.timeline import to_duration

STAGE_WEIGHTS = {LIVEPORTRAIT: 1, WAV2LIP: 1, ENCODER: 1}


def make_report(
    stages: Sequence[jobs_pb2.StageTimeline],
    *,
    queue_s: float,
    processing_s: float,
    video_s: float,
    warnings: Iterable[str],
    quality: common_pb2.QualityReport | None,
) -> jobs_pb2.JobReport:
    """The report of a job whose stages did `stages`, in order. Args: quality: None when nothing was measured."""
    report = jobs_pb2.JobReport(
        stages=stages,
        processing_duration=to_duration(processing_s),
        queue_duration=to_duration(queue_s),
        target_duration=to_duration(job_target_s(video_s)),
    )
    notes = list(warnings)
    for timeline in stages:
        engine = timeline.report.engine
        if engine.degraded:
            report.degraded = True
            report.degraded_reasons.append(f"{timeline.stage}: {engine.degraded_reason}")
        notes.extend(timeline.report.warnings)
        if timeline.stage == LIVEPORTRAIT:
            segments, reused = timeline.report.segment_count, timeline.report.reused_segment_count
            report.prepared = 0 < segments <= reused
    if quality is not None:
        report.quality.CopyFrom(quality)
        notes.extend(quality.warnings)
    report.warnings.extend(dict.fromkeys(notes))
    return report


def make_result(result: encoding_pb2.EncodeResult) -> jobs_pb2.JobResult:
    """A job's result from the encoder's."""
    return jobs_pb2.JobResult(
        video=result.video,
        poster=result.poster,
        stills=result.stills,
        video_duration=result.video_duration,
        frame_count=result.frame_count,
    )


def critical_path_s(report: jobs_pb2.JobReport, job_s: float) -> dict[str, float]:
    """What a job of `job_s` seconds waited for, in seconds that add up to it: part (see docs/metrics.md) to seconds.

    A stage's part begins with the last segment of the stage before it: until then that one held the job up.
    """
    parts: dict[str, float] = {}
    reached_s = 0.0
    for timeline in report.stages:
        if not parts:
            reached_s = parts["prepare"] = _seconds(timeline.start_offset)
        done = timeline.last_segment_offset if timeline.HasField("last_segment_offset") else timeline.end_offset
        done_s = _seconds(timeline.end_offset if timeline.stage == ENCODER else done)
        parts[timeline.stage] = max(done_s - reached_s, 0.0)
        reached_s = max(reached_s, done_s)
    parts["publish"] = max(job_s - reached_s, 0.0)
    return parts


def _seconds(duration: Duration) -> float:
    return duration.ToMicroseconds() / 1e6


def engine_label(report: jobs_pb2.JobReport) -> str:
    """The engines of stages 1 and 2 as a metric label, e.g. `embedded` or `liveportrait+wav2lip`."""
    names = [timeline.report.engine.name for timeline in report.stages if timeline.stage in {LIVEPORTRAIT, WAV2LIP}]
    return "+".join(dict.fromkeys(name for name in names if name)) or "none"


def set_progress(job: jobs_pb2.Job, frames: dict[str, tuple[int, int]]) -> None:
    """Write each stage's (frames done, frames in all) and the overall per cent into a job."""
    del job.stages[:]
    share = 0.0
    for stage, weight in STAGE_WEIGHTS.items():
        done, total = frames.get(stage, (0, 0))
        state = job.stages.add(stage=stage)
        state.progress.frames_done, state.progress.frames_total = done, total
        share += weight * done / total if total else 0.0
    job.percent = int(100 * share / sum(STAGE_WEIGHTS.values()))
