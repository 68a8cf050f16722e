"""REQUIRED fields are enforced wherever they stand."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from support.servicers import CONTEXT, REF, animate_request, encode_requests, inspect_request, upload_requests
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.orchestrator.v1 import jobs_pb2, media_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.errors import InvalidInput
from visema_kit.validation import check_request


def refused_field(request: Message) -> str:
    with pytest.raises(InvalidInput) as caught:
        check_request(request)
    return caught.value.field


@pytest.mark.parametrize("request_", [inspect_request(), animate_request(), *upload_requests(), *encode_requests()])
def test_complete_requests_pass(request_: Message) -> None:
    check_request(request_)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (jobs_pb2.GetJobRequest(), "job_id"),
        (jobs_pb2.CreateJobRequest(), "spec"),
        (portrait_pb2.InspectRequest(portrait=REF), "context"),
        (portrait_pb2.InspectRequest(context=common_pb2.WorkContext(tenant="t"), portrait=REF), "context.work_id"),
        (media_pb2.CreateUploadRequest(), "kind"),
        (media_pb2.UploadRequest(header=media_pb2.UploadHeader()), "header.kind"),
        (encoding_pb2.EncodeRequest(open=encoding_pb2.EncodeOpen(context=CONTEXT)), "open.audio"),
        (jobs_pb2.CreateJobRequest(spec=jobs_pb2.JobSpec(text=jobs_pb2.SpeechText())), "spec.text.text"),
        (jobs_pb2.CreateJobRequest(spec=jobs_pb2.JobSpec(portrait=common_pb2.ObjectRef())), "spec.portrait.bucket"),
    ],
)
def test_the_first_missing_field_is_named_with_its_path(request_: Message, field: str) -> None:
    assert refused_field(request_) == field


def test_a_number_inside_a_nested_message_counts() -> None:
    request = animate_request()
    request.frame_rate.denominator = 0
    assert refused_field(request) == "frame_rate.denominator"


def test_entries_of_lists_are_named_by_position() -> None:
    still = encoding_pb2.Still(object=REF)
    broken = encoding_pb2.Still(object=common_pb2.ObjectRef(bucket="b"))
    assert refused_field(encoding_pb2.EncodeResult(stills=[still, broken])) == "stills[1].object.key"


def test_a_stream_request_that_says_nothing_is_refused() -> None:
    assert refused_field(lipsync_pb2.SyncRequest()) == "event"
    assert refused_field(media_pb2.UploadRequest()) == "event"


def test_an_empty_chunk_is_still_a_chunk() -> None:
    check_request(media_pb2.UploadRequest(chunk=b""))


def test_optional_messages_are_checked_only_where_they_are_set() -> None:
    request = lipsync_pb2.SyncRequest(
        open=lipsync_pb2.SyncOpen(
            context=CONTEXT, audio=REF, frame_rate=common_pb2.FrameRate(numerator=25, denominator=1), frame_count=25
        )
    )
    check_request(request)
    request.open.reference.SetInParent()
    assert refused_field(request) == "open.reference.frame_count"
