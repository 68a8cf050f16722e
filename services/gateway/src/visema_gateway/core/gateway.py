"""The façade: everything that the routes can do, for one caller at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2
from visema.speech.v1 import speech_pb2
from visema_client.media import MediaSource
from visema_kit.auth import TokenTable
from visema_kit.database import Database, url_with_driver
from visema_kit.errors import InvalidInput, JobNotFound, PreconditionFailed

from visema_gateway.core.callers import Caller, Clients
from visema_gateway.core.deliveries import Deliveries
from visema_gateway.core.health import OrchestratorHealth
from visema_gateway.core.library import Library
from visema_gateway.core.options import AppearanceOptions, VideoOptions
from visema_gateway.core.outbound import Outbound
from visema_gateway.core.tables import Base
from visema_gateway.core.views import SUCCEEDED
from visema_gateway.core.watches import Watch, Watches
from visema_gateway.core.webhooks import Webhooks
from visema_gateway.settings import GatewaySettings

LONGEST_TEXT: Final = 5000


@dataclass(frozen=True, slots=True)
class Order:
    """A video that somebody wants: exactly one of portrait and avatar, exactly one of audio and text."""

    portrait: MediaSource | None = None
    avatar_id: str | None = None
    audio: MediaSource | None = None
    text: str | None = None
    voice_id: str = ""
    options: VideoOptions = field(default_factory=VideoOptions)
    request_id: str | None = None
    webhook_url: str | None = None

    def check(self) -> None:
        """Raises: InvalidInput: what can be said without looking at the media."""
        if (self.portrait is None) == (self.avatar_id is None):
            raise InvalidInput("give either an image or an avatar", field="image")
        if (self.audio is None) == (self.text is None):
            raise InvalidInput("give either audio or text", field="audio")
        if self.text is not None and not self.text.strip():
            raise InvalidInput("the text is empty", field="text")
        if self.text is not None and len(self.text) > LONGEST_TEXT:
            raise InvalidInput(f"the text has more than {LONGEST_TEXT} characters", field="text")


class Gateway:
    """Make it on the event loop that shall run it."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.tokens = TokenTable(settings.tokens_file) if settings.tokens_file else None
        self.clients = Clients(settings.orchestrator_address, settings.client_tls)
        self.watches = Watches(self.clients)
        self._database = Database(url_with_driver(settings.database_url))
        self.library = Library(self._database)
        self.health = OrchestratorHealth(settings.orchestrator_address, settings.client_tls)
        self._outbound = Outbound(settings.private_hosts)
        self._webhooks = self._make_webhooks()
        self.draining = False

    async def start(self) -> None:
        """Open the database. Raises: StoreUnavailable."""
        await self._database.change_schema(Base.metadata.create_all)
        if self._webhooks is not None:
            self._webhooks.start()

    async def drain(self) -> None:
        """End what would not end by itself: event streams, and webhooks that wait. Requests are answered as before."""
        self.draining = True
        if self._webhooks is not None:
            await self._webhooks.close()
        await self.watches.close()

    async def stop(self) -> None:
        """Close everything; jobs go on at the orchestrator."""
        await self.drain()
        await self._outbound.close()
        await self.health.close()
        await self.clients.close()
        self._database.close()

    async def make(self, caller: Caller, order: Order) -> jobs_pb2.Job:
        """Start a job. Raises: InvalidInput and its kinds, QueueFull, VisemaError."""
        order.check()
        if order.webhook_url is not None:
            await self._webhooks_here().check(order.webhook_url)
        calls = self.clients.calls(caller)
        spec = await calls.job_spec(
            order.portrait,
            order.audio,
            avatar_id=order.avatar_id,
            text=order.text,
            voice_id=order.voice_id,
            settings=order.options.settings(),
        )
        job = await calls.create_job(spec, request_id=order.request_id)
        if order.webhook_url is not None:
            await self._webhooks_here().add(caller, job.job_id, order.webhook_url)
        return job

    async def watch(self, caller: Caller, job_id: str) -> Watch:
        """What is known about a job. Raises: JobNotFound, VisemaError."""
        return await self.watches.of(caller, job_id)

    async def jobs(
        self, caller: Caller, *, states: Sequence[jobs_pb2.JobState.ValueType], avatar_id: str, size: int, token: str
    ) -> tuple[Sequence[jobs_pb2.Job], str]:
        """A page of jobs, newest first, and the next page's token. Raises: VisemaError."""
        return await self.clients.calls(caller).job_page(
            states=states, avatar_id=avatar_id, page_size=size, page_token=token
        )

    async def jobs_of_avatar(self, caller: Caller, avatar_id: str) -> list[jobs_pb2.Job]:
        """All jobs of an avatar, newest first. Raises: VisemaError."""
        return [job async for job in self.clients.calls(caller).list_jobs(avatar_id=avatar_id, page_size=200)]

    async def cancel(self, caller: Caller, job_id: str) -> jobs_pb2.Job:
        """Ask a job to stop. Raises: JobNotFound, VisemaError."""
        return await self.clients.calls(caller).cancel_job(job_id)

    async def delete(self, caller: Caller, job_id: str) -> None:
        """Delete an ended job with its video. Raises: JobNotFound, JobNotEnded, VisemaError."""
        await self.clients.calls(caller).delete_job(job_id)
        self.watches.forget(caller, job_id)

    async def result(self, caller: Caller, job_id: str) -> jobs_pb2.Job:
        """A job that has a video. Raises: JobNotFound: no such job. PreconditionFailed: it has none (yet)."""
        job = (await self.watch(caller, job_id)).job
        if job.state != SUCCEEDED or not job.result.video.key:
            raise PreconditionFailed(
                "the job has no video (yet)", metadata={"job_id": job_id, "state": jobs_pb2.JobState.Name(job.state)}
            )
        return job

    async def speech_of(self, caller: Caller, job_id: str) -> common_pb2.ObjectRef:
        """The audio that a job was made from; for text the video, whose sound it is. Raises: VisemaError."""
        job = (await self.watch(caller, job_id)).job
        if job.spec.HasField("audio"):
            return job.spec.audio
        if job.state != SUCCEEDED:
            raise JobNotFound("the text has not been spoken yet", metadata={"job_id": job_id})
        return job.result.video

    def read(
        self, caller: Caller, reference: common_pb2.ObjectRef, offset: int = 0, length: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an object or a range of it. Raises: VisemaError, when they are read."""
        return self.clients.streams(caller).iterate_object(reference, offset_bytes=offset, length_bytes=length)

    async def upload(self, caller: Caller, kind: str, file: MediaSource) -> common_pb2.ObjectRef:
        """Send a received file on; `kind` is `portrait` or `audio`. Raises: VisemaError."""
        calls = self.clients.calls(caller)
        return await (calls.upload_portrait(file) if kind == "portrait" else calls.upload_audio(file))

    async def voices(self, caller: Caller, language: str) -> list[speech_pb2.Voice]:
        """All voices of a language, or all; none where text cannot be spoken. Raises: VisemaError."""
        if not await self.health.can_speak():
            return []
        return [voice async for voice in self.clients.calls(caller).list_voices(language=language)]

    async def inspect(self, caller: Caller, portrait: MediaSource) -> portrait_pb2.InspectResponse:
        """The faces of a picture, the largest chosen. Raises: NoFaceFound and others, VisemaError."""
        calls = self.clients.calls(caller)
        return await calls.inspect_portrait(portrait, face=portrait_pb2.FaceSelection(largest=True))

    async def make_avatar(
        self,
        caller: Caller,
        portrait: MediaSource,
        *,
        name: str,
        description: str,
        options: AppearanceOptions,
        request_id: str | None,
    ) -> avatars_pb2.Avatar:
        """Register a portrait. Raises: NoFaceFound and others, VisemaError."""
        return await self.clients.calls(caller).create_avatar(
            portrait, name=name, description=description, settings=options.settings(), request_id=request_id
        )

    async def avatar(self, caller: Caller, avatar_id: str) -> avatars_pb2.Avatar:
        """Read an avatar. Raises: AvatarNotFound, VisemaError."""
        return await self.clients.calls(caller).get_avatar(avatar_id)

    async def avatars(self, caller: Caller, size: int, token: str) -> tuple[Sequence[avatars_pb2.Avatar], str]:
        """A page of avatars, newest first, and the next page's token. Raises: VisemaError."""
        return await self.clients.calls(caller).avatar_page(page_size=size, page_token=token)

    async def all_avatars(self, caller: Caller) -> list[avatars_pb2.Avatar]:
        """All avatars, newest first. Raises: VisemaError."""
        return [avatar async for avatar in self.clients.calls(caller).list_avatars(page_size=200)]

    async def delete_avatar(self, caller: Caller, avatar_id: str) -> None:
        """Delete an avatar; finished videos stay. Raises: AvatarNotFound, VisemaError."""
        await self.clients.calls(caller).delete_avatar(avatar_id)

    def _make_webhooks(self) -> Webhooks | None:
        secret = self.settings.webhook_secret
        if secret is None:
            return None
        return Webhooks(Deliveries(self._database), self.watches, self._outbound, secret.get_secret_value())

    def _webhooks_here(self) -> Webhooks:
        if self._webhooks is None:
            raise PreconditionFailed("webhooks are not configured here", field="webhook_url")
        return self._webhooks
