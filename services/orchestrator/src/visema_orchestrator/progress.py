"""Writes the progress of running jobs and avatars, at most a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_kit.errors import StoreUnavailable

from visema_orchestrator.hub import EventHub
from visema_orchestrator.report import set_progress
from visema_orchestrator.store import avatars, jobs, media
from visema_orchestrator.store.database import Database

WRITE_INTERVAL_S = 0.2


class JobLost(Exception):
    """The job belongs to another process by now, or was deleted: this one must stop and write nothing."""


class ProgressWriter:
    """Collects the progress of one job; several changes within the interval become one event."""

    def __init__(self, database: Database, hub: EventHub, executor: str, tenant: str, job_id: str) -> None:
        self._database = database
        self._hub = hub
        self._executor = executor
        self._tenant = tenant
        self._job_id = job_id
        self._frames: dict[str, tuple[int, int]] = {}
        self._loop_prefix = ""
        self._changed = asyncio.Event()

    def update(self, stage: str, frames_done: int, frames_total: int) -> None:
        """A stage has come further."""
        self._frames[stage] = (frames_done, frames_total)
        self._changed.set()

    def uses_loop(self, segment_key: str) -> None:
        """Stage 1 delivers from this stored loop: the sweep must leave it alone."""
        if segment_key.startswith("loops/") and not self._loop_prefix:
            self._loop_prefix = segment_key.rpartition("/")[0] + "/"
            self._changed.set()

    async def run(self) -> None:
        """Write until cancelled. Raises: JobLost."""
        recorded_loop = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                if self._loop_prefix != recorded_loop:
                    await self._database.write(jobs.set_loop, self._job_id, self._loop_prefix)
                    await self._database.write(media.touch, self._tenant, media.LOOP, self._loop_prefix)
                    recorded_loop = self._loop_prefix
                await _to_its_end(self._write())
            except StoreUnavailable:
                self._changed.set()
            await asyncio.sleep(WRITE_INTERVAL_S)

    async def _write(self) -> None:
        """Store and publish an event. Raises: JobLost, StoreUnavailable."""
        event = await self._database.write(jobs.change, self._job_id, self._executor, self.apply, is_progress=True)
        if event is None:
            raise JobLost
        self._hub.publish(event)

    def apply(self, job: jobs_pb2.Job) -> None:
        """Write the progress into a job."""
        set_progress(job, self._frames)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, also when this is cancelled: an event that is stored must be published, or watchers miss it."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


class AvatarProgress:
    """Writes how far an avatar's preparation is, at most a few times a second."""

    def __init__(self, database: Database, avatar_id: str) -> None:
        self._database = database
        self._avatar_id = avatar_id
        self._frames = (0, 0)
        self._changed = asyncio.Event()

    def update(self, _stage: str, frames_done: int, frames_total: int) -> None:
        """Stage 1 has come further."""
        self._frames = (frames_done, frames_total)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            with suppress(StoreUnavailable):  # the next change is written again
                await self._database.write(avatars.change, self._avatar_id, self._apply)
            await asyncio.sleep(WRITE_INTERVAL_S)

    def _apply(self, avatar: avatars_pb2.Avatar) -> None:
        avatar.progress.frames_done, avatar.progress.frames_total = self._frames
