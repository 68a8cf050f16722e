"""Streams to stages: what gRPC itself says of one that broke, and what the stage says of its own faults."""

from __future__ import annotations

import grpc
import pytest
from grpc_status import rpc_status
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.channel import open_channel
from visema_kit.errors import InternalError, StageUnavailable, VisemaError
from visema_kit.status import to_status
from visema_orchestrator.stages import StageChannels, Stages, StageStream


class FaultyPortraits(portrait_pb2_grpc.PortraitAnimationServiceServicer):
    """Ends each stream with INTERNAL, which is the stage's own word where `error` is given."""

    def __init__(self, error: VisemaError | None) -> None:
        self._error = error

    async def Animate(self, _request, context):  # noqa: N802
        yield portrait_pb2.AnimateResponse()
        if self._error is not None:
            await context.abort_with_status(rpc_status.to_status(to_status(self._error)))
        await context.abort(grpc.StatusCode.INTERNAL, 'Failed "execute_batch"')


@pytest.mark.parametrize(
    ("error", "expected"), [(None, StageUnavailable), (InternalError("a bug"), InternalError)], ids=["gRPC", "stage"]
)
async def test_a_stream_that_breaks_is_another_fault_than_a_stage_that_has_one(
    error: VisemaError | None, expected: type[VisemaError]
) -> None:
    async def read_all() -> None:
        async with stages.animate(portrait_pb2.AnimateRequest(), 30.0) as stream:
            assert [reply async for reply in stream]

    server = grpc.aio.server()
    portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(FaultyPortraits(error), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}")
    stages = Stages(StageChannels(channel, channel, channel, None))
    with pytest.raises(VisemaError) as caught:
        await read_all()
    await channel.close()
    await server.stop(None)
    assert type(caught.value) is expected
    assert caught.value.metadata["stage"] == "liveportrait"


class BreakingCall:
    """A call of gRPC that notices in the middle of each operation that the other side is gone."""

    async def write(self, _request: object) -> None:
        raise grpc.aio.InternalError("execute_batch")

    async def done_writing(self) -> None:
        raise grpc.aio.InternalError("execute_batch")

    async def __aiter__(self):
        yield portrait_pb2.AnimateResponse()
        raise grpc.aio.InternalError("execute_batch")


async def test_a_stream_that_breaks_in_the_middle_of_an_operation_is_a_stage_that_does_not_answer() -> None:
    stream: StageStream[object, object] = StageStream("wav2lip", BreakingCall())
    assert not await stream.send(object())
    await stream.half_close()
    with pytest.raises(StageUnavailable, match="wav2lip"):
        assert [reply async for reply in stream]
