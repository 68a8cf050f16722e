"""The interceptor around every RPC, in all four shapes, over real channels."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.servicers import SHAPES, Script, animate_request, encode_requests, inspect_request, running_rig
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2_grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.errors import InternalError, InvalidInput, NoFaceFound, QueueFull, VisemaError
from visema_kit.logs import configure_logs
from visema_kit.status import from_rpc_error


@pytest.fixture
def log_lines() -> Iterator[Any]:
    """Log lines so far, parsed."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("test", "INFO", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers = handlers
    root.setLevel(level)


def rpc_lines(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "rpc"]


async def failure_of(call: Any) -> VisemaError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_call_passes_and_leaves_one_wide_line(shape: str, log_lines: Any) -> None:
    async with running_rig() as rig:
        assert await rig.call(shape)
    (line,) = rpc_lines(log_lines())
    assert line["code"] == "OK"
    assert line["method"].startswith("/visema.")
    assert line["duration_s"] >= 0
    assert line["requests"] == (2 if shape.startswith("stream") else 1)
    assert line["replies"] == (2 if shape.endswith("stream") else 1)
    assert len(line["trace_id"]) == 32
    assert line["peer"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_our_error_reaches_the_client_as_the_same_class_with_all_details(shape: str) -> None:
    error = NoFaceFound("the picture shows no face", field="portrait", metadata={"faces": "0"})
    async with running_rig(Script(error=error)) as rig:
        received = await failure_of(rig.call(shape))
    assert type(received) is NoFaceFound
    assert (received.message, received.field, received.metadata) == (error.message, "portrait", {"faces": "0"})


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_unforeseen_error_is_internal_logged_and_not_given_away(shape: str, log_lines: Any) -> None:
    async with running_rig(Script(error=ZeroDivisionError("the secret is 42"))) as rig:
        received = await failure_of(rig.call(shape))
    assert type(received) is InternalError
    assert "42" not in received.message
    unexpected = [line for line in log_lines() if line["event"] == "unexpected_error"]
    assert "the secret is 42" in unexpected[0]["exception"]
    assert "Traceback" in unexpected[0]["exception"]
    (line,) = rpc_lines(log_lines())
    assert (line["code"], line["reason"], line["level"]) == ("INTERNAL", "INTERNAL", "error")


@pytest.mark.parametrize("shape", SHAPES)
async def test_cancellation_reaches_the_servicer_and_is_logged_as_such(shape: str, log_lines: Any) -> None:
    script = Script(hang=True)
    async with running_rig(script) as rig:
        call = asyncio.create_task(rig.call(shape))
        await script.entered.wait()
        call.cancel()
        await asyncio.wait_for(script.cancelled.wait(), 60)
        with pytest.raises(asyncio.CancelledError):
            await call
    (line,) = rpc_lines(log_lines())
    assert (line["code"], line["level"]) == ("CANCELLED", "info")


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_deadline_stops_the_servicer_and_is_logged_as_such(shape: str, log_lines: Any) -> None:
    script = Script(hang=True)
    async with running_rig(script) as rig:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.call(shape, timeout=2)  # enough for a slow machine to reach the servicer
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(script.cancelled.wait(), 60)
    (line,) = rpc_lines(log_lines())
    assert line["code"] == "DEADLINE_EXCEEDED"


async def test_a_servicers_generator_is_closed_while_it_waits_for_a_slow_reader() -> None:
    """A client that stops reading and goes away must not leave the generator suspended at its `yield`."""
    closed = asyncio.Event()

    class Flooding(portrait_pb2_grpc.PortraitAnimationServiceServicer):
        async def Animate(self, _request: Any, _context: Any) -> Any:  # noqa: N802
            report = common_pb2.StageReport(warnings=["x" * 100_000])
            try:
                while True:
                    yield portrait_pb2.AnimateResponse(summary=report)
            finally:
                closed.set()

    def register(server: grpc.aio.Server) -> None:
        portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(Flooding(), server)

    async with running_rig(register=register) as rig:
        call = portrait_pb2_grpc.PortraitAnimationServiceStub(rig.channel).Animate(animate_request())
        await call.read()
        await asyncio.sleep(0.2)  # by now the server waits for the client to read
        call.cancel()
        await asyncio.wait_for(closed.wait(), 60)


async def test_a_required_field_that_is_missing_is_named(log_lines: Any) -> None:
    request = inspect_request()
    request.portrait.ClearField("sha256")
    async with running_rig() as rig:
        stub = portrait_pb2_grpc.PortraitAnimationServiceStub(rig.channel)
        received = await failure_of(stub.Inspect(request))
        assert type(received) is InvalidInput
        assert received.field == "portrait.sha256"
        assert rig.script.seen == []
    (line,) = rpc_lines(log_lines())
    assert (line["code"], line["reason"]) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert (line["tenant"], line["work_id"]) == ("acme", "job-1")


async def test_every_request_of_a_stream_is_validated() -> None:
    opening, segment = encode_requests()
    segment.segment.object.ClearField("key")

    async def drain(call: Any) -> None:
        async for _ in call:
            pass

    async with running_rig() as rig:
        stub = encoding_pb2_grpc.EncodingServiceStub(rig.channel)
        received = await failure_of(drain(stub.Encode(iter([opening, segment]))))
        assert received.field == "segment.object.key"
        assert len(rig.script.seen) == 1


async def test_a_method_that_the_servicer_leaves_out_is_unimplemented() -> None:
    async with running_rig() as rig:
        stub = portrait_pb2_grpc.PortraitAnimationServiceStub(rig.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Describe(portrait_pb2.DescribeRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_retry_delay_travels() -> None:
    async with running_rig(Script(error=QueueFull("later", retry_after_s=2.5))) as rig:
        received = await failure_of(rig.call("unary_unary"))
    assert isinstance(received, QueueFull)
    assert received.retry_after_s == 2.5


async def test_calls_are_counted_by_method_and_code() -> None:
    async with running_rig(Script(error=NoFaceFound("none"))) as rig:
        await failure_of(rig.call("unary_unary"))
        labels = {"method": "/visema.portrait.v1.PortraitAnimationService/Inspect", "code": "INVALID_ARGUMENT"}
        registry = rig.spec.metrics.registry
        assert registry.get_sample_value("visema_rpc_duration_seconds_count", labels) == 1
        assert registry.get_sample_value("visema_inflight", {"method": labels["method"]}) == 0


async def test_the_callers_trace_goes_on(log_lines: Any) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with running_rig() as rig:
        await rig.call("unary_unary", metadata=[("traceparent", f"00-{trace_id}-b7ad6b7169203331-01")])
    (line,) = rpc_lines(log_lines())
    assert line["trace_id"] == trace_id
