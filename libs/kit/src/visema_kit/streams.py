"""Bounds on the streams that a service serves: how many at a time, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

from visema_kit.errors import DeviceBusy, VisemaError

T = TypeVar("T")


class StreamSlots:
    """Places for streams: one that finds none is refused at once, and its caller told when to ask again."""

    def __init__(self, limit: int, retry_after_s: float = 1.0) -> None:
        """Hold places.

        Args:
            limit: Streams at the same time.
            retry_after_s: What a refused caller should wait.
        """
        self._limit = limit
        self._retry_after_s = retry_after_s
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A place while the block runs. Raises: DeviceBusy: there is none."""
        if self._taken >= self._limit:
            raise DeviceBusy(
                f"The service is at work on {self._taken} requests already.",
                metadata={"limit": str(self._limit)},
                retry_after_s=self._retry_after_s,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def ended_after(
    limit_s: float, replies: AsyncGenerator[T, None], too_late: Callable[[], VisemaError]
) -> AsyncGenerator[T, None]:
    """The replies, closed when they take more than `limit_s` seconds in all.

    Raises: what `too_late` gives: the time is up. What `replies` raises.
    """
    deadline = asyncio.get_running_loop().time() + limit_s
    async with aclosing(replies):
        while True:
            try:
                # Never around a `yield`: time that is up while gRPC sends would end the call without a status.
                async with asyncio.timeout_at(deadline) as timeout:
                    reply = await anext(replies)
            except StopAsyncIteration:
                return
            except TimeoutError as err:
                if not timeout.expired():
                    raise  # the replies' own
                raise too_late() from err
            yield reply
