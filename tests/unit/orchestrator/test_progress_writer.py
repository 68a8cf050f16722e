"""The progress of a running job reaches its watchers without a gap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from visema.orchestrator.v1 import jobs_pb2
from visema_orchestrator.hub import EventHub
from visema_orchestrator.progress import ProgressWriter
from visema_orchestrator.store.jobs import JobEvent


class SlowDatabase:
    """Stores one event, and answers when it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def write(self, *_args: Any, **_options: Any) -> JobEvent:
        self.asked.set()
        await self.may_answer.wait()
        return JobEvent("a job", 3, 0, jobs_pb2.Job())


async def test_what_is_being_stored_when_the_job_ends_is_published_before_the_end() -> None:
    database, hub = SlowDatabase(), EventHub()
    writer = ProgressWriter(database, hub, "one", "default", "a job")  # type: ignore[arg-type]  # all that it needs
    with hub.subscribe("a job") as channel:
        running = asyncio.create_task(writer.run())
        writer.update("encoder", 1, 2)
        await database.asked.wait()
        running.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not running.done()
        database.may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [event.sequence for event in await channel.after(0)] == [3]
