"""Credit, cancellation, time limit and slots of the encoder."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import pytest
from support.encoding import Inputs, encode, events, refusal
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema_kit.status import from_rpc_error


async def test_more_segments_than_the_credit_allows_are_refused(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    segments, audio = await inputs.segments(*[25] * 8), await inputs.audio(8)

    async def flood() -> None:
        call = service.Encode(timeout=60)
        await call.write(inputs.opening(audio, 200))
        for segment in segments:
            await call.write(encoding_pb2.EncodeRequest(segment=segment))
        await call.done_writing()
        async for _ in call:
            pass

    assert await refusal(flood()) == "CREDIT_EXCEEDED"


async def wait_until_empty(folder: Path) -> None:
    """The limit is for a hang, not for speed."""
    async with asyncio.timeout(60):
        while any(folder.iterdir()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_work_stops_and_the_scratch_file_goes_when_the_caller_does(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs, scratch: Path, how: str
) -> None:
    segments, audio = await inputs.segments(25, 25), await inputs.audio(2)
    for deadline_s in (60,) if how == "cancel" else (4, 16, 60):  # a later one where the machine is too slow for it
        call = service.Encode(timeout=deadline_s)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(inputs.opening(audio, 50, preset="veryslow"))
            assert (await call.read()).HasField("accepted")
            await call.write(encoding_pb2.EncodeRequest(segment=segments[0]))
            assert (await call.read()).HasField("segment_done")
            if any(scratch.iterdir()):
                break
    else:
        pytest.fail("there is no scratch file while it works")
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the deadline may come before
        await call.write(encoding_pb2.EncodeRequest(segment=segments[1]))
    if how == "cancel":
        call.cancel()
    else:
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_until_empty(scratch)
    described = await service.Describe(encoding_pb2.DescribeRequest(), timeout=60)
    assert described.engine.name == "libx264"


@pytest.mark.parametrize("service", [{"VISEMA_ENCODER_TIME_LIMIT_S": "1"}], indirect=True)
async def test_a_caller_that_sends_nothing_meets_the_time_limit(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    async def idle() -> None:
        call = service.Encode(timeout=60)
        await call.write(inputs.opening(await inputs.audio(1), 25))
        async for _ in call:
            pass

    assert await refusal(idle()) == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("service", [{"VISEMA_MAX_STREAMS": "1"}], indirect=True)
async def test_a_video_beyond_the_allowed_number_is_told_to_come_later(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    audio, segments = await inputs.audio(0.4), await inputs.segments(10)
    first = service.Encode(timeout=60)
    await first.write(inputs.opening(audio, 10))
    assert (await first.read()).HasField("accepted")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encode(service, inputs.opening(audio, 10), segments)
    assert from_rpc_error(caught.value).reason == "DEVICE_BUSY"
    assert from_rpc_error(caught.value).retry_after_s > 0
    first.cancel()
    replies: list[encoding_pb2.EncodeResponse] = []
    async with asyncio.timeout(60):
        while not replies:  # the slot is free once the server has seen the cancellation
            with contextlib.suppress(grpc.aio.AioRpcError):
                replies = await encode(service, inputs.opening(audio, 10), segments)
            await asyncio.sleep(0.01)
    assert events(replies)[-1] == "summary"
