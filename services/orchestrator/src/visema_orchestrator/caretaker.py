"""Looks after jobs beyond this process: signs of life, cancellations, dead processes, events from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from visema.orchestrator.v1 import jobs_pb2
from visema_kit.errors import InternalError, StoreUnavailable
from visema_kit.logs import get_logger
from visema_kit.status import to_status

from visema_orchestrator.admission import Dispatcher
from visema_orchestrator.hub import EventHub
from visema_orchestrator.store import avatars, executors, jobs
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.store.jobs import timestamp
from visema_orchestrator.work import RunningWork
from visema_orchestrator.workflow import GONE, Workflows

MISSED_BEATS = 4
POLL_S = 0.4

log = get_logger(__name__)


@dataclass
class Caretaker:
    """Periodic duties of one process; most of them only where processes share a database."""

    database: Database
    workflows: Workflows
    dispatcher: Dispatcher
    hub: EventHub
    work: RunningWork
    executor: str
    heartbeat_s: float

    async def start(self) -> None:
        """Call before the workflows are launched: nobody may take this process for dead."""
        await self.database.write(executors.beat, self.executor)

    async def stop(self) -> None:
        """This process has ended in order: others need not wait before they take its jobs over."""
        await self.database.write(executors.forget, [self.executor])

    async def mend(self) -> None:
        """After the launch: mend what a crash between two databases left of this process."""
        await self._take_over({self.executor}, own=True)
        if not self.database.is_shared:
            owners = await self.database.read(jobs.running_owners) | await self.database.read(avatars.preparing_owners)
            await self._take_over(owners - {self.executor}, own=False)

    async def run(self) -> None:
        """Do all duties for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(self.heartbeat_s, self._beat_and_take_over))
            if self.database.is_shared:
                group.create_task(_every(POLL_S, self._cancel_requested))
                group.create_task(_every(POLL_S, self._fetch_events))

    async def _beat_and_take_over(self) -> None:
        await self.database.write(executors.beat, self.executor)
        await self._restart_stranded()
        if not self.database.is_shared:
            return
        since_us = now_us() - round(MISSED_BEATS * self.heartbeat_s * 1e6)
        alive = await self.database.read(executors.alive_since, since_us)
        owners = await self.database.read(jobs.running_owners) | await self.database.read(avatars.preparing_owners)
        dead = owners - alive - {self.executor}
        if dead:
            await self._take_over(dead, own=False)
            await self.database.write(executors.forget, dead)

    async def _restart_stranded(self) -> None:
        """Bring on what a fault of a database left lying here; segments that exist are used again."""
        for work_id in sorted(self.workflows.stranded):
            await self.workflows.forget_stranded(work_id)
            if await self.database.write(jobs.requeue, work_id, self.executor):
                self.dispatcher.kick()
            elif work_id in await self.database.read(avatars.preparing_of, [self.executor]):
                await self.workflows.start_avatar(work_id)

    async def _take_over(self, owners: set[str], *, own: bool) -> None:
        """Bring the running jobs and avatars of these processes on; `own`: this one's, which DBOS recovers itself."""
        for owner in owners:
            for job_id in await self.database.read(jobs.running_of, [owner]):
                await self._bring_on(job_id, owner, own=own)
            for avatar_id in await self.database.read(avatars.preparing_of, [owner]):
                status = await self.workflows.status(avatar_id)
                if status is None or status in GONE:
                    await self.workflows.start_avatar(avatar_id)
                elif not own:
                    await self.workflows.resume(avatar_id)

    async def _bring_on(self, job_id: str, owner: str, *, own: bool) -> None:
        status = await self.workflows.status(job_id)
        if status is None:
            if await self.database.write(jobs.requeue, job_id, owner):
                self.dispatcher.kick()
        elif status in GONE:
            await self._give_up(job_id, owner, status)
        elif not own and await self.database.write(jobs.hand_over, job_id, owner, self.executor):
            log.warning("job_taken_over", job_id=job_id, owner=owner)
            await self.workflows.resume(job_id)

    async def _give_up(self, job_id: str, owner: str, status: str) -> None:
        """Its workflow will never end it: it took its process down too often."""

        def fail(job: jobs_pb2.Job) -> None:
            job.state = jobs_pb2.JOB_STATE_FAILED
            job.error.CopyFrom(to_status(InternalError(f"the job's workflow ended as {status}")))
            job.end_time.CopyFrom(timestamp(now_us()))
            job.expire_time.CopyFrom(job.end_time)

        event = await self.database.write(jobs.change, job_id, owner, fail, is_progress=False)
        if event is not None:
            self.hub.publish(event)

    async def _cancel_requested(self) -> None:
        for job_id in await self.database.read(jobs.cancel_requested, self.executor):
            self.work.cancel(job_id)

    async def _fetch_events(self) -> None:
        """Bring events of watched jobs that run in other processes."""
        for job_id in self.hub.watched_jobs:
            for event in await self.database.read(jobs.newest_event, job_id, self.executor):
                self.hub.publish(event)


async def _every(interval_s: float, duty: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await duty()
        except StoreUnavailable:
            log.warning("duty_failed", duty=duty.__name__)
        await asyncio.sleep(interval_s)
