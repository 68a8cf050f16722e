"""What clients see of jobs and avatars: protos to plain models, which are also the schemas of the OpenAPI document."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from pydantic import BaseModel, Field
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2
from visema.speech.v1 import speech_pb2
from visema_client.jobs import ENDED
from visema_client.progress import avatar_state_name, state_name
from visema_kit.errors import InvalidInput
from visema_kit.metrics import job_target_s
from visema_kit.status import from_status

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED


class ErrorView(BaseModel):
    """Why a job or avatar failed."""

    reason: str = Field(description="For programs; docs/errors.md lists them.", examples=["NO_FACE_FOUND"])
    message: str = Field(description="For people.")


class StageView(BaseModel):
    """One stage of a job."""

    stage: str = Field(description="`speech`, `liveportrait`, `wav2lip` or `encoder`.")
    frames_done: int = 0
    frames_total: int = 0
    seconds: float | None = Field(default=None, description="From the stage's call to its end, once it has ended.")
    compute_seconds: float | None = Field(default=None, description="Computing, without waiting for other stages.")
    engine: str | None = None
    degraded: bool = False


class VideoView(BaseModel):
    """A finished video."""

    seconds: float
    frames: int
    size_bytes: int
    url: str
    poster_url: str


class QualityView(BaseModel):
    """How good a video is; docs/quality.md explains the figures. Null: cannot be measured on this video."""

    score: int = Field(ge=0, le=100)
    lag_ms: float | None = Field(default=None, description="How late the lips are; negative when they are early.")
    correlation: float | None = Field(default=None, description="Of the mouth's opening with the speech's loudness.")
    mouth_range_percent: float = Field(description="Of the face's height.")
    closed_in_silence_ratio: float | None = None
    preservation_db: float | None = Field(default=None, description="Outside the mouth; 99 is untouched.")
    flicker_levels: float | None = None
    frame_count: int = Field(description="Frames that were measured.")
    warnings: list[str] = Field(default=[], description="They are among the job's warnings too.")


class JobView(BaseModel):
    """A job."""

    id: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    percent: int = Field(ge=0, le=100)
    stage: str | None = Field(description="The first stage that has not ended; null when none runs.")
    stages: list[StageView]
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    expires_at: str | None
    avatar_id: str | None = None
    text: str | None = None
    title: str = ""
    elapsed_seconds: float | None = Field(default=None, description="Time of the work, once it has ended.")
    target_seconds: float = Field(default=job_target_s(0), description="Time that the work should take.")
    engine: str | None = Field(default=None, description="Engines that made the pictures.")
    degraded: bool = Field(default=False, description="True when a better engine exists but could not run.")
    degraded_reasons: list[str] = []
    warnings: list[str] = []
    quality: QualityView | None = Field(default=None, description="How good the video is, once it is there.")
    prepared: bool = Field(default=False, description="True when the avatar's animation existed before.")
    error: ErrorView | None = None
    video: VideoView | None = None


class FaceView(BaseModel):
    """Where a face is, in pixels of the picture."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float


class PortraitView(BaseModel):
    """What a picture shows."""

    width_px: int = Field(description="After the rotation that the file asks for.")
    height_px: int
    faces: list[FaceView] = Field(description="From left to right, at least one.")
    selected: int = Field(description="Position in `faces` of the largest.")
    flaws: list[Literal["turned", "cut", "eyes_closed", "small"]] = Field(
        description="What makes the selected face harder to animate."
    )
    warnings: list[str] = Field(description="The same, and what there is to say about the file, for people.")


class AvatarView(BaseModel):
    """A portrait whose animation is prepared ahead."""

    id: str
    name: str
    description: str
    state: Literal["preparing", "ready", "failed"]
    percent: int
    image_url: str
    face: FaceView | None
    created_at: str | None
    updated_at: str | None
    warnings: list[str] = []
    error: ErrorView | None = None


class VoiceView(BaseModel):
    """A voice for text."""

    id: str
    name: str
    languages: list[str]
    engine: str
    license: str


def job_view(job: jobs_pb2.Job, base_url: str = "") -> JobView:
    """A job for clients; URLs begin with `base_url`."""
    reports = {timeline.stage: timeline for timeline in job.report.stages}
    progress = {stage.stage: stage.progress for stage in job.stages}
    stages = [
        _stage_view(name, progress.get(name), reports.get(name))
        for name in dict.fromkeys([*(["speech"] if "speech" in reports else []), *progress, *reports])
    ]
    running = job.state not in ENDED
    unfinished = (stage.stage for stage in stages if stage.seconds is None and not _has_all_frames(stage))
    return JobView.model_validate(
        {
            "id": job.job_id,
            "state": state_name(job.state),
            "percent": 100 if job.state == SUCCEEDED else job.percent,
            "stage": next(unfinished, None) if running else None,
            "stages": stages,
            "created_at": iso(job.create_time, job.HasField("create_time")),
            "started_at": iso(job.start_time, job.HasField("start_time")),
            "ended_at": iso(job.end_time, job.HasField("end_time")),
            "expires_at": iso(job.expire_time, job.HasField("expire_time")),
            "avatar_id": job.spec.avatar_id or None,
            "text": job.spec.text.text if job.spec.HasField("text") else None,
            "title": job.spec.title,
            "elapsed_seconds": None if running else seconds(job.report.processing_duration),
            "target_seconds": seconds(job.report.target_duration) or job_target_s(0),
            "engine": _engines(job.report),
            "degraded": job.report.degraded,
            "degraded_reasons": list(job.report.degraded_reasons),
            "warnings": list(job.report.warnings),
            "quality": _quality_view(job.report.quality) if job.report.HasField("quality") else None,
            "prepared": job.report.prepared,
            "error": error_view(job.error) if job.HasField("error") else None,
            "video": _video_view(job, base_url) if job.state == SUCCEEDED else None,
        }
    )


