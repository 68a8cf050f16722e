"""Credit bounds what is on its way in a segment stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema_kit.credit import SegmentInbox, first_request, negotiated_in_flight
from visema_kit.errors import CreditExceeded, InvalidInput


def segment(index: int, first_frame: int | None = None, frame_count: int = 25) -> lipsync_pb2.SyncRequest:
    first = index * 25 if first_frame is None else first_frame
    return lipsync_pb2.SyncRequest(segment=common_pb2.Segment(index=index, first_frame=first, frame_count=frame_count))


async def stream(*requests: lipsync_pb2.SyncRequest) -> AsyncIterator[lipsync_pb2.SyncRequest]:
    for request in requests:
        yield request


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_first_request_must_be_open() -> None:
    opening = encoding_pb2.EncodeRequest(open=encoding_pb2.EncodeOpen(frame_count=1))

    async def requests() -> AsyncIterator[encoding_pb2.EncodeRequest]:
        yield opening
        yield encoding_pb2.EncodeRequest()

    assert await first_request(requests()) == opening
    with pytest.raises(InvalidInput):
        await first_request(stream(segment(0)))
    with pytest.raises(InvalidInput):
        await first_request(stream())


async def test_segments_come_in_order_and_end_with_the_stream() -> None:
    async with SegmentInbox(stream(*map(segment, range(3))), 3) as inbox:
        assert [each.index async for each in inbox] == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(inbox)


async def test_a_stream_may_resume_at_a_later_segment() -> None:
    async with SegmentInbox(stream(segment(4), segment(5)), 2) as inbox:
        assert [each.index async for each in inbox] == [4, 5]


async def test_a_client_beyond_its_credit_is_refused_while_nobody_reads() -> None:
    taken = 0

    async def flood() -> AsyncIterator[lipsync_pb2.SyncRequest]:
        nonlocal taken
        for index in range(10_000):
            taken += 1
            yield segment(index)

    async with SegmentInbox(flood(), 2) as inbox:
        await settled(lambda: taken == 3)
        await asyncio.sleep(0.01)
        assert taken == 3
        assert [(await anext(inbox)).index, (await anext(inbox)).index] == [0, 1]
        with pytest.raises(CreditExceeded) as caught:
            await anext(inbox)
        assert caught.value.metadata == {"max_in_flight": "2"}


async def test_released_credit_lets_the_client_go_on() -> None:
    sent: asyncio.Queue[lipsync_pb2.SyncRequest] = asyncio.Queue()

    async def requests() -> AsyncIterator[lipsync_pb2.SyncRequest]:
        for _ in range(50):
            yield await sent.get()

    indices = []
    sent.put_nowait(segment(0))
    async with SegmentInbox(requests(), 1) as inbox:
        async for each in inbox:
            indices.append(each.index)
            inbox.release()
            sent.put_nowait(segment(each.index + 1))
    assert indices == list(range(50))


async def test_more_credit_than_segments_is_a_defect() -> None:
    async with SegmentInbox(stream(), 1) as inbox:
        with pytest.raises(RuntimeError):
            inbox.release()


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ((segment(0), segment(2)), "segment.index"),
        ((segment(0), segment(0)), "segment.index"),
        ((segment(0), segment(1, first_frame=26)), "segment.first_frame"),
        ((segment(0, frame_count=0),), "segment.frame_count"),
        ((segment(0), lipsync_pb2.SyncRequest(open=lipsync_pb2.SyncOpen())), "segment"),
    ],
)
async def test_what_does_not_continue_the_stream_is_refused(requests: tuple, field: str) -> None:
    async with SegmentInbox(stream(*requests), 5) as inbox:
        with pytest.raises(InvalidInput) as caught:
            async for _ in inbox:
                pass
        assert caught.value.field == field


async def test_a_fault_of_the_stream_comes_after_what_arrived_before_it() -> None:
    async def breaking() -> AsyncIterator[lipsync_pb2.SyncRequest]:
        yield segment(0)
        raise ConnectionResetError

    async with SegmentInbox(breaking(), 2) as inbox:
        assert (await anext(inbox)).index == 0
        with pytest.raises(ConnectionResetError):
            await anext(inbox)


async def test_leaving_the_inbox_stops_reading() -> None:
    waiting, closed = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[lipsync_pb2.SyncRequest]:
        try:
            waiting.set()
            await asyncio.Event().wait()
            yield segment(0)
        finally:
            closed.set()

    async with SegmentInbox(endless(), 1):
        await waiting.wait()
    assert closed.is_set()


def test_the_server_decides_within_what_the_client_asks_for() -> None:
    assert [negotiated_in_flight(asked, 4) for asked in (-1, 0, 1, 4, 9)] == [4, 4, 1, 4, 4]
