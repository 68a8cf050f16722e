"""A job's progress as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from fastapi.responses import StreamingResponse
from visema_kit.errors import VisemaError

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
    yield b"retry: %d\n\n" % RETRY_MS
    events = watch.after(after_sequence)
    waiting: asyncio.Future[Event | None] | None = None
    try:
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(anext(events, None))
            await asyncio.wait({waiting}, timeout=SILENCE_S)
            if not waiting.done():
                yield b": still here\n\n"
                continue
            event = waiting.result()
            waiting = None
            if event is None:
                return
            kind = b"end" if event.is_last else b"progress"
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, kind, event.data)
    except VisemaError:
        return  # the client connects again with Last-Event-ID, and is told what is the matter then
    finally:
        if waiting is not None:
            waiting.cancel()
