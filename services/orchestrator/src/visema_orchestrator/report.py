"""A job's report: where the time went and how good the result is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
) -> jobs_pb2.JobReport:
    """The report of a job whose stages did `stages`, in order."""
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
