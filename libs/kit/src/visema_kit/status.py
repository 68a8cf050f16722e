"""VisemaError to google.rpc.Status (AIP-193) and back to the same class."""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf import duration_pb2, message
from google.rpc import error_details_pb2, status_pb2

from visema_kit.errors import (
    DOMAIN,
    Code,
    DeadlineExceeded,
    ForeignObject,
    InternalError,
    InvalidInput,
    NotFound,
    ObjectCorrupt,
    PreconditionFailed,
    RequestIdReused,
    ResourceExhausted,
    StageUnavailable,
    Unauthenticated,
    VisemaError,
    error_class,
)

DETAILS_KEY: Final = "grpc-status-details-bin"

# gRPC drops calls whose trailing metadata exceed 8 KiB; the message travels percent-encoded and inside the details.
MESSAGE_LIMIT_BYTES: Final = 1024
METADATA_VALUE_LIMIT_BYTES: Final = 256

# What a status without a known reason becomes, by google.rpc.Code. CANCELLED and UNAVAILABLE come from the channel or
# from a server that went away.
_CLASS_BY_CODE: Final[dict[int, type[VisemaError]]] = {
    1: StageUnavailable,  # CANCELLED
    Code.INVALID_ARGUMENT.value: InvalidInput,
    Code.DEADLINE_EXCEEDED.value: DeadlineExceeded,
    Code.NOT_FOUND.value: NotFound,
    Code.ALREADY_EXISTS.value: RequestIdReused,
    Code.PERMISSION_DENIED.value: ForeignObject,
    Code.RESOURCE_EXHAUSTED.value: ResourceExhausted,
    Code.FAILED_PRECONDITION.value: PreconditionFailed,
    Code.UNAVAILABLE.value: StageUnavailable,
    Code.DATA_LOSS.value: ObjectCorrupt,
    Code.UNAUTHENTICATED.value: Unauthenticated,
}


def to_status(error: VisemaError) -> status_pb2.Status:
    """The rich status of an error: ErrorInfo always; BadRequest, PreconditionFailure and RetryInfo where they fit."""
    text = _shortened(error.message, MESSAGE_LIMIT_BYTES)
    status = status_pb2.Status(code=error.code.value, message=text)
    _add_detail(
        status,
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=DOMAIN,
            metadata={key: _shortened(value, METADATA_VALUE_LIMIT_BYTES) for key, value in error.metadata.items()},
        ),
    )
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=text, reason=error.reason
        )
        _add_detail(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if error.code is Code.FAILED_PRECONDITION:
        failure = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason, subject=error.field, description=text
        )
        _add_detail(status, error_details_pb2.PreconditionFailure(violations=[failure]))
    if error.retry_after_s > 0:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        _add_detail(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def from_status(status: status_pb2.Status) -> VisemaError:
    """The error that a status stands for: the class by its reason, else by its code."""
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        for target in (info, bad_request, retry):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    known = error_class(info.reason) if info.domain == DOMAIN else None
    kind = known or _CLASS_BY_CODE.get(status.code, InternalError)
    return kind(
        status.message,
        metadata=dict(info.metadata),
        field=bad_request.field_violations[0].field if bad_request.field_violations else "",
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000,
    )


def from_rpc_error(error: grpc.RpcError) -> VisemaError:
    """The error that the server raised, from what the client caught (`grpc.aio.AioRpcError` or `grpc.RpcError`).

    A status without details gives a class by its code; UNAVAILABLE from the channel gives StageUnavailable.
    """
    trailers: Any = error.trailing_metadata()  # typed as something that cannot be iterated
    for key, value in trailers or ():
        if key == DETAILS_KEY:
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except message.DecodeError:
                break
            return from_status(status)
    code: grpc.StatusCode = error.code()
    kind = _CLASS_BY_CODE.get(code.value[0], InternalError)
    return kind(error.details() or f"the call failed with {code.name}", metadata={"grpc_code": code.name})


def exception_to_error(exception: BaseException) -> VisemaError:
    """A VisemaError stays; anything else becomes an InternalError that does not give the text away."""
    if isinstance(exception, VisemaError):
        return exception
    return InternalError("an unexpected fault happened on the server; its log has the details")


def error_to_proto(exception: BaseException) -> status_pb2.Status:
    """The status of any exception, e.g. for `Job.error`."""
    return to_status(exception_to_error(exception))


def _add_detail(status: status_pb2.Status, detail: message.Message) -> None:
    status.details.add().Pack(detail)


def _shortened(text: str, limit_bytes: int) -> str:
    """The text, cut between characters so that its UTF-8 form fits."""
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    ellipsis = "…".encode()
    return encoded[: limit_bytes - len(ellipsis)].decode(errors="ignore") + ellipsis.decode()
