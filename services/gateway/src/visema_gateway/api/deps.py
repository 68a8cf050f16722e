"""What routes take: the gateway, the caller, base URL, forms turned into orders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from visema_kit.errors import InvalidInput

from visema_gateway.api.forms import Form, Forms
from visema_gateway.core.callers import Caller, caller_of
from visema_gateway.core.gateway import Gateway, Order
from visema_gateway.core.options import AppearanceOptions, VideoOptions

IDENTIFIER: Final = r"^[A-Za-z0-9_-]{1,64}$"
LARGEST_NUMBER: Final = 2**31 - 1

OptionsT = TypeVar("OptionsT", bound=AppearanceOptions)

_bearer = HTTPBearer(auto_error=False, description="Where the operator has set tokens.")


# Dependencies are coroutines although nothing in them waits: FastAPI calls a plain function in a thread, and where all
# cores compute, a thread waits for its turn for longer than everything else takes.


async def gateway_of(request: Request) -> Gateway:
    """The gateway that serves this request."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def authenticated(request: Request, _documented: Annotated[object, Depends(_bearer)]) -> Caller:
    """The caller. Raises: Unauthenticated."""
    return caller_of(request.headers.get("authorization"), (await gateway_of(request)).tokens)


async def base_url(request: Request) -> str:
    """What absolute URLs begin with."""
    return (await gateway_of(request)).settings.public_url or str(request.base_url).rstrip("/")


async def forms_of(request: Request) -> Forms:
    """Receives multipart bodies."""
    forms: Forms = request.app.state.forms
    return forms


TheGateway = Annotated[Gateway, Depends(gateway_of)]
TheCaller = Annotated[Caller, Depends(authenticated)]
BaseUrl = Annotated[str, Depends(base_url)]
TheForms = Annotated[Forms, Depends(forms_of)]
JobId = Annotated[str, Path(pattern=IDENTIFIER, description="Id of the job.")]
AvatarId = Annotated[str, Path(pattern=IDENTIFIER, description="Id of the avatar.")]
Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,128}$",
        description="The same key and body make one job only; the same key with another body is refused with 409.",
    ),
]


def only_fields(form: Form, known: Iterable[str]) -> None:
    """Raises: InvalidInput: the form has a field that nobody would look at."""
    unknown = sorted(form.fields.keys() - set(known))
    if unknown:
        raise InvalidInput(f"there is no field {unknown[0][:60]!r}", field=unknown[0][:60])


def options_in(form: Form, kind: type[OptionsT]) -> OptionsT:
    """The settings among a form's fields. Raises: RequestValidationError."""
    given = {name: text for name, text in form.fields.items() if name in kind.model_fields and text != ""}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**line, "loc": ("body", *line["loc"])} for line in error.errors()]) from None


def order_in(form: Form, request_id: str | None) -> Order:
    """The video that a form asks for. Raises: InvalidInput, RequestValidationError."""
    only_fields(form, {*VideoOptions.model_fields, "text", "voice_id", "avatar_id", "webhook_url"})
    return Order(
        portrait=form.files.get("image"),
        avatar_id=form.fields.get("avatar_id") or None,
        audio=form.files.get("audio"),
        text=form.fields.get("text") or None,
        voice_id=form.fields.get("voice_id", ""),
        options=options_in(form, VideoOptions),
        request_id=request_id,
        webhook_url=form.fields.get("webhook_url") or None,
    )


def multipart(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The documentation of a multipart body; files are `{"type": "string", "format": "binary"}`."""
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}


def option_properties(kind: type[AppearanceOptions]) -> dict[str, Any]:
    """Settings as form fields, for the documentation."""
    properties: dict[str, Any] = kind.model_json_schema()["properties"]
    return {
        name: {key: value for key, value in schema.items() if key != "default"} for name, schema in properties.items()
    }


def order_properties() -> dict[str, Any]:
    """All fields of an order as a form, for the documentation."""
    return {
        "image": {**FILE, "description": "Portrait: JPEG, PNG or WebP, up to 5 MB. Or give `avatar_id`."},
        "avatar_id": {"type": "string", "description": "An avatar instead of an image."},
        "audio": {**FILE, "description": "Speech: WAV, MP3, FLAC, OGG or M4A, up to 25 MB and 60 s. Or give `text`."},
        "text": {"type": "string", "maxLength": 5000, "description": "What to say."},
        "voice_id": {"type": "string", "description": "Voice for `text`; see /v1/voices."},
        "webhook_url": {"type": "string", "description": "Gets the job as JSON, signed, when it has ended."},
        **option_properties(VideoOptions),
    }
