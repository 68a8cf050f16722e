"""Who produces and who takes: items go over in order, and a producer's error after everything that came before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

from visema_wav2lip.loading import LoadedSegment

T = TypeVar("T")


async def next_of(items: asyncio.Queue[T], producer: asyncio.Task[None]) -> T | None:
    """The next item; None after the last one. An item that comes just as this is cancelled may be lost.

    Raises: what `producer` raised, when no item is left.
    """
    getting = asyncio.create_task(items.get())
    try:
        await asyncio.wait({getting, producer}, return_when=asyncio.FIRST_COMPLETED)
        if items.empty() and not getting.done():
            await producer
            return None
        return await getting
    finally:
        getting.cancel()


class ReadAhead:
    """Loads segments beside whoever computes: one waits always, and more while they are small together.

    ```python
    async with ReadAhead(loaded_segments, most_pixels) as ahead:
        while (segment := await ahead.take()) is not None:
            ...
    ```
    """

    def __init__(self, segments: AsyncGenerator[LoadedSegment, None], most_pixels: int) -> None:
        """Begin with the block.

        Args: most_pixels: No further segment is loaded while as many wait.
        """
        self._segments = segments
        self._most_pixels = most_pixels
        self._waiting: asyncio.Queue[LoadedSegment] = asyncio.Queue()
        self._waiting_pixels = 0
        self._room = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loading = asyncio.create_task(self._load(), name="load-segments")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loading.cancel()
        await asyncio.gather(self._loading, return_exceptions=True)

    async def take(self) -> LoadedSegment | None:
        """The next segment, waited for; None after the last one. Raises: what loading it raised."""
        segment = await next_of(self._waiting, self._loading)
        return None if segment is None else self._taken(segment)

    def take_now(self) -> LoadedSegment | None:
        """The next segment if it is there already."""
        return None if self._waiting.empty() else self._taken(self._waiting.get_nowait())

    def _taken(self, segment: LoadedSegment) -> LoadedSegment:
        self._waiting_pixels -= segment.pixel_count
        self._room.set()
        return segment

    async def _load(self) -> None:
        async with aclosing(self._segments) as segments:
            async for segment in segments:
                self._waiting_pixels += segment.pixel_count
                self._waiting.put_nowait(segment)
                while not self._waiting.empty() and self._waiting_pixels >= self._most_pixels:
                    self._room.clear()
                    await self._room.wait()
