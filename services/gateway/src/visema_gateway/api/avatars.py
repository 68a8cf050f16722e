"""Avatars in the shapes that existing front ends know: camelCase, integer ids, absolute URLs."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_kit.errors import InvalidInput

from visema_gateway.api.bodies import bounded_body
from visema_gateway.api.deps import (
    FILE,
    LARGEST_NUMBER,
    BaseUrl,
    IdempotencyKey,
    Number,
    TheCaller,
    TheForms,
    TheGateway,
    multipart,
    only_fields,
    option_properties,
    options_in,
)
from visema_gateway.api.media import BINARY, object_response
from visema_gateway.api.problems import documented
from visema_gateway.api.simple import State, state_of
from visema_gateway.core.callers import Caller
from visema_gateway.core.gateway import Gateway, Order
from visema_gateway.core.options import AppearanceOptions
from visema_gateway.core.views import iso, job_view

router = APIRouter(prefix="/avatar", tags=["avatar library"])


class Uploaded(BaseModel):
    """A new avatar."""

    id: int = Field(examples=[1])
    name: str
    imageUrl: str  # noqa: N815  # the shape that clients know
    message: str


class Avatar(BaseModel):
    """An avatar."""

    id: int = Field(examples=[1])
    name: str
    imageUrl: str  # noqa: N815
    description: str
    createdAt: str  # noqa: N815
    updatedAt: str  # noqa: N815


class Animation(BaseModel):
    """A video of an avatar."""

    id: int = Field(examples=[1])
    avatarId: int  # noqa: N815
    audioUrl: str = Field(description="Empty until the text has been spoken.")  # noqa: N815
    videoUrl: str = Field(description="Empty until the video is finished.")  # noqa: N815
    text: str
    status: State
    createdAt: str  # noqa: N815
    error: str | None = Field(default=None, description="Why there is no video, for people.")


class Animate(BaseModel):
    """What an avatar shall say."""

    model_config = ConfigDict(extra="forbid")

    avatarId: int = Field(ge=1, le=LARGEST_NUMBER, examples=[1])  # noqa: N815
    text: str = Field(min_length=1, max_length=5000, examples=["Hello, I am an avatar."])
    voiceId: str = Field(default="", max_length=200, description="See /v1/voices.")  # noqa: N815


@router.post(
    "/upload",
    response_model=Uploaded,
    responses=documented(400, 408, 409, 413, 415, 422),
    openapi_extra=multipart(
        {
            "image": {**FILE, "description": "JPEG, PNG or WebP, up to 5 MB."},
            "name": {"type": "string", "maxLength": 200},
            "description": {"type": "string", "maxLength": 2000},
            **option_properties(AppearanceOptions),
        },
        ["image", "name"],
    ),
    summary="Register a portrait",
)
async def upload(
    *,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    forms: TheForms,
    base: BaseUrl,
    idempotency_key: IdempotencyKey = None,
) -> Uploaded:
    """The portrait's animation is prepared ahead, so that its videos take less time."""
    async with forms.receive(request, {"image": gateway.settings.image_max_bytes}) as form:
        only_fields(form, {*AppearanceOptions.model_fields, "name", "description"})
        name = form.fields.get("name", "").strip()
        if "image" not in form.files or not name:
            raise InvalidInput("an avatar needs an image and a name", field="name" if not name else "image")
        avatar = await gateway.make_avatar(
            caller,
            form.files["image"],
            name=name,
            description=form.fields.get("description", ""),
            options=options_in(form, AppearanceOptions),
            request_id=idempotency_key,
        )
    number = await gateway.library.number(caller.scope, "avatar", avatar.avatar_id)
    return Uploaded(
        id=number,
        name=avatar.spec.display_name,
        imageUrl=f"{base}/avatar/{number}/image",
        message="the avatar is being prepared; it can speak already",
    )


@router.get("", response_model=list[Avatar], responses=documented(), summary="All avatars")
async def avatars(gateway: TheGateway, caller: TheCaller, base: BaseUrl) -> list[Avatar]:
    """Newest first."""
    found = await gateway.all_avatars(caller)
    oldest_first = [avatar.avatar_id for avatar in reversed(found)]
    numbers = await gateway.library.numbers(caller.scope, "avatar", oldest_first)
    return [_avatar(avatar, numbers[avatar.avatar_id], base) for avatar in found]


