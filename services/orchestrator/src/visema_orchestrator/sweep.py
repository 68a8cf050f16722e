"""Deletes what nobody needs any more: expired results, unused uploads and loops, addresses that were never used, and
temporary objects that came when their job had ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from visema_kit.errors import JobNotFound, VisemaError
from visema_kit.keys import job_prefix, key_prefix
from visema_kit.logs import get_logger
from visema_kit.objects import ObjectStore

from visema_orchestrator.store import avatars, jobs, media
from visema_orchestrator.store.database import Database, now_us

BATCH = 100
WORKFLOW_LIFETIME_S = 3600.0  # for a look into the tables of DBOS after a fault

log = get_logger(__name__)


@dataclass(frozen=True)
class Sweeper:
    """Sweeps one database and object store. Several processes may sweep at once: deleting twice does no harm."""

    database: Database
    objects: ObjectStore
    interval_s: float
    media_lifetime_s: float
    loop_lifetime_s: float
    forget_workflows: Callable[[datetime], Awaitable[None]]

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self.interval_s)
            try:
                await self.sweep(now_us())
            except VisemaError as error:
                log.warning("sweep_failed", reason=error.reason, message=error.message)

    async def sweep(self, at_us: int) -> None:
        """Delete what has expired at `at_us`, at most some hundred objects of each kind."""
        for tenant, job_id in await self.database.read(jobs.expired, at_us, BATCH):
            await self.delete_job(tenant, job_id)
        for upload in await self.database.read(media.expired_uploads, at_us, BATCH):
            await self.objects.delete(upload.key)
            await self.database.write(media.delete_upload, upload.upload_id)
        await self.forget_workflows(datetime.fromtimestamp(at_us / 1e6 - WORKFLOW_LIFETIME_S, UTC))
        await self._late()
        await self._unused(media.MEDIA, at_us - round(self.media_lifetime_s * 1e6))
        await self._unused(media.LOOP, at_us - round(self.loop_lifetime_s * 1e6))

    async def delete_job(self, tenant: str, job_id: str) -> None:
        """Delete an ended job with its result."""
        try:
            await self.database.write(jobs.delete, tenant, job_id)
        except JobNotFound:
            return  # another process was first
        await self.objects.delete_prefix(key_prefix("results", tenant, job_id))

    async def _late(self) -> None:
        """Delete what was on its way to the store when its job ended, so that the job could not delete it.

        Jobs that this database does not know are let alone: they may be those of another one.
        """
        job_ids = sorted(job_id for _, job_id in await self.objects.folders("jobs"))
        for start in range(0, len(job_ids), BATCH):
            for tenant, job_id in await self.database.read(jobs.ended_among, job_ids[start : start + BATCH]):
                await self.objects.delete_prefix(job_prefix(tenant, job_id))
                log.info("late_objects_deleted", job_id=job_id)

    async def _unused(self, kind: str, before_us: int) -> None:
        in_use = await self.database.read(jobs.keys_in_use) | await self.database.read(avatars.loops_in_use)
        for tenant, key in await self.database.read(media.unused, kind, before_us, BATCH):
            if (tenant, key) in in_use:
                await self.database.write(media.touch, tenant, kind, key)
                continue
            if key.endswith("/"):
                await self.objects.delete_prefix(key)
            else:
                await self.objects.delete(key)
            await self.database.write(media.forget, tenant, key)
