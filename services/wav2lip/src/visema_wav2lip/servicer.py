"""LipSyncService: protos to jobs, results to protos."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from fractions import Fraction
from typing import Any

import grpc
from visema.common.v1 import common_pb2
from visema.lipsync.v1 import lipsync_pb2, lipsync_pb2_grpc
from visema_kit import keys
from visema_kit.clock import StageClock
from visema_kit.credit import SegmentInbox, first_request, negotiated_in_flight
from visema_kit.engines import EngineRegistry, engine_choice
from visema_kit.errors import InvalidInput
from visema_kit.metrics import Metrics
from visema_kit.quality import add_quality, quality_report
from visema_kit.streams import StreamSlots

from visema_wav2lip.engines.protocol import LipSyncEngine, LipSyncSettings
from visema_wav2lip.job import SyncJob
from visema_wav2lip.pipeline import LipSyncPipeline, SegmentSynced
from visema_wav2lip.settings import Wav2LipSettings

STAGE = "wav2lip"
SERVICE = lipsync_pb2.DESCRIPTOR.services_by_name["LipSyncService"].full_name
_FRAME_RATES = (10, 60)  # per second; between them mouth motion can be planned
_STRONGEST_MOUTH = 1.5

Context = grpc.aio.ServicerContext[Any, Any]


class LipSyncServicer(lipsync_pb2_grpc.LipSyncServiceServicer):
    """Serves lip-sync. Every call is one video."""

    def __init__(
        self,
        pipeline: LipSyncPipeline,
        engines: EngineRegistry[LipSyncEngine],
        settings: Wav2LipSettings,
        metrics: Metrics,
    ) -> None:
        self._pipeline = pipeline
        self._engines = engines
        self._settings = settings
        self._metrics = metrics
        self._slots = StreamSlots(settings.max_streams)

    async def Describe(  # noqa: N802  # the RPC's name
        self,
        request: lipsync_pb2.DescribeRequest,  # noqa: ARG002  # the RPC's shape
        context: Context,  # noqa: ARG002  # the RPC's shape
    ) -> lipsync_pb2.DescribeResponse:
        """The engine that a call gets that does not ask for one."""
        return lipsync_pb2.DescribeResponse(engine=self._engines.choose().info())

    async def Sync(  # noqa: N802  # the RPC's name
        self,
        request_iterator: AsyncIterator[lipsync_pb2.SyncRequest],
        context: Context,  # noqa: ARG002  # the RPC's shape
    ) -> AsyncGenerator[lipsync_pb2.SyncResponse, None]:
        """Synchronise a stream of segments; see the proto for the order of replies."""
        with self._slots.taken():
            opened = (await first_request(request_iterator)).open
            job = job_of(opened, self._settings.max_video_s)
            chosen = self._engines.choose(engine_choice(opened.engine, "open.engine"))
            max_in_flight = negotiated_in_flight(opened.max_in_flight, self._settings.wav2lip_max_in_flight)
            engine = chosen.info()
            with StageClock(STAGE, engine, self._metrics) as clock:
                chosen.engine.check_room()
                audio = await self._pipeline.load_audio(job, clock)
                yield lipsync_pb2.SyncResponse(
                    accepted=lipsync_pb2.SyncAccepted(engine=engine, max_in_flight=max_in_flight)
                )
                frames_done, quality = 0, common_pb2.QualityStatistics()
                async with (
                    SegmentInbox(request_iterator, max_in_flight) as inbox,
                    aclosing(self._pipeline.sync(job, chosen.engine, audio, inbox, clock)) as results,
                ):
                    async for synced in results:
                        inbox.release()
                        result = "hit" if synced.reused else "miss"
                        self._metrics.cache_requests.labels("sync_segment", result).inc()
                        frames_done += synced.segment.frame_count
                        add_quality(quality, synced.quality)
                        yield segment_done(synced)
                        progress = common_pb2.StageProgress(frames_done=frames_done, frames_total=job.frame_count)
                        yield lipsync_pb2.SyncResponse(progress=progress)
                summary = clock.report()
                if (report := quality_report(quality, job.frame_rate)) is not None:
                    summary.quality.CopyFrom(report)
                yield lipsync_pb2.SyncResponse(summary=summary)


def segment_done(synced: SegmentSynced) -> lipsync_pb2.SyncResponse:
    """The reply for a segment that is stored."""
    reply = lipsync_pb2.SyncResponse(segment_done=synced.segment)
    if synced.quality.frame_count:
        reply.quality.CopyFrom(synced.quality)
    return reply


def job_of(opened: lipsync_pb2.SyncOpen, max_video_s: float) -> SyncJob:
    """The first request as a job. Raises: InvalidInput: a field cannot be used."""
    keys.check_tenant_name(opened.context.tenant, "open.context.tenant")
    keys.job_prefix(opened.context.tenant, opened.context.work_id)  # the work id becomes part of keys
    rate = opened.frame_rate
    if rate.numerator <= 0 or rate.denominator <= 0:
        raise InvalidInput("The frame rate is not above 0.", field="open.frame_rate")
    frame_rate = Fraction(rate.numerator, rate.denominator)
    slowest, fastest = _FRAME_RATES
    if not slowest <= frame_rate <= fastest:
        raise InvalidInput(
            f"The frame rate {frame_rate} is not between {slowest} and {fastest}.", field="open.frame_rate"
        )
    if not 1 <= opened.frame_count <= max_video_s * frame_rate:
        raise InvalidInput(
            f"{opened.frame_count} frames are not between 1 and {max_video_s:g} s.", field="open.frame_count"
        )
    settings = LipSyncSettings()
    if opened.settings.HasField("mouth_strength"):
        strength = opened.settings.mouth_strength
        if not 0 <= strength <= _STRONGEST_MOUTH:
            raise InvalidInput(
                f"The strength {strength:g} is not between 0 and {_STRONGEST_MOUTH}.",
                field="open.settings.mouth_strength",
            )
        settings = LipSyncSettings(mouth_strength=strength)
    return SyncJob(
        tenant=opened.context.tenant,
        work_id=opened.context.work_id,
        audio=opened.audio,
        frame_rate=frame_rate,
        frame_count=opened.frame_count,
        settings=settings,
        reference=opened.reference if opened.HasField("reference") else None,
    )
