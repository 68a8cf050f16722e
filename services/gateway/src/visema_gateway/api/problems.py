"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from visema_kit.errors import Code, VisemaError
from visema_kit.logs import get_logger

MEDIA_TYPE: Final = "application/problem+json"
DEFAULT_RETRY_S: Final = 1.0

_STATUS_BY_CODE: Final = {
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}
_STATUS_BY_REASON: Final = {
    "IMAGE_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "MEDIA_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "AUDIO_TOO_LONG": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "MEDIA_NOT_ALLOWED": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "MEDIA_UNREADABLE": HTTPStatus.UNPROCESSABLE_ENTITY,
    "NO_FACE_FOUND": HTTPStatus.UNPROCESSABLE_ENTITY,
    "SEVERAL_FACES": HTTPStatus.UNPROCESSABLE_ENTITY,
    "AUDIO_TOO_SHORT": HTTPStatus.UNPROCESSABLE_ENTITY,
}

log = get_logger(__name__)


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["https://visema.internal/errors/NO_FACE_FOUND"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(description="For people.", examples=["the picture shows no human face"])
    reason: str = Field(description="For programs: the gRPC reason; docs/errors.md.", examples=["NO_FACE_FOUND"])
    request_id: str = Field(description="Stands in the gateway's log.")
    field: str | None = Field(default=None, description="What is wrong in the request.")
    metadata: dict[str, str] = Field(default={}, description="Facts such as limits.")


class Refusal(Exception):
    """A request that HTTP itself knows a status for."""

    def __init__(self, status: HTTPStatus, reason: str, message: str, *, retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


def status_of(error: VisemaError) -> HTTPStatus:
    """The HTTP status of an error."""
    return _STATUS_BY_REASON.get(error.reason, _STATUS_BY_CODE[error.code])


def problem_response(
    request_id: str,
    status: HTTPStatus,
    reason: str,
    detail: str,
    *,
    field: str = "",
    metadata: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(
        type=f"https://visema.internal/errors/{reason}",
        title=status.phrase,
        status=status,
        detail=detail,
        reason=reason,
        request_id=request_id,
        field=field or None,
        metadata=dict(metadata or {}),
    )
    return JSONResponse(problem.model_dump(exclude_none=True), status, dict(headers or {}), media_type=MEDIA_TYPE)


def request_id_of(request: Request) -> str:
    """The request's id, made by the outermost layer."""
    return str(request.scope.get("visema_request_id", ""))


async def on_visema_error(request: Request, error: Exception) -> JSONResponse:
    """An error of the orchestrator or of the core."""
    assert isinstance(error, VisemaError)  # noqa: S101  # registered for this class
    status = status_of(error)
    headers: dict[str, str] = {}
    if error.retryable or error.retry_after_s > 0:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or DEFAULT_RETRY_S))
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(
        request_id_of(request),
        status,
        error.reason,
        error.message,
        field=error.field.removeprefix("spec."),
        metadata=error.metadata,
        headers=headers,
    )


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """A request that is refused before it reaches the core."""
    assert isinstance(error, Refusal)  # noqa: S101  # registered for this class
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if error.retry_after_s else {}
    return problem_response(request_id_of(request), error.status, error.reason, error.message, headers=headers)


async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
    """A request that does not have the documented form."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class
    first: Mapping[str, Any] = error.errors()[0] if error.errors() else {}
    place = ".".join(str(part) for part in first.get("loc", ())[1:])
    text = str(first.get("msg", "the request cannot be read")).removeprefix("Value error, ")
    return problem_response(
        request_id_of(request), HTTPStatus.UNPROCESSABLE_ENTITY, "INVALID_INPUT", text, field=place[:200]
    )


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """What the router says: no such path, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class
    status = HTTPStatus(error.status_code)
    reason = status.phrase.upper().replace(" ", "_").replace("-", "_")
    return problem_response(request_id_of(request), status, reason, str(error.detail), headers=error.headers)


async def on_defect(request: Request, error: Exception) -> JSONResponse:
    """A defect of ours: the log has it, the client gets the id."""
    log.error("request_failed", request_id=request_id_of(request), exc_info=error)
    text = "an unexpected fault happened in the gateway; its log has the details"
    return problem_response(request_id_of(request), HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", text)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems for a route's documentation."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
        for status in sorted({*statuses, 401, 429, 503})
    }
