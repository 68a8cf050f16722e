"""EncodingService: protos to jobs, results to protos."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from fractions import Fraction
from typing import Any

import grpc
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema_kit import keys
from visema_kit.clock import StageClock, duration_of
from visema_kit.credit import SegmentInbox, first_request, negotiated_in_flight
from visema_kit.errors import DeadlineExceeded, InvalidInput
from visema_kit.metrics import Metrics
from visema_kit.streams import StreamSlots, ended_after

from visema_encoder.codecs import SOFTWARE
from visema_encoder.job import EncodeJob, engine_version
from visema_encoder.options import (
    DEFAULT_AUDIO_BITRATE_BPS,
    DEFAULT_CRF,
    DEFAULT_PRESET,
    EncodingOptions,
    check_timeline,
)
from visema_encoder.pipeline import EncodingPipeline, SegmentEncoded, VideoStored
from visema_encoder.settings import EncoderSettings

STAGE = "encoder"
SERVICE = encoding_pb2.DESCRIPTOR.services_by_name["EncodingService"].full_name
_LICENSES = {SOFTWARE: "GPL-2.0-or-later"}  # x264's; drivers bring their own

Context = grpc.aio.ServicerContext[Any, Any]


class EncodingServicer(encoding_pb2_grpc.EncodingServiceServicer):
    """Serves encoding. Every call is one video."""

    def __init__(
        self, pipeline: EncodingPipeline, encoders: tuple[str, ...], settings: EncoderSettings, metrics: Metrics
    ) -> None:
        self._pipeline = pipeline
        self._encoders = encoders
        self._settings = settings
        self._metrics = metrics
        self._slots = StreamSlots(settings.max_streams)

    async def Describe(  # noqa: N802  # the RPC's name
        self, _request: encoding_pb2.DescribeRequest, _context: Context
    ) -> encoding_pb2.DescribeResponse:
        """The encoder in use and those that open here."""
        return encoding_pb2.DescribeResponse(engine=engine_info(SOFTWARE), video_encoders=self._encoders)

    async def Encode(  # noqa: N802  # the RPC's name
        self, request_iterator: AsyncIterator[encoding_pb2.EncodeRequest], _context: Context
    ) -> AsyncGenerator[encoding_pb2.EncodeResponse, None]:
        """Encode a stream of segments; see the proto for the order of replies."""
        limit_s = self._settings.encoder_time_limit_s

        def too_late() -> DeadlineExceeded:
            return DeadlineExceeded(f"The video was not complete after {limit_s:g} s.")

        async with aclosing(ended_after(limit_s, self._encode(request_iterator), too_late)) as replies:
            async for reply in replies:
                yield reply

    async def _encode(
        self, requests: AsyncIterator[encoding_pb2.EncodeRequest]
    ) -> AsyncGenerator[encoding_pb2.EncodeResponse, None]:
        with self._slots.taken():
            opened = (await first_request(requests)).open
            job = job_of(opened, self._settings.encoder_max_video_s)
            max_in_flight = negotiated_in_flight(opened.max_in_flight, self._settings.encoder_max_in_flight)
            engine = engine_info(self._pipeline.encoder_for(job))
            with StageClock(STAGE, engine, self._metrics) as clock:
                samples = await self._pipeline.load_audio(job, clock)
                accepted = encoding_pb2.EncodeAccepted(engine=engine, max_in_flight=max_in_flight)
                yield encoding_pb2.EncodeResponse(accepted=accepted)
                async with (
                    SegmentInbox(requests, max_in_flight) as inbox,
                    aclosing(self._pipeline.encode(job, samples, inbox, clock)) as events,
                ):
                    async for event in events:
                        if isinstance(event, SegmentEncoded):
                            inbox.release()
                        else:
                            clock.engine = engine_info(event.encoder)  # may have fallen back
                        for reply in _replies(event, job.frame_count):
                            yield reply
                yield encoding_pb2.EncodeResponse(summary=clock.report())


def engine_info(encoder: str) -> common_pb2.EngineInfo:
    """What an encoder is, for Describe and reports."""
    return common_pb2.EngineInfo(
        name=encoder,
        version=engine_version(),
        model_license=_LICENSES.get(encoder, ""),
        device="cpu" if encoder == SOFTWARE else encoder.removeprefix("h264_"),
        capabilities=("crf", "bitrate", "faststart", "fragmented", "poster", "stills"),
    )


def job_of(opened: encoding_pb2.EncodeOpen, max_video_s: float) -> EncodeJob:
    """The first request as a job. Raises: InvalidInput: a field cannot be used."""
    keys.check_tenant_name(opened.context.tenant, "open.context.tenant")
    keys.result_key(opened.context.tenant, opened.context.work_id, "video")  # the work id becomes part of keys
    rate = opened.frame_rate
    if rate.numerator <= 0 or rate.denominator <= 0:
        raise InvalidInput("The frame rate is not above 0.", field="open.frame_rate")
    frame_rate = Fraction(rate.numerator, rate.denominator)
    options = options_of(opened.settings)
    check_timeline(frame_rate, opened.frame_count, max_video_s, options.still_frames)
    return EncodeJob(
        tenant=opened.context.tenant,
        work_id=opened.context.work_id,
        audio=opened.audio,
        frame_rate=frame_rate,
        frame_count=opened.frame_count,
        options=options,
        engines=tuple(opened.provenance.engines),
        seed=opened.provenance.seed,
        title=opened.provenance.title,
    )


def options_of(settings: encoding_pb2.EncodingSettings) -> EncodingOptions:
    """Settings with the defaults filled in. Raises: InvalidInput: one is out of its range."""
    by_bitrate = settings.WhichOneof("rate_control") == "bitrate_bps"
    by_crf = settings.WhichOneof("rate_control") == "crf"
    return EncodingOptions(
        crf=settings.crf if by_crf else DEFAULT_CRF,
        bitrate_bps=settings.bitrate_bps if by_bitrate else None,
        preset=settings.preset or DEFAULT_PRESET,
        prefer_hardware=settings.prefer_hardware,
        audio_bitrate_bps=settings.audio_bitrate_bps or DEFAULT_AUDIO_BITRATE_BPS,
        fragmented=settings.fragmented,
        still_frames=tuple(sorted(set(settings.still_frames))),
    )


def _replies(event: SegmentEncoded | VideoStored, frame_count: int) -> Iterator[encoding_pb2.EncodeResponse]:
    match event:
        case SegmentEncoded():
            done = encoding_pb2.EncodeSegmentDone(index=event.index)
            yield encoding_pb2.EncodeResponse(segment_done=done)
            progress = common_pb2.StageProgress(frames_done=event.frames_done, frames_total=frame_count)
            yield encoding_pb2.EncodeResponse(progress=progress)
        case VideoStored():
            yield encoding_pb2.EncodeResponse(result=_result(event))


def _result(stored: VideoStored) -> encoding_pb2.EncodeResult:
    shape = stored.shape
    return encoding_pb2.EncodeResult(
        video=stored.video,
        poster=stored.poster,
        stills=[encoding_pb2.Still(frame=frame, object=ref) for frame, ref in stored.stills],
        video_duration=duration_of(float(shape.frame_count / shape.frame_rate)),
        audio_duration=duration_of(float(stored.audio_duration)),
        frame_count=shape.frame_count,
        width_px=shape.width_px,
        height_px=shape.height_px,
    )
