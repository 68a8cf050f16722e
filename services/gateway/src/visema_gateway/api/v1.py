"""The same resources in one consistent form."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.errors import InvalidInput

from visema_gateway.api.bodies import BoundedRoute
from visema_gateway.api.deps import (
    FILE,
    IDENTIFIER,
    AvatarId,
    BaseUrl,
    IdempotencyKey,
    JobId,
    TheCaller,
    TheForms,
    TheGateway,
    multipart,
    only_fields,
    option_properties,
    options_in,
)
from visema_gateway.api.events import Streams
from visema_gateway.api.media import BINARY, object_response
from visema_gateway.api.problems import documented
from visema_gateway.api.simple import session_log
from visema_gateway.core.gateway import Order
from visema_gateway.core.options import AppearanceOptions, VideoOptions
from visema_gateway.core.views import (
    AvatarView,
    JobView,
    PortraitView,
    VoiceView,
    avatar_view,
    decode_upload,
    encode_upload,
    job_view,
    portrait_view,
    voice_view,
)

router = APIRouter(prefix="/v1", tags=["v1"], route_class=BoundedRoute)

PageSize = Annotated[int, Query(ge=1, le=200)]
PageToken = Annotated[str, Query(max_length=500, description="`next_page_token` of the page before.")]


class UploadView(BaseModel):
    """A file for jobs and avatars."""

    id: str
    kind: Literal["portrait", "audio"]
    media_type: str
    size_bytes: int
    sha256: str


class NewJob(BaseModel):
    """A video to make: one of `image` and `avatar_id`, one of `audio` and `text`."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = Field(default=None, max_length=2000, description="Id of an uploaded portrait.")
    avatar_id: str | None = Field(default=None, pattern=IDENTIFIER)
    audio: str | None = Field(default=None, max_length=2000, description="Id of uploaded speech.")
    text: str | None = Field(default=None, min_length=1, max_length=5000)
    voice_id: str = Field(default="", max_length=200)
    settings: VideoOptions = VideoOptions()
    webhook_url: str | None = Field(default=None, max_length=2000)


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]
    next_page_token: str = Field(description="Empty on the last page.")


class AvatarPage(BaseModel):
    """Avatars, newest first."""

    avatars: list[AvatarView]
    next_page_token: str = Field(description="Empty on the last page.")


class VoiceList(BaseModel):
    """Voices for text."""

    voices: list[VoiceView]


@router.post(
    "/uploads",
    status_code=201,
    response_model=UploadView,
    responses=documented(400, 408, 413, 415, 422),
    openapi_extra=multipart({"portrait": FILE, "audio": FILE}, []),
    summary="Send a file",
)
async def upload(request: Request, gateway: TheGateway, caller: TheCaller, forms: TheForms) -> UploadView:
    """One file, as `portrait` or `audio`. What it shows is judged when a job or an avatar is made of it."""
    limits = {"portrait": gateway.settings.image_max_bytes, "audio": gateway.settings.audio_max_bytes}
    async with forms.receive(request, limits) as form:
        if len(form.files) != 1 or form.fields:
            raise InvalidInput("send exactly one file, as portrait or audio", field="body")
        kind, file = form.files.popitem()
        reference = await gateway.upload(caller, kind, file)
    return UploadView(
        id=encode_upload(reference),
        kind="portrait" if kind == "portrait" else "audio",
        media_type=reference.media_type,
        size_bytes=reference.size_bytes,
        sha256=reference.sha256,
    )


