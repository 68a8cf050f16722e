"""The short API: generate, status, download."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel, Field
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.metrics import job_target_s

from visema_gateway.api.deps import (
    BaseUrl,
    IdempotencyKey,
    JobId,
    TheCaller,
    TheForms,
    TheGateway,
    multipart,
    order_in,
    order_properties,
)
from visema_gateway.api.media import BINARY, object_response
from visema_gateway.api.problems import documented
from visema_gateway.core.views import ErrorView, JobView, QualityView, iso, job_view

router = APIRouter(tags=["short API"])

STATUS_FRESH_S = 0.1  # of a running job: many polls within it share one answer

State = Literal["processing", "completed", "error"]


class Session(BaseModel):
    """A video that is being made."""

    session_id: str = Field(examples=["06512ab34cd56ef7a8b9c0d1e2f3a4b5"])
    status: State = Field(examples=["processing"])
    download_url: str = Field(examples=["/download/06512ab34cd56ef7a8b9c0d1e2f3a4b5"])


class StageTime(BaseModel):
    """One stage of a session."""

    frames_done: int
    frames_total: int
    seconds: float | None = Field(description="From the stage's call to its end, once the session has ended.")


class Status(Session):
    """How a session is doing."""

    state: str = Field(description="In more detail: queued, running, succeeded, failed or cancelled.")
    stage: str | None = Field(description="The stage that is at work; null when none is.", examples=["wav2lip"])
    percent: int = Field(examples=[62])
    stages: dict[str, StageTime]
    elapsed_seconds: float = Field(description="Since the work began; of the whole work once it has ended.")
    target_seconds: float = Field(description="What the work should take at most.", examples=[job_target_s(5)])
    engine: str | None = Field(examples=["embedded"])
    degraded: bool = Field(description="True when a better engine exists but could not run.")
    warnings: list[str]
    quality: QualityView | None = Field(description="How good the video is, once it is there.")
    error: ErrorView | None


def state_of(view: JobView) -> State:
    """A job's state in the words of the short API."""
    if view.state == "succeeded":
        return "completed"
    return "error" if view.state in {"failed", "cancelled"} else "processing"


@router.post(
    "/generate",
    status_code=202,
    response_model=Session,
    responses=documented(400, 409, 413, 415, 422, 408),
    openapi_extra=multipart(order_properties(), []),
    summary="Make a talking video",
)
async def generate(
    request: Request, gateway: TheGateway, caller: TheCaller, forms: TheForms, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Send a portrait and speech (or an avatar, or text); poll `/status/{id}` and fetch `/download/{id}`."""
    files = {"image": gateway.settings.image_max_bytes, "audio": gateway.settings.audio_max_bytes}
    async with forms.receive(request, files) as form:
        job = await gateway.make(caller, order_in(form, idempotency_key))
    session = Session(session_id=job.job_id, status=state_of(job_view(job)), download_url=f"/download/{job.job_id}")
    return JSONResponse(session.model_dump(), 202, {"Location": f"/status/{job.job_id}"})


@router.get("/status/{job_id}", response_model=Status, responses=documented(404, 422), summary="How far it is")
async def status(gateway: TheGateway, caller: TheCaller, job_id: JobId) -> Response:
    """Cheap: answered from the one watcher that each job has."""
    watch = await gateway.watch(caller, job_id)
    body = watch.kept_answer(STATUS_FRESH_S)
    if body is None:
        body = json.dumps(_status(watch.job), separators=(",", ":"), ensure_ascii=False).encode()
        watch.keep_answer(body)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.head("/download/{job_id}", include_in_schema=False)
@router.get(
    "/download/{job_id}",
    response_class=Response,
    responses=documented(404, 409, 416, 422) | {200: {"content": {"video/mp4": {"schema": BINARY}}}},
    summary="The finished video",
    operation_id="download",
)
async def download(request: Request, gateway: TheGateway, caller: TheCaller, job_id: JobId) -> Response:
    """MP4 with byte ranges. 409 while the video is not finished."""
    job = await gateway.result(caller, job_id)
    return await object_response(
        request, gateway, caller, job.result.video, download_name=f"{job.spec.title or job_id}.mp4"
    )


@router.get(
    "/download/{job_id}/log",
    response_class=Response,
    responses=documented(404, 422) | {200: {"content": {"application/jsonl": {"schema": BINARY}}}},
    summary="The session's log",
)
async def session_log(gateway: TheGateway, caller: TheCaller, job_id: JobId, base: BaseUrl) -> Response:
    """JSON lines: one for each event, and the report last."""
    watch = await gateway.watch(caller, job_id)
    if watch.ended:
        await watch.end()  # what is past comes at once
    lines = [
        {"time": event.time, "sequence": event.sequence, "event": "job_end" if event.is_last else "job_progress"}
        | _told(watch.view(event).model_dump(mode="json"))
        for event in watch.events
    ]
    now = Timestamp()
    now.GetCurrentTime()
    lines.append({"time": iso(now), "event": "job_report", "job": job_view(watch.job, base).model_dump(mode="json")})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.jsonl"'}
    return Response(text, media_type="application/jsonl", headers=headers)


def _status(job: jobs_pb2.Job) -> dict[str, Any]:
    view = job_view(job)
    return Status(
        session_id=view.id,
        status=state_of(view),
        download_url=f"/download/{view.id}",
        state=view.state,
        stage=view.stage,
        percent=view.percent,
        stages={
            stage.stage: StageTime(
                frames_done=stage.frames_done, frames_total=stage.frames_total, seconds=stage.seconds
            )
            for stage in view.stages
        },
        elapsed_seconds=view.elapsed_seconds if view.elapsed_seconds is not None else _since_start(job),
        target_seconds=view.target_seconds,
        engine=view.engine,
        degraded=view.degraded,
        warnings=view.warnings,
        quality=view.quality,
        error=view.error or _cancelled(view),
    ).model_dump()


def _cancelled(view: JobView) -> ErrorView | None:
    return ErrorView(reason="CANCELLED", message="the job was cancelled") if view.state == "cancelled" else None


def _since_start(job: jobs_pb2.Job) -> float:
    if not job.HasField("start_time"):
        return 0.0
    return round(max(0.0, datetime.now(UTC).timestamp() - job.start_time.ToMicroseconds() / 1e6), 3)


def _told(job: dict[str, Any]) -> dict[str, Any]:
    kept = {name: job[name] for name in ("state", "percent", "stage") if job[name] is not None}
    kept["stages"] = {stage["stage"]: [stage["frames_done"], stage["frames_total"]] for stage in job["stages"]}
    return kept | ({"error": job["error"]} if job["error"] else {})
