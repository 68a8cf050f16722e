"""Errors become rich statuses and come back as the same class."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata
from visema_kit.errors import (
    DOMAIN,
    CheckpointMissing,
    InternalError,
    InvalidInput,
    NoFaceFound,
    QueueFull,
    StageUnavailable,
    VisemaError,
    error_classes,
)
from visema_kit.status import DETAILS_KEY, error_to_proto, exception_to_error, from_rpc_error, from_status, to_status


def detail(status: status_pb2.Status, kind: type) -> list:
    found = []
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            message = kind()
            packed.Unpack(message)
            found.append(message)
    return found


def rpc_error(code: grpc.StatusCode, text: str = "", trailers: tuple = ()) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(*trailers), details=text)


@pytest.mark.parametrize("kind", list(error_classes()), ids=lambda kind: kind.reason)
def test_every_error_comes_back_as_the_same_class(kind: type[VisemaError]) -> None:
    error = kind("what happened", metadata={"limit": "60"}, field="spec.audio", retry_after_s=1.5)
    status = to_status(error)
    trailers = ((DETAILS_KEY, status.SerializeToString()),)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    back = from_rpc_error(rpc_error(code, status.message, trailers))
    assert type(back) is kind
    assert (back.message, back.metadata, back.field, back.retry_after_s) == (
        "what happened",
        {"limit": "60"},
        "spec.audio",
        1.5,
    )


def test_error_info_is_always_there() -> None:
    (info,) = detail(to_status(NoFaceFound("none", metadata={"faces": "0"})), error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == ("NO_FACE_FOUND", DOMAIN, {"faces": "0"})


def test_other_details_are_there_only_where_they_fit() -> None:
    plain = to_status(NoFaceFound("none"))
    assert len(plain.details) == 1
    (bad_request,) = detail(to_status(NoFaceFound("none", field="spec.portrait")), error_details_pb2.BadRequest)
    assert bad_request.field_violations[0].field == "spec.portrait"
    assert bad_request.field_violations[0].reason == "NO_FACE_FOUND"
    (failure,) = detail(to_status(CheckpointMissing("absent")), error_details_pb2.PreconditionFailure)
    assert failure.violations[0].type == "CHECKPOINT_MISSING"
    (retry,) = detail(to_status(QueueFull("later", retry_after_s=2.5)), error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 2500


def test_a_long_message_in_any_script_fits_into_trailing_metadata() -> None:
    error = InvalidInput("ж" * 10_000, field="spec.speech", metadata={f"key{n}": "я" * 5000 for n in range(4)})
    status = to_status(error)
    assert len(status.message.encode()) <= 1024
    assert status.message.endswith("…")
    assert len(status.SerializeToString()) < 4096


def test_a_status_without_our_details_becomes_a_class_by_its_code() -> None:
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "connection refused"))) is StageUnavailable
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.CANCELLED))) is StageUnavailable
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.INVALID_ARGUMENT))) is InvalidInput
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.UNKNOWN))) is InternalError
    assert from_rpc_error(rpc_error(grpc.StatusCode.UNIMPLEMENTED)).metadata == {"grpc_code": "UNIMPLEMENTED"}


def test_a_reason_of_another_domain_does_not_choose_the_class() -> None:
    status = status_pb2.Status(code=5, message="gone")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NO_FACE_FOUND", domain="elsewhere.example"))
    assert from_status(status).reason == "NOT_FOUND"


def test_damaged_details_do_not_hide_the_error() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.NOT_FOUND, "gone", ((DETAILS_KEY, b"\xff\xff"),)))
    assert (error.reason, error.message) == ("NOT_FOUND", "gone")


def test_a_foreign_exception_becomes_internal_without_its_text() -> None:
    error = exception_to_error(RuntimeError("password=hunter2"))
    assert type(error) is InternalError
    assert "hunter2" not in str(error)
    assert "hunter2" not in str(error_to_proto(RuntimeError("password=hunter2")))
    ours = NoFaceFound("none")
    assert exception_to_error(ours) is ours
