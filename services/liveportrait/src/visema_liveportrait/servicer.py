"""portrait.v1 over gRPC: converts and delegates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
from visema.common.v1 import common_pb2
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.clock import StageClock
from visema_kit.engines import EngineRegistry, engine_choice
from visema_kit.keys import check_tenant_name
from visema_kit.metrics import Metrics
from visema_kit.streams import StreamSlots
from visema_media.framing import face_flaws

from visema_liveportrait.convert import (
    from_face,
    from_flaw,
    from_segment,
    to_face_choice,
    to_request,
)
from visema_liveportrait.engines.protocol import AnimationEngine
from visema_liveportrait.faces import select_face, warnings_for
from visema_liveportrait.pipeline import Pipeline

STAGE = "liveportrait"


class PortraitServicer(portrait_pb2_grpc.PortraitAnimationServiceServicer):
    """Stage 1 for callers."""

    def __init__(
        self,
        pipeline: Pipeline,
        engines: EngineRegistry[AnimationEngine],
        metrics: Metrics,
        *,
        max_streams: int,
        max_video_s: float,
    ) -> None:
        """Serve this pipeline.

        Args:
            pipeline: Does the work.
            engines: To choose from.
            metrics: Of the process.
            max_streams: Animations at the same time.
            max_video_s: Longest animation of one call.
        """
        self._pipeline = pipeline
        self._engines = engines
        self._metrics = metrics
        self._slots = StreamSlots(max_streams)
        self._max_video_s = max_video_s

    async def Describe(  # noqa: N802  # the proto's name
        self,
        request: portrait_pb2.DescribeRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[portrait_pb2.DescribeRequest, portrait_pb2.DescribeResponse],  # noqa: ARG002
    ) -> portrait_pb2.DescribeResponse:
        """What computes when a call does not choose."""
        return portrait_pb2.DescribeResponse(engine=self._engines.choose().info())

    async def Inspect(  # noqa: N802
        self,
        request: portrait_pb2.InspectRequest,
        context: grpc.aio.ServicerContext[portrait_pb2.InspectRequest, portrait_pb2.InspectResponse],  # noqa: ARG002
    ) -> portrait_pb2.InspectResponse:
        """The faces of a portrait."""
        tenant = check_tenant_name(request.context.tenant)
        analysed = await self._pipeline.inspect(request.portrait, tenant)
        index = select_face(analysed, to_face_choice(request.face))
        height, width = analysed.bgr.shape[:2]
        return portrait_pb2.InspectResponse(
            width_px=width,
            height_px=height,
            faces=[from_face(face) for face in analysed.faces],
            selected_index=index,
            warnings=warnings_for(analysed, index),
            flaws=map(from_flaw, face_flaws(analysed.bgr, analysed.faces[index])),
        )

    async def Animate(  # noqa: N802
        self,
        request: portrait_pb2.AnimateRequest,
        context: grpc.aio.ServicerContext[portrait_pb2.AnimateRequest, portrait_pb2.AnimateResponse],  # noqa: ARG002
    ) -> AsyncIterator[portrait_pb2.AnimateResponse]:
        """The animation, segment by segment."""
        wanted = to_request(request, self._max_video_s)
        chosen = self._engines.choose(engine_choice(request.engine, "engine"))
        engine = chosen.info()
        with self._slots.taken(), StageClock(STAGE, engine, self._metrics) as clock:
            opened = await self._pipeline.open(wanted, request.portrait, request.speech, chosen.engine, clock)
            if opened.renders:
                await self._pipeline.make_room(chosen.engine)
            for text in opened.manifest.warnings:
                clock.warn(text)
            yield portrait_pb2.AnimateResponse(
                accepted=portrait_pb2.AnimateAccepted(
                    engine=engine,
                    face=from_face(opened.manifest),
                    cached_segment_count=len(opened.stored),
                    segment_frame_count=opened.layout.segment_frames,
                    loop_frame_count=opened.layout.loop_frames,
                )
            )
            async with aclosing(self._pipeline.segments(opened, clock)) as segments:
                async for segment in segments:
                    clock.segment_delivered(segment.frame_count, reused=segment.reused)
                    yield portrait_pb2.AnimateResponse(segment=from_segment(segment))
                    yield portrait_pb2.AnimateResponse(
                        progress=common_pb2.StageProgress(
                            frames_done=segment.first_frame + segment.frame_count, frames_total=wanted.frame_count
                        )
                    )
            yield portrait_pb2.AnimateResponse(summary=clock.report())
