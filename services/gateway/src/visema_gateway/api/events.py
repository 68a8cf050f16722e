"""A job's progress as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from fastapi.responses import StreamingResponse

from visema_gateway.api.problems import Refusal
from visema_gateway.core.watches import Event, Watch

SILENCE_S: Final = 15.0  # proxies close connections on which nothing comes
RETRY_MS: Final = 1000


class Streams:
    """Counts event streams. Args: limit: how many may be open."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def response(self, watch: Watch, after_sequence: int) -> StreamingResponse:
        """The job's events after a number. Raises: Refusal: too many streams are open."""
        if self._free <= 0:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "too many event streams", retry_after_s=2)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._counted(watch, after_sequence), media_type="text/event-stream", headers=headers)

    async def _counted(self, watch: Watch, after_sequence: int) -> AsyncIterator[bytes]:
        self._free -= 1
        try:
            async with aclosing(_lines(watch, after_sequence)) as lines:
                async for line in lines:
                    yield line
        finally:
            self._free += 1


async def _lines(watch: Watch, after_sequence: int) -> AsyncGenerator[bytes, None]:
    """Blocks of events. An error ends them: the client comes again, and is told then what is the matter."""
    yield b"retry: %d\n\n" % RETRY_MS
    seen = after_sequence
    while True:
        news = watch.after(seen)
        if news:
            seen = news[-1].sequence
            yield b"".join(_block(event, watch.encoded(event)) for event in news)
        elif watch.over:
            return
        elif not await watch.changes(SILENCE_S):
            yield b": still here\n\n"


def _block(event: Event, data: bytes) -> bytes:
    kind = b"end" if event.is_last else b"progress"
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, kind, data)
