"""Hands job events to their watchers inside this process: one publish wakes any number of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from visema_kit.errors import Unavailable

from visema_orchestrator.store.jobs import JobEvent

KEPT_EVENTS = 64  # a watcher that falls further behind misses intermediate events, never the newest


class Channel:
    """The newest events of one job."""

    def __init__(self) -> None:
        self.watchers = 0
        self._closed = False
        self._events: deque[JobEvent] = deque(maxlen=KEPT_EVENTS)
        self._changed = asyncio.Event()

    def publish(self, event: JobEvent) -> None:
        """Add an event; one that is not newer than the last is dropped."""
        if self._events and event.sequence <= self._events[-1].sequence:
            return
        self._events.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Let the watchers go."""
        self._closed = True
        self._changed.set()

    async def after(self, sequence: int) -> list[JobEvent]:
        """Events with a higher sequence number, as soon as there is one. Raises: Unavailable: none will come."""
        while not self._events or self._events[-1].sequence <= sequence:
            if self._closed:
                raise Unavailable("the server is going away; watch again after the last event")
            await self._changed.wait()
        return [event for event in self._events if event.sequence > sequence]


class EventHub:
    """Channels of the jobs that somebody watches."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._closed = False

    @property
    def watched_jobs(self) -> list[str]:
        """Jobs with at least one watcher."""
        return list(self._channels)

    def publish(self, event: JobEvent) -> None:
        """Hand an event to the job's watchers."""
        channel = self._channels.get(event.job_id)
        if channel is not None:
            channel.publish(event)

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Channel]:
        """The job's channel; it gets every event published while the block runs."""
        channel = self._channels.setdefault(job_id, Channel())
        if self._closed:
            channel.close()
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if channel.watchers == 0:
                del self._channels[job_id]

    async def close(self) -> None:
        """Send every watcher to another server, or to this one's successor; those that come from now on too."""
        self._closed = True
        for channel in self._channels.values():
            channel.close()