@router.post(
    "/animate",
    response_model=Animation,
    response_model_exclude_none=True,
    responses=documented(400, 404, 408, 409, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": Animate.model_json_schema()},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "avatarId": {"type": "integer", "minimum": 1, "maximum": LARGEST_NUMBER},
                            "audio": {**FILE, "description": "Speech instead of text."},
                            "text": {"type": "string", "maxLength": 5000},
                            "voiceId": {"type": "string", "maxLength": 200},
                        },
                        "required": ["avatarId"],
                    }
                },
            },
        }
    },
    summary="Let an avatar speak",
)
async def animate(
    *,
    request: Request,
    gateway: TheGateway,
    caller: TheCaller,
    forms: TheForms,
    base: BaseUrl,
    idempotency_key: IdempotencyKey = None,
) -> Animation:
    """JSON with text, or a form with an audio file. Poll `/avatar/animations/{id}/status`."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        async with forms.receive(request, {"audio": gateway.settings.audio_max_bytes}) as form:
            only_fields(form, {"avatarId", "text", "voiceId"})
            number_text = form.fields.get("avatarId", "")
            if not (number_text.isascii() and number_text.isdecimal() and len(number_text) < len(str(LARGEST_NUMBER))):
                raise InvalidInput("an animation needs the avatar's id", field="avatarId")
            order = Order(
                avatar_id=await gateway.library.resource(caller.scope, "avatar", int(number_text)),
                audio=form.files.get("audio"),
                text=form.fields.get("text") or None,
                voice_id=form.fields.get("voiceId", ""),
                request_id=idempotency_key,
            )
            job = await gateway.make(caller, order)
    else:
        wish = await _json_body(request)
        order = Order(
            avatar_id=await gateway.library.resource(caller.scope, "avatar", wish.avatarId),
            text=wish.text,
            voice_id=wish.voiceId,
            request_id=idempotency_key,
        )
        job = await gateway.make(caller, order)
    return await _animation(gateway, caller, job, base)


@router.get(
    "/animations/{number}/status",
    response_model=Animation,
    response_model_exclude_none=True,
    responses=documented(404, 422),
    summary="How an animation is doing",
)
async def animation_status(gateway: TheGateway, caller: TheCaller, base: BaseUrl, number: Number) -> Animation:
    """Poll it as often as you like."""
    job_id = await gateway.library.resource(caller.scope, "animation", number)
    watch = await gateway.watch(caller, job_id)
    return await _animation(gateway, caller, watch.job, base)


@router.head("/animations/{number}/{what}", include_in_schema=False)
@router.get(
    "/animations/{number}/{what}",
    response_class=Response,
    responses=documented(404, 409, 416, 422)
    | {200: {"content": {"video/mp4": {"schema": BINARY}, "audio/wav": {"schema": BINARY}}}},
    summary="An animation's video or audio",
    operation_id="animation_media",
)
async def animation_media(
    request: Request, gateway: TheGateway, caller: TheCaller, number: Number, what: Literal["video", "audio"]
) -> Response:
    """With byte ranges."""
    job_id = await gateway.library.resource(caller.scope, "animation", number)
    if what == "audio":
        return await object_response(request, gateway, caller, await gateway.speech_of(caller, job_id))
    job = await gateway.result(caller, job_id)
    return await object_response(request, gateway, caller, job.result.video)


@router.get(
    "/{number}/animations",
    response_model=list[Animation],
    response_model_exclude_none=True,
    responses=documented(404, 422),
    summary="An avatar's history",
)
async def history(gateway: TheGateway, caller: TheCaller, base: BaseUrl, number: Number) -> list[Animation]:
    """Newest first."""
    avatar_id = await gateway.library.resource(caller.scope, "avatar", number)
    jobs = await gateway.jobs_of_avatar(caller, avatar_id)
    await gateway.library.numbers(caller.scope, "animation", [job.job_id for job in reversed(jobs)])
    return [await _animation(gateway, caller, job, base) for job in jobs]


@router.head("/{number}/image", include_in_schema=False)
@router.get(
    "/{number}/image",
    response_class=Response,
    responses=documented(404, 422) | {200: {"content": {"image/*": {"schema": BINARY}}}},
    summary="An avatar's picture",
    operation_id="avatar_image",
)
async def image(request: Request, gateway: TheGateway, caller: TheCaller, number: Number) -> Response:
    """As it was uploaded."""
    avatar_id = await gateway.library.resource(caller.scope, "avatar", number)
    avatar = await gateway.avatar(caller, avatar_id)
    return await object_response(request, gateway, caller, avatar.spec.portrait)


def _avatar(avatar: avatars_pb2.Avatar, number: int, base: str) -> Avatar:
    return Avatar(
        id=number,
        name=avatar.spec.display_name,
        imageUrl=f"{base}/avatar/{number}/image",
        description=avatar.spec.description,
        createdAt=iso(avatar.create_time) or "",
        updatedAt=iso(avatar.update_time) or "",
    )


async def _animation(gateway: Gateway, caller: Caller, job: jobs_pb2.Job, base: str) -> Animation:
    number = await gateway.library.number(caller.scope, "animation", job.job_id)
    avatar = await gateway.library.number(caller.scope, "avatar", job.spec.avatar_id)
    view = job_view(job)
    state = state_of(view)
    url = f"{base}/avatar/animations/{number}"
    heard = job.spec.HasField("audio") or state == "completed"
    error = view.error.message if view.error else "the job was cancelled"
    return Animation(
        id=number,
        avatarId=avatar,
        audioUrl=f"{url}/audio" if heard else "",
        videoUrl=f"{url}/video" if state == "completed" else "",
        text=job.spec.text.text,
        status=state,
        createdAt=iso(job.create_time) or "",
        error=error if state == "error" else None,
    )


async def _json_body(request: Request) -> Animate:
    """Raises: RequestValidationError, Refusal."""
    body = await bounded_body(request)
    try:
        return Animate.model_validate_json(body)
    except ValidationError as error:
        lines: list[dict[str, Any]] = [{**line, "loc": ("body", *line["loc"])} for line in error.errors()]
        raise RequestValidationError(lines) from None