def avatar_view(avatar: avatars_pb2.Avatar, base_url: str = "") -> AvatarView:
    """An avatar for clients; URLs begin with `base_url`."""
    progress = avatar.progress
    ready = avatar.state == avatars_pb2.AVATAR_STATE_READY
    done = progress.frames_done * 100 // progress.frames_total if progress.frames_total else 0
    return AvatarView.model_validate(
        {
            "id": avatar.avatar_id,
            "name": avatar.spec.display_name,
            "description": avatar.spec.description,
            "state": avatar_state_name(avatar.state),
            "percent": 100 if ready else min(done, 100),
            "image_url": f"{base_url}/v1/avatars/{avatar.avatar_id}/image",
            "face": _face_view(avatar.face) if avatar.face.HasField("box") else None,
            "created_at": iso(avatar.create_time, avatar.HasField("create_time")),
            "updated_at": iso(avatar.update_time, avatar.HasField("update_time")),
            "warnings": list(avatar.warnings),
            "error": error_view(avatar.error) if avatar.HasField("error") else None,
        }
    )


def portrait_view(shown: portrait_pb2.InspectResponse) -> PortraitView:
    """What a picture shows, for clients."""
    names = (portrait_pb2.FaceFlaw.Name(flaw).removeprefix("FACE_FLAW_").lower() for flaw in shown.flaws)
    return PortraitView.model_validate(
        {
            "width_px": shown.width_px,
            "height_px": shown.height_px,
            "faces": [_face_view(face) for face in shown.faces],
            "selected": shown.selected_index,
            "flaws": list(names),
            "warnings": list(shown.warnings),
        }
    )


def voice_view(voice: speech_pb2.Voice) -> VoiceView:
    """A voice for clients."""
    return VoiceView(
        id=voice.voice_id,
        name=voice.display_name,
        languages=list(voice.languages),
        engine=voice.engine,
        license=voice.license,
    )


def error_view(status: status_pb2.Status) -> ErrorView:
    """A status for clients."""
    error = from_status(status)
    return ErrorView(reason=error.reason, message=error.message)


def iso(time: Timestamp, present: bool = True) -> str | None:  # noqa: FBT001, FBT002  # HasField of the line above it
    """A time as `2026-11-21T10:15:00.123Z`; None for one that is not set."""
    if not present:
        return None
    moment = datetime.fromtimestamp(time.ToMilliseconds() / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration: Duration) -> float:
    """A duration in seconds."""
    return round(duration.ToMilliseconds() / 1000, 3)


def encode_upload(reference: common_pb2.ObjectRef) -> str:
    """A reference as an opaque id. It gives no rights: the orchestrator checks tenant, hash and size."""
    return base64.urlsafe_b64encode(reference.SerializeToString(deterministic=True)).decode().rstrip("=")


def decode_upload(upload_id: str, field: str) -> common_pb2.ObjectRef:
    """The reference that an id stands for. Raises: InvalidInput: it is no upload id."""
    try:
        content = base64.b64decode(upload_id + "=" * (-len(upload_id) % 4), altchars=b"-_", validate=True)
        reference = common_pb2.ObjectRef.FromString(content)
    except (binascii.Error, ValueError, DecodeError):
        raise InvalidInput("this is no id of an upload", field=field) from None
    if not (reference.key and reference.bucket and reference.sha256):
        raise InvalidInput("this is no id of an upload", field=field)
    return reference


def _face_view(face: portrait_pb2.Face) -> FaceView:
    box = face.box
    return FaceView(left_px=box.left_px, top_px=box.top_px, width_px=box.width_px, height_px=box.height_px)


def _stage_view(
    name: str, progress: common_pb2.StageProgress | None, timeline: jobs_pb2.StageTimeline | None
) -> StageView:
    view = StageView(stage=name)
    if progress is not None:
        view.frames_done, view.frames_total = progress.frames_done, progress.frames_total
    if timeline is not None:
        view.engine = timeline.report.engine.name or None
        view.degraded = timeline.report.engine.degraded
        if timeline.HasField("end_offset"):
            view.seconds = round(seconds(timeline.end_offset) - seconds(timeline.start_offset), 3)
            view.compute_seconds = seconds(timeline.report.compute_duration)
    return view


def _quality_view(quality: common_pb2.QualityReport) -> QualityView:
    figures = MessageToDict(quality, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return QualityView.model_validate(figures)


def _has_all_frames(stage: StageView) -> bool:
    return 0 < stage.frames_total <= stage.frames_done


def _engines(report: jobs_pb2.JobReport) -> str | None:
    names = [line.report.engine.name for line in report.stages if line.stage in {"liveportrait", "wav2lip"}]
    return "+".join(dict.fromkeys(name for name in names if name)) or None


def _video_view(job: jobs_pb2.Job, base_url: str) -> VideoView:
    return VideoView(
        seconds=seconds(job.result.video_duration),
        frames=job.result.frame_count,
        size_bytes=job.result.video.size_bytes,
        url=f"{base_url}/v1/jobs/{job.job_id}/video",
        poster_url=f"{base_url}/v1/jobs/{job.job_id}/poster",
    )
