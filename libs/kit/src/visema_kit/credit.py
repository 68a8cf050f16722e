"""Credit on segment streams: how many segments may be on their way, enforced by the server.

gRPC's own flow control counts bytes. A server that reads nothing still takes in tens of thousands of segment
references, so each `segment_done` of the server is the client's credit for one more segment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

from visema.common.v1 import common_pb2

from visema_kit.errors import CreditExceeded, InvalidInput


class SegmentRequest(Protocol):
    """A request of a segment stream: `SyncRequest` or `EncodeRequest`."""

    @property
    def segment(self) -> common_pb2.Segment:
        """The segment of a request whose `event` is one."""

    def WhichOneof(self, oneof_group: Literal["event"], /) -> str | None:  # noqa: N802  # protobuf's name
        """Which `event` the request is."""


RequestT = TypeVar("RequestT", bound=SegmentRequest)


def negotiated_in_flight(asked: int, most: int) -> int:
    """Segments that the server allows ahead: what the client asked for, up to `most`; `most` when it asked nothing."""
    return most if asked <= 0 else min(asked, most)


async def first_request(requests: AsyncIterator[RequestT]) -> RequestT:
    """The first request of a stream, whose event must be `open`.

    Raises: InvalidInput: the stream is empty or begins with something else.
    """
    async for request in requests:
        if request.WhichOneof("event") != "open":
            raise InvalidInput("the first request must be `open`", field="open")
        return request
    raise InvalidInput("the stream holds no request", field="open")


class SegmentInbox:
    """The segments of a request stream, in order, never more than the credit allows.

    A task reads ahead, so that a client that ignores its credit is found out at once and what it sent stays bounded.
    `release()` returns a credit and goes with each `segment_done`.

    ```python
    async with SegmentInbox(requests, max_in_flight) as inbox:
        async for segment in inbox:
            ...
            inbox.release()
    ```

    Iterating raises InvalidInput where a request is no segment or a segment does not continue the one before,
    CreditExceeded where the client sent too many, and what the request stream raises.
    """

    def __init__(self, requests: AsyncIterator[RequestT], max_in_flight: int) -> None:
        if max_in_flight < 1:
            raise ValueError("max_in_flight must be at least 1")
        self._requests = requests
        self._max_in_flight = max_in_flight
        self._outstanding = 0  # received and not released
        self._received: asyncio.Queue[common_pb2.Segment | Exception | None] = asyncio.Queue()
        self._previous: common_pb2.Segment | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read(), name="segment-inbox")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    def __aiter__(self) -> AsyncIterator[common_pb2.Segment]:
        return self

    async def __anext__(self) -> common_pb2.Segment:
        received = await self._received.get()
        if isinstance(received, common_pb2.Segment):
            return received
        self._received.put_nowait(received)  # the end stays the end
        if received is None:
            raise StopAsyncIteration
        raise received

    @property
    def waiting(self) -> int:
        """Segments that were received and not yet taken."""
        return self._received.qsize()

    def release(self) -> None:
        """A segment is done: the client may send one more."""
        if self._outstanding < 1:
            raise RuntimeError("more segments released than received")
        self._outstanding -= 1

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                segment = self._checked(request)
                self._outstanding += 1
                if self._outstanding > self._max_in_flight:
                    self._refuse(segment)
                self._received.put_nowait(segment)
                self._previous = segment
        except Exception as error:  # noqa: BLE001  # raised again by __anext__
            self._received.put_nowait(error)
        else:
            self._received.put_nowait(None)

    def _refuse(self, segment: common_pb2.Segment) -> None:
        raise CreditExceeded(
            f"segment {segment.index} was sent beyond the {self._max_in_flight} that may be in flight",
            field="segment",
            metadata={"max_in_flight": str(self._max_in_flight)},
        )

    def _checked(self, request: SegmentRequest) -> common_pb2.Segment:
        if request.WhichOneof("event") != "segment":
            raise InvalidInput("after `open` every request must be a segment", field="segment")
        segment, previous = request.segment, self._previous
        if segment.frame_count < 1:
            raise InvalidInput("a segment needs at least one frame", field="segment.frame_count")
        if previous is not None and segment.index != previous.index + 1:
            raise InvalidInput(f"segment {segment.index} follows segment {previous.index}", field="segment.index")
        if previous is not None and segment.first_frame != previous.first_frame + previous.frame_count:
            raise InvalidInput(
                f"segment {segment.index} begins at frame {segment.first_frame} and not where the one before ends",
                field="segment.first_frame",
            )
        return segment