@router.post(
    "/portraits/inspect",
    response_model=PortraitView,
    responses=documented(400, 408, 413, 415, 422),
    openapi_extra=multipart({"image": FILE}, ["image"]),
    summary="Look for the face in a picture",
)
async def inspect_portrait(request: Request, gateway: TheGateway, caller: TheCaller, forms: TheForms) -> PortraitView:
    """Before anything is made of it. A picture without a face is an error here, as it is for a job."""
    async with forms.receive(request, {"image": gateway.settings.image_max_bytes}) as form:
        if "image" not in form.files or form.fields:
            raise InvalidInput("send exactly one file, as image", field="image")
        return portrait_view(await gateway.inspect(caller, form.files["image"]))


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    responses=documented(400, 403, 404, 408, 409, 413, 415, 422),
    summary="Make a video",
)
async def create_job(
    *, gateway: TheGateway, caller: TheCaller, base: BaseUrl, wish: NewJob, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Of uploads, an avatar or text."""
    order = Order(
        portrait=decode_upload(wish.image, "image") if wish.image is not None else None,
        avatar_id=wish.avatar_id,
        audio=decode_upload(wish.audio, "audio") if wish.audio is not None else None,
        text=wish.text,
        voice_id=wish.voice_id,
        options=wish.settings,
        request_id=idempotency_key,
        webhook_url=wish.webhook_url,
    )
    job = await gateway.make(caller, order)
    view = job_view(job, base).model_dump(mode="json")
    return JSONResponse(view, HTTPStatus.ACCEPTED, {"Location": f"{base}/v1/jobs/{job.job_id}"})


@router.get("/jobs", response_model=JobPage, responses=documented(400, 422), summary="List jobs")
async def list_jobs(
    *,
    gateway: TheGateway,
    caller: TheCaller,
    base: BaseUrl,
    state: Annotated[list[Literal["queued", "running", "succeeded", "failed", "cancelled"]], Query()] = [],  # noqa: B006
    avatar_id: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",  # no secret
) -> JobPage:
    """Newest first."""
    states = [jobs_pb2.JobState.Value(f"JOB_STATE_{name.upper()}") for name in state]
    found, token = await gateway.jobs(caller, states=states, avatar_id=avatar_id, size=page_size, token=page_token)
    return JobPage(jobs=[job_view(job, base) for job in found], next_page_token=token)


@router.get("/jobs/{job_id}", response_model=JobView, responses=documented(404, 422), summary="Read a job")
async def get_job(gateway: TheGateway, caller: TheCaller, base: BaseUrl, job_id: JobId) -> JobView:
    """Cheap: answered from the job's one watcher."""
    return job_view((await gateway.watch(caller, job_id)).job, base)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=documented(404, 422) | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Follow a job",
)
async def events(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    job_id: JobId,
    last_event_id: Annotated[str | None, Header(max_length=32, description="Go on after this event.")] = None,
) -> StreamingResponse:
    """Server-sent events: `progress` with the job as data, then one `end`. URLs in them are relative."""
    streams: Streams = request.app.state.streams
    text = last_event_id or "0"
    after = int(text) if text.isascii() and text.isdecimal() else 0
    return streams.response(await gateway.watch(caller, job_id), after)


@router.post("/jobs/{job_id}/cancel", response_model=JobView, responses=documented(404, 422), summary="Stop a job")
async def cancel_job(gateway: TheGateway, caller: TheCaller, base: BaseUrl, job_id: JobId) -> JobView:
    """Best effort: a job that has ended stays as it is."""
    return job_view(await gateway.cancel(caller, job_id), base)


