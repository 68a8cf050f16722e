"""Credit over real channels."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from support.servicers import encode_requests, running_rig
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema_kit.channel import ending
from visema_kit.credit import SegmentInbox, first_request, negotiated_in_flight
from visema_kit.errors import CreditExceeded
from visema_kit.logs import configure_logs
from visema_kit.status import from_rpc_error

MAX_IN_FLIGHT = 2


class Encoder(encoding_pb2_grpc.EncodingServiceServicer):
    """Answers each segment once `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.in_hand = 0
        self.inbox: SegmentInbox | None = None
        self.ended = asyncio.Event()

    @property
    def unread(self) -> int:
        return self.inbox.waiting if self.inbox else 0

    async def Encode(self, request_iterator: Any, _context: Any) -> AsyncIterator[encoding_pb2.EncodeResponse]:  # noqa: N802
        opening = (await first_request(request_iterator)).open
        in_flight = negotiated_in_flight(opening.max_in_flight, MAX_IN_FLIGHT)
        yield encoding_pb2.EncodeResponse(accepted=encoding_pb2.EncodeAccepted(max_in_flight=in_flight))
        try:
            async with SegmentInbox(request_iterator, in_flight) as inbox:
                self.inbox = inbox
                async for segment in inbox:
                    self.in_hand += 1
                    await self.go.wait()
                    inbox.release()
                    yield encoding_pb2.EncodeResponse(segment_done=encoding_pb2.EncodeSegmentDone(index=segment.index))
        finally:
            self.ended.set()


def numbered(index: int) -> encoding_pb2.EncodeRequest:
    segment = common_pb2.Segment()
    segment.CopyFrom(encode_requests()[1].segment)
    segment.index, segment.first_frame = index, index * segment.frame_count
    return encoding_pb2.EncodeRequest(segment=segment)


def registered(encoder: Encoder) -> Any:
    return lambda server: encoding_pb2_grpc.add_EncodingServiceServicer_to_server(encoder, server)


async def test_a_client_that_keeps_to_its_credit_gets_every_segment_through() -> None:
    encoder = Encoder()
    encoder.go.set()
    done = []
    async with running_rig(register=registered(encoder)) as rig:
        stub = encoding_pb2_grpc.EncodingServiceStub(rig.channel)
        credit = asyncio.Semaphore(0)

        async def requests() -> AsyncIterator[encoding_pb2.EncodeRequest]:
            yield encode_requests()[0]
            for index in range(40):
                await credit.acquire()
                yield numbered(index)

        with ending(stub.Encode(requests())) as call:
            async for reply in call:
                if reply.HasField("accepted"):
                    for _ in range(reply.accepted.max_in_flight):
                        credit.release()
                else:
                    done.append(reply.segment_done.index)
                    credit.release()
    assert done == list(range(40))


async def test_a_client_that_floods_is_refused_while_the_server_computes() -> None:
    encoder = Encoder()
    async with running_rig(register=registered(encoder)) as rig:
        stub = encoding_pb2_grpc.EncodingServiceStub(rig.channel)
        requests = [encode_requests()[0], *map(numbered, range(500))]
        with ending(stub.Encode(iter(requests))) as call:
            async with asyncio.timeout(60):
                while encoder.unread < MAX_IN_FLIGHT:  # one is in hand, one waits, and behind it the refusal
                    await asyncio.sleep(0.01)
            encoder.go.set()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [_ async for _ in call]
        assert type(from_rpc_error(caught.value)) is CreditExceeded
        assert encoder.in_hand == MAX_IN_FLIGHT


@pytest.mark.parametrize("_round", range(5))
async def test_a_client_that_goes_away_is_a_cancellation_and_not_an_end_of_input(_round: int) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("test", "INFO", stream)
    try:
        encoder = Encoder()
        encoder.go.set()
        async with running_rig(register=registered(encoder)) as rig:
            stub = encoding_pb2_grpc.EncodingServiceStub(rig.channel)
            call = stub.Encode()
            await call.write(encode_requests()[0])
            await call.write(numbered(0))
            await call.read()
            await call.read()
            call.cancel()
            await asyncio.wait_for(encoder.ended.wait(), 60)
    finally:
        root.handlers = handlers
        root.setLevel(level)
    (line,) = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "rpc"]
    assert line["code"] == "CANCELLED"
