"""Bounds on streams: places and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from visema_kit.errors import DeadlineExceeded, DeviceBusy
from visema_kit.streams import StreamSlots, ended_after


def test_a_stream_that_finds_no_place_is_refused_with_a_time_to_come_back():
    slots = StreamSlots(2, retry_after_s=0.5)
    with slots.taken(), slots.taken():
        with pytest.raises(DeviceBusy) as refused, slots.taken():
            pass
        assert refused.value.retry_after_s == 0.5
        assert refused.value.metadata["limit"] == "2"
    with slots.taken(), slots.taken():
        pass


def test_a_stream_that_fails_gives_its_place_back():
    slots = StreamSlots(1)
    with pytest.raises(ZeroDivisionError), slots.taken():
        1 / 0  # noqa: B018
    with slots.taken():
        pass


class Replies:
    """`count` replies, then `after`; remembers that it was closed."""

    def __init__(self, count: int, after: BaseException | None = None, pause_s: float = 0.0) -> None:
        self.count, self.after, self.pause_s = count, after, pause_s
        self.closed = False

    async def run(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                await asyncio.sleep(self.pause_s)
                yield number
            if self.after is not None:
                raise self.after
        finally:
            self.closed = True


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("too late")


async def test_replies_within_the_time_pass():
    replies = Replies(3)
    assert [reply async for reply in ended_after(60, replies.run(), _too_late)] == [0, 1, 2]
    assert replies.closed


async def test_replies_that_take_too_long_are_closed_with_the_given_error():
    replies = Replies(3, pause_s=3600)
    with pytest.raises(DeadlineExceeded):
        [reply async for reply in ended_after(0.01, replies.run(), _too_late)]
    assert replies.closed


async def test_a_reader_that_is_slow_finds_the_error_at_its_next_reply():
    """The time is never up inside the reader's own code."""
    replies = Replies(3, pause_s=0.001)

    async def read_slowly() -> None:
        async for _ in ended_after(0.01, replies.run(), _too_late):
            await asyncio.sleep(0.05)

    with pytest.raises(DeadlineExceeded):
        await read_slowly()
    assert replies.closed


async def test_a_timeout_of_the_replies_themselves_stays_what_it_is():
    with pytest.raises(TimeoutError, match="their own"):
        [reply async for reply in ended_after(60, Replies(1, TimeoutError("their own")).run(), _too_late)]


async def test_a_reader_that_leaves_closes_the_replies():
    replies = Replies(3)
    async with aclosing(ended_after(60, replies.run(), _too_late)) as limited:
        await anext(limited)
    assert replies.closed
