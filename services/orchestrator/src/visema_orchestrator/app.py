"""Puts the orchestrator together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
from visema.orchestrator.v1 import avatars_pb2_grpc, jobs_pb2_grpc, media_pb2_grpc
from visema.portrait.v1 import portrait_pb2_grpc
from visema.speech.v1 import speech_pb2_grpc
from visema_kit.auth import TokenTable
from visema_kit.channel import TlsFiles, open_channel
from visema_kit.errors import StoreUnavailable
from visema_kit.logs import get_logger
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import ServiceSpec
from visema_kit.tracing import make_tracing

from visema_orchestrator.admission import Dispatcher, Slots
from visema_orchestrator.avatar_runner import AvatarRunner
from visema_orchestrator.avatar_service import AvatarServicer
from visema_orchestrator.caretaker import Caretaker
from visema_orchestrator.checks import MediaChecks
from visema_orchestrator.hub import EventHub
from visema_orchestrator.intake import Intake
from visema_orchestrator.job_runner import JobRunner
from visema_orchestrator.job_service import JobServicer
from visema_orchestrator.media_service import MediaServicer
from visema_orchestrator.portrait_service import PortraitServicer
from visema_orchestrator.settings import OrchestratorSettings
from visema_orchestrator.stages import StageChannels, Stages
from visema_orchestrator.store.database import Database
from visema_orchestrator.sweep import Sweeper
from visema_orchestrator.voice_service import VoiceServicer
from visema_orchestrator.work import RunningWork
from visema_orchestrator.workflow import Workflows

LONE_EXECUTOR = "local"  # SQLite has one process: what an earlier one left is ours, whatever the host's name is now
START_PAUSE_S = 1.0  # before something that failed is begun again
SERVICES = tuple(f"visema.orchestrator.v1.{name}" for name in ("JobService", "AvatarService", "MediaService"))
SPEECH_SERVICE = "visema.speech.v1.SpeechService"  # answers always; its health tells whether there is a speech service

log = get_logger(__name__)


class Orchestrator:
    """One process. Make it on the event loop that shall run it."""

    def __init__(self, settings: OrchestratorSettings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._database = Database(settings.domain_url)
        executor = settings.executor_id if self._database.is_shared else LONE_EXECUTOR
        self._objects = ObjectStore(StoreConfig.from_settings(settings), self.metrics)
        self._channels = _open_channels(settings)
        stages = Stages(self._channels)
        self._checks = MediaChecks(self._objects, stages, settings.media_limits)
        hub, slots = EventHub(), Slots(settings.job_slots)
        self._hub = hub
        self._work = RunningWork()
        self._tracing = make_tracing("orchestrator", settings.otlp_endpoint)
        runner = JobRunner(
            settings=settings,
            executor=executor,
            database=self._database,
            objects=self._objects,
            stages=stages,
            checks=self._checks,
            hub=hub,
            metrics=self.metrics,
            work=self._work,
        )
        avatar_runner = AvatarRunner(settings, executor, self._database, self._objects, stages, self._work)
        self._workflows = Workflows(settings.workflow_url, executor, runner, avatar_runner, slots, self._tracing)
        self._dispatcher = Dispatcher(
            self._database,
            slots,
            hub,
            self.metrics,
            executor=executor,
            queue_limit=settings.queue_limit,
            start=self._workflows.start_job,
        )
        self._workflows.on_slot_free = self._dispatcher.kick
        self._caretaker = Caretaker(
            self._database,
            self._workflows,
            self._dispatcher,
            hub,
            self._work,
            executor=executor,
            heartbeat_s=settings.heartbeat_s,
        )
        self._sweeper = Sweeper(
            self._database,
            self._objects,
            interval_s=settings.sweep_interval_s,
            media_lifetime_s=settings.media_lifetime_s,
            loop_lifetime_s=settings.loop_lifetime_s,
            forget_workflows=self._workflows.forget_ended,
        )
        intake = Intake(
            database=self._database,
            objects=self._objects,
            checks=self._checks,
            dispatcher=self._dispatcher,
            executor=executor,
            can_speak=stages.can_speak,
            start_avatar=self._workflows.start_avatar,
        )
        self._jobs = JobServicer(
            database=self._database,
            objects=self._objects,
            intake=intake,
            hub=hub,
            work=self._work,
            check_timeout_s=settings.check_timeout_s,
            download_lifetime_s=settings.download_lifetime_s,
            result_lifetime_s=settings.result_lifetime_s,
        )
        self._avatars = AvatarServicer(
            database=self._database,
            objects=self._objects,
            intake=intake,
            work=self._work,
            check_timeout_s=settings.check_timeout_s,
        )
        self._media = MediaServicer(
            database=self._database,
            objects=self._objects,
            limits=settings.media_limits,
            upload_lifetime_s=settings.upload_lifetime_s,
        )
        self._portraits = PortraitServicer(self._checks, stages, settings.check_timeout_s)
        self._voices = VoiceServicer(stages, settings.check_timeout_s)
        self._loops: list[asyncio.Task[None]] = []

    def spec(self) -> ServiceSpec:
        """What the server needs to know."""
        return ServiceSpec(
            name="orchestrator",
            services=(*SERVICES, SPEECH_SERVICE) if self.settings.speech_address else SERVICES,
            register=self._register,
            settings=self.settings,
            metrics=self.metrics,
            on_start=self.start,
            on_drain=self._hub.close,
            on_stop=self.stop,
            tokens=TokenTable(self.settings.tokens_file) if self.settings.tokens_file else None,
            tracing=self._tracing,
        )

    async def start(self) -> None:
        """Wait for database and object store, then recover and start jobs."""
        await self._wait_for_stores()
        await self._caretaker.start()
        self._workflows.launch()
        await self._caretaker.mend()
        for duty in (self._dispatcher.run, self._caretaker.run, self._sweeper.run):
            self._loops.append(asyncio.create_task(_for_ever(duty)))

    async def stop(self) -> None:
        """Stop jobs without an outcome: they are recovered at the next start."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._workflows.close()
        with suppress(StoreUnavailable):
            await self._caretaker.stop()
        self._checks.close()
        for channel in vars(self._channels).values():
            if channel is not None:
                await channel.close()
        await self._objects.aclose()
        self._database.close()

    async def _wait_for_stores(self) -> None:
        while True:
            try:
                await self._database.migrate()
            except StoreUnavailable as error:
                log.warning("database_away", message=error.message)
                await asyncio.sleep(START_PAUSE_S)
            else:
                break
        await self._objects.wait_for_bucket()

    def _register(self, server: grpc.aio.Server) -> None:
        jobs_pb2_grpc.add_JobServiceServicer_to_server(self._jobs, server)
        avatars_pb2_grpc.add_AvatarServiceServicer_to_server(self._avatars, server)
        media_pb2_grpc.add_MediaServiceServicer_to_server(self._media, server)
        portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(self._portraits, server)
        speech_pb2_grpc.add_SpeechServiceServicer_to_server(self._voices, server)


def _open_channels(settings: OrchestratorSettings) -> StageChannels:
    tls = TlsFiles.from_settings(settings)
    return StageChannels(
        liveportrait=open_channel(settings.liveportrait_address, tls),
        wav2lip=open_channel(settings.wav2lip_address, tls),
        encoder=open_channel(settings.encoder_address, tls),
        speech=open_channel(settings.speech_address, tls) if settings.speech_address else None,
    )


async def _for_ever(duty: Callable[[], Awaitable[None]]) -> None:
    """Begin a duty again after a defect: while it is not done no job starts, or nobody looks after those that run."""
    while True:
        try:
            await duty()
        except Exception:  # nobody awaits a duty: only here can a defect be told, with its traceback
            log.exception("duty_crashed", duty=duty.__qualname__)
        await asyncio.sleep(START_PAUSE_S)