@router.delete(
    "/jobs/{job_id}", status_code=204, responses=documented(404, 409, 422), summary="Delete a job with its video"
)
async def delete_job(gateway: TheGateway, caller: TheCaller, job_id: JobId) -> Response:
    """409 while it runs: cancel it first."""
    await gateway.delete(caller, job_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.head("/jobs/{job_id}/{what}", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/{what}",
    response_class=Response,
    responses=documented(404, 409, 416, 422)
    | {200: {"content": {kind: {"schema": BINARY} for kind in ("video/mp4", "image/jpeg", "audio/wav")}}},
    summary="A job's video, poster or audio",
    operation_id="job_media",
)
async def job_media(
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    job_id: JobId,
    what: Literal["video", "poster", "audio"],
) -> Response:
    """With byte ranges."""
    if what == "audio":
        return await object_response(request, gateway, caller, await gateway.speech_of(caller, job_id))
    result = (await gateway.result(caller, job_id)).result
    return await object_response(request, gateway, caller, result.video if what == "video" else result.poster)


router.add_api_route(
    "/job-logs/{job_id}",
    session_log,
    methods=["GET"],
    response_class=Response,
    responses=documented(404, 422) | {200: {"content": {"application/jsonl": {"schema": BINARY}}}},
    summary="A job's log",
    operation_id="job_log",
)


@router.post(
    "/avatars",
    status_code=201,
    response_model=AvatarView,
    responses=documented(400, 408, 409, 413, 415, 422),
    openapi_extra=multipart(
        {
            "image": FILE,
            "name": {"type": "string", "maxLength": 200},
            "description": {"type": "string", "maxLength": 2000},
            **option_properties(AppearanceOptions),
        },
        ["image"],
    ),
    summary="Register a portrait",
)
async def create_avatar(
    *,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    forms: TheForms,
    base: BaseUrl,
    idempotency_key: IdempotencyKey = None,
) -> AvatarView:
    """Its animation is prepared ahead."""
    async with forms.receive(request, {"image": gateway.settings.image_max_bytes}) as form:
        only_fields(form, {*AppearanceOptions.model_fields, "name", "description"})
        if "image" not in form.files:
            raise InvalidInput("an avatar needs an image", field="image")
        avatar = await gateway.make_avatar(
            caller,
            form.files["image"],
            name=form.fields.get("name", ""),
            description=form.fields.get("description", ""),
            options=options_in(form, AppearanceOptions),
            request_id=idempotency_key,
        )
    return avatar_view(avatar, base)


@router.get("/avatars", response_model=AvatarPage, responses=documented(400, 422), summary="List avatars")
async def list_avatars(
    gateway: TheGateway,
    caller: TheCaller,
    base: BaseUrl,
    page_size: PageSize = 50,
    page_token: PageToken = "",  # no secret
) -> AvatarPage:
    """Newest first."""
    found, token = await gateway.avatars(caller, page_size, page_token)
    return AvatarPage(avatars=[avatar_view(avatar, base) for avatar in found], next_page_token=token)


@router.get("/avatars/{avatar_id}", response_model=AvatarView, responses=documented(404, 422), summary="Read an avatar")
async def get_avatar(gateway: TheGateway, caller: TheCaller, base: BaseUrl, avatar_id: AvatarId) -> AvatarView:
    """With the place of the face, and how far it is prepared."""
    return avatar_view(await gateway.avatar(caller, avatar_id), base)


@router.delete("/avatars/{avatar_id}", status_code=204, responses=documented(404, 422), summary="Delete an avatar")
async def delete_avatar(gateway: TheGateway, caller: TheCaller, avatar_id: AvatarId) -> Response:
    """Finished videos stay."""
    await gateway.delete_avatar(caller, avatar_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.head("/avatars/{avatar_id}/image", include_in_schema=False)
@router.get(
    "/avatars/{avatar_id}/image",
    response_class=Response,
    responses=documented(404, 422) | {200: {"content": {"image/*": {"schema": BINARY}}}},
    summary="An avatar's picture",
    operation_id="v1_avatar_image",
)
async def avatar_image(request: Request, gateway: TheGateway, caller: TheCaller, avatar_id: AvatarId) -> Response:
    """As it was uploaded."""
    avatar = await gateway.avatar(caller, avatar_id)
    return await object_response(request, gateway, caller, avatar.spec.portrait)


@router.get("/voices", response_model=VoiceList, responses=documented(422), summary="List voices")
async def voices(
    gateway: TheGateway,
    caller: TheCaller,
    language: Annotated[str, Query(pattern=r"^[A-Za-z0-9-]{0,35}$", description="A BCP 47 tag such as `en`.")] = "",
) -> VoiceList:
    """Voices for text; none where the orchestrator has no speech service."""
    return VoiceList(voices=[voice_view(voice) for voice in await gateway.voices(caller, language)])
