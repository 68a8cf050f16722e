"""A job's report as a table: where the time went, against the targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.json_format import MessageToDict

from visema_client.cli.output import results
from visema_client.progress import state_name

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from visema.common.v1 import common_pb2
    from visema.orchestrator.v1 import jobs_pb2

# For five seconds of video; longer videos have proportionally more time, as Job.report.target_duration says.
STAGE_TARGETS_S: Final = {"liveportrait": 2.0, "wav2lip": 1.0, "encoder": 0.5}
TOTAL_TARGET_S: Final = 3.5
GOOD_SCORE: Final = 80  # of 100
FAIR_SCORE: Final = 60
UNTOUCHED_DB: Final = 99.0


def seconds(duration: Duration) -> float:
    """A protobuf duration in seconds, for display."""
    return duration.ToMicroseconds() / 1e6


def as_dict(message: Message) -> dict[str, Any]:
    """A message as JSON values, with the names of the protos."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_report(job: jobs_pb2.Job) -> None:
    """Print the table, the total and what a person should know."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  # takes a tenth of a second
    from rich.table import Table  # noqa: PLC0415

    report = job.report
    target_s = seconds(report.target_duration) or TOTAL_TARGET_S
    title = f"{job.result.frame_count} frames, {seconds(job.result.video_duration):.2f} s of video"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fits a terminal of 80 columns
    for name in ("stage", "engine"):
        table.add_column(name, no_wrap=True)
    for name in ("starts", "1st seg.", "ends", "took", "target", "reused"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in report.stages:
        own = stage.report
        took_s = max(0.0, seconds(own.total_duration) - seconds(own.wait_duration))
        stage_target_s = STAGE_TARGETS_S.get(stage.stage, 0.0) * target_s / TOTAL_TARGET_S
        table.add_row(
            stage.stage,
            own.engine.name,
            f"{seconds(stage.start_offset):.2f} s",
            f"{seconds(stage.first_segment_offset):.2f} s",
            f"{seconds(stage.end_offset):.2f} s",
            _against(took_s, stage_target_s),
            f"{stage_target_s:.2f} s" if stage_target_s else "",
            f"{own.reused_segment_count}/{own.segment_count}",
        )
    total_s = seconds(report.processing_duration)
    table.add_section()
    table.add_row("total", "", "", "", f"{total_s:.2f} s", _against(total_s, target_s), f"{target_s:.2f} s", "")
    console = results()
    console.print(table)
    console.print("Stages overlap: the total is less than the sum. A stage's time is without waiting for another.")
    print_badge(job)
    if report.HasField("quality"):
        console.print(quality_line(report.quality), soft_wrap=True)
    for warning in dict.fromkeys(report.warnings):
        console.print(f"[yellow]note:[/] {warning}")


def quality_line(quality: common_pb2.QualityReport) -> str:
    """How good the video is, in one line; docs/quality.md explains the figures."""
    figures = []
    if quality.HasField("lag_ms"):
        figures.append(f"lips {quality.lag_ms:+.0f} ms")
    if quality.HasField("correlation"):
        figures.append(f"follow the sound {quality.correlation:.2f}")
    figures.append(f"mouth range {quality.mouth_range_percent:.1f} % of the face")
    if quality.HasField("closed_in_silence_ratio"):
        figures.append(f"closed in silence {quality.closed_in_silence_ratio:.0%}")
    if quality.HasField("preservation_db"):
        untouched = quality.preservation_db >= UNTOUCHED_DB
        figures.append("rest untouched" if untouched else f"rest kept {quality.preservation_db:.0f} dB")
    if quality.HasField("flicker_levels"):
        figures.append(f"flicker {quality.flicker_levels:.1f}")
    colour = "green" if quality.score >= GOOD_SCORE else "yellow" if quality.score >= FAIR_SCORE else "red"
    return f"quality [{colour}]{quality.score}[/] of 100: {', '.join(figures)}"


def print_job(job: jobs_pb2.Job) -> None:
    """Print a job in any state."""
    console = results()
    console.print(f"{job.job_id}  {state_name(job.state)}  {job.percent} %")
    if job.HasField("error"):
        console.print(f"error: {job.error.message}", markup=False, soft_wrap=True)
    if job.HasField("result"):
        print_report(job)


def print_badge(job: jobs_pb2.Job) -> None:
    """Say clearly when less than the best engines made the video."""
    if not job.report.degraded:
        return
    reasons = "; ".join(dict.fromkeys(job.report.degraded_reasons))
    results().print(f"[black on yellow] DEGRADED [/] made with embedded engines: {reasons}", soft_wrap=True)


def _against(value_s: float, target_s: float) -> str:
    colour = "green" if not target_s or value_s <= target_s else "red"
    return f"[{colour}]{value_s:.2f} s[/]"
