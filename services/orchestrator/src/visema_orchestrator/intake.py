"""Turns requests into jobs and avatars: everything that can be known at once fails here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.digest import digest_of
from visema_kit.errors import AvatarNotFound, PreconditionFailed, QueueFull, VisemaError
from visema_kit.keys import avatar_key, media_key
from visema_kit.objects import ObjectStore
from visema_media.speech import Speech

from visema_orchestrator import spec as wishes
from visema_orchestrator.admission import Dispatcher
from visema_orchestrator.checks import MediaChecks
from visema_orchestrator.ids import new_id
from visema_orchestrator.report import set_progress
from visema_orchestrator.store import avatars, jobs, media
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.store.jobs import timestamp


@dataclass(frozen=True)
class Intake:
    """Makes jobs and avatars.

    Attributes:
        can_speak: Whether text can become speech here.
        start_avatar: Starts an avatar's preparation; returns once it is durable.
    """

    database: Database
    objects: ObjectStore
    checks: MediaChecks
    dispatcher: Dispatcher
    executor: str
    can_speak: bool
    start_avatar: Callable[[str], Awaitable[None]]

    async def create_job(self, tenant: str, request: jobs_pb2.CreateJobRequest, timeout_s: float) -> jobs_pb2.Job:
        """Queue a job, or give the one that the same request made before.

        Raises: InvalidInput and its kinds, ObjectNotFound, ForeignObject, ObjectMismatch, AvatarNotFound,
            RequestIdReused, QueueFull, PreconditionFailed, StageUnavailable, StoreUnavailable.
        """
        wishes.check_request_id(request.request_id)
        asked = jobs.Asked(tenant, request.request_id, digest_of(request.spec))
        standing = await self.dispatcher.standing(asked)
        known = standing.known_job(asked)
        if known is not None:
            return known
        wishes.check_job_spec(request.spec)
        if request.spec.HasField("text") and not self.can_speak:
            raise PreconditionFailed(
                "no speech service is configured here: send audio instead of text", field="spec.text"
            )
        with self.dispatcher.reserve(asked, standing.queued):
            await self.dispatcher.let_refusals_go()
            job = jobs_pb2.Job(
                job_id=new_id(),
                request_id=request.request_id,
                state=jobs.QUEUED,
                spec=request.spec,
                create_time=timestamp(now_us()),
            )
            set_progress(job, {})
            look = await self._look(tenant, request.spec)
            await self._check_media(tenant, job, look, timeout_s)
            new = jobs.NewJob(asked, look.portrait.key, job)
            try:
                stored = await self.database.write(jobs.add, new, self.dispatcher.limit)
            except QueueFull:
                raise self.dispatcher.queue_full(await self.database.read(jobs.count, jobs.QUEUED)) from None
        self.dispatcher.kick()
        return stored

    async def create_avatar(
        self, tenant: str, request: avatars_pb2.CreateAvatarRequest, timeout_s: float
    ) -> avatars_pb2.Avatar:
        """Register a portrait with a copy of its own and start to prepare it.

        Raises: as create_job.
        """
        wishes.check_request_id(request.request_id)
        body_digest = digest_of(request.spec)
        known = await self._find_avatar(tenant, request.request_id, body_digest)
        if known is not None:
            return known
        wishes.check_avatar_spec(request.spec)
        avatar_id = new_id()
        shown = await self._inspect(tenant, avatar_id, request.spec, timeout_s)
        own_key = avatar_key(tenant, avatar_id, "portrait")
        now = timestamp(now_us())
        avatar = avatars_pb2.Avatar(
            avatar_id=avatar_id,
            request_id=request.request_id,
            state=avatars.PREPARING,
            spec=wishes.with_defaults(request.spec),
            create_time=now,
            update_time=now,
            face=shown.faces[shown.selected_index],
            warnings=shown.warnings,
        )
        avatar.spec.portrait.CopyFrom(await self.objects.copy(request.spec.portrait, own_key))
        try:
            await self.database.write(avatars.add, tenant, body_digest, avatar, self.executor)
        except IntegrityError:
            await self.objects.delete(own_key)
            known = await self._find_avatar(tenant, request.request_id, body_digest)
            if known is None:
                raise
            return known
        await self.start_avatar(avatar_id)
        return avatar

    async def _find_avatar(self, tenant: str, request_id: str, body_digest: str) -> avatars_pb2.Avatar | None:
        if not request_id:
            return None
        return await self.database.read(avatars.find_request, tenant, request_id, body_digest)

    async def _look(self, tenant: str, spec: jobs_pb2.JobSpec) -> avatars_pb2.AvatarSpec:
        if not spec.HasField("avatar_id"):
            return wishes.without_avatar(spec)
        try:
            avatar = await self.database.read(avatars.get, tenant, spec.avatar_id)
        except AvatarNotFound as error:
            raise AvatarNotFound(error.message, field="spec.avatar_id", metadata=error.metadata) from None
        return wishes.with_avatar(spec, avatar.spec)

    async def _check_media(
        self, tenant: str, job: jobs_pb2.Job, look: avatars_pb2.AvatarSpec, timeout_s: float
    ) -> None:
        """Look at portrait and audio at the same time; the first fault counts."""
        async with asyncio.timeout(timeout_s):
            portrait = asyncio.create_task(self._check_portrait(tenant, job, look, timeout_s))
            audio = asyncio.create_task(self._check_audio(tenant, job, look))
            try:
                await asyncio.gather(portrait, audio)
            finally:
                portrait.cancel()
                audio.cancel()
        keys = [ref.key for ref in (look.portrait, job.spec.audio) if ref.key.startswith(media_prefix(tenant))]
        await self.database.write(media.touch_all, tenant, media.MEDIA, keys)

    async def _check_portrait(
        self, tenant: str, job: jobs_pb2.Job, look: avatars_pb2.AvatarSpec, timeout_s: float
    ) -> None:
        if not job.spec.HasField("avatar_id"):  # an avatar was looked at when it was made
            await self._inspect(tenant, job.job_id, look, timeout_s)

    async def _check_audio(self, tenant: str, job: jobs_pb2.Job, look: avatars_pb2.AvatarSpec) -> Speech | None:
        if not job.spec.HasField("audio"):
            return None
        try:
            audio = await self.checks.audio(job.spec.audio, tenant, "spec.audio")
        except VisemaError as error:
            error.field = error.field or "spec.audio"
            raise
        wishes.check_stills(job.spec, audio.frame_count(wishes.to_fraction(look.frame_rate)))
        return audio

    async def _inspect(
        self, tenant: str, work_id: str, look: avatars_pb2.AvatarSpec, timeout_s: float
    ) -> portrait_pb2.InspectResponse:
        request = portrait_pb2.InspectRequest(
            context=common_pb2.WorkContext(tenant=tenant, work_id=work_id), portrait=look.portrait
        )
        if look.HasField("face"):
            request.face.CopyFrom(look.face)
        return await self.checks.portrait(request, "spec.portrait", timeout_s)


def media_prefix(tenant: str) -> str:
    """Where a tenant's uploads are kept."""
    return media_key(tenant, "x")[:-1]
