"""Small servicers of the real API, one for each RPC shape, and a server around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema.orchestrator.v1 import media_pb2, media_pb2_grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.channel import ending, open_channel
from visema_kit.server import RunningServer, ServiceSpec, serve
from visema_kit.settings import ServiceSettings

SERVICES = (
    "visema.portrait.v1.PortraitAnimationService",
    "visema.orchestrator.v1.MediaService",
    "visema.encoding.v1.EncodingService",
)
SHAPES = ("unary_unary", "stream_unary", "unary_stream", "stream_stream")

CONTEXT = common_pb2.WorkContext(tenant="acme", work_id="job-1")
REF = common_pb2.ObjectRef(
    bucket="visema", key="media/acme/x", sha256="a" * 64, size_bytes=1, media_type="application/octet-stream"
)
RATE = common_pb2.FrameRate(numerator=25, denominator=1)


@dataclass
class Script:
    """What the servicers do in each call."""

    error: BaseException | None = None  # is raised
    hang: bool = False  # waits for ever after the first reply
    seen: list[Any] = field(default_factory=list)  # requests
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def act(self) -> None:
        self.entered.set()
        if self.hang:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error


class Portraits(portrait_pb2_grpc.PortraitAnimationServiceServicer):
    """unary_unary: Inspect. unary_stream: Animate. Describe is left out on purpose."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def Inspect(self, request: Any, _context: Any) -> portrait_pb2.InspectResponse:  # noqa: N802
        self.script.seen.append(request)
        await self.script.act()
        return portrait_pb2.InspectResponse(width_px=1)

    async def Animate(self, request: Any, _context: Any) -> AsyncIterator[portrait_pb2.AnimateResponse]:  # noqa: N802
        self.script.seen.append(request)
        yield portrait_pb2.AnimateResponse(accepted=portrait_pb2.AnimateAccepted(segment_frame_count=25))
        await self.script.act()
        yield portrait_pb2.AnimateResponse(summary=common_pb2.StageReport())


class Media(media_pb2_grpc.MediaServiceServicer):
    """stream_unary: Upload."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def Upload(self, request_iterator: Any, _context: Any) -> media_pb2.UploadResponse:  # noqa: N802
        async for request in request_iterator:
            self.script.seen.append(request)
            await self.script.act()
        return media_pb2.UploadResponse(object=REF)


class Encoding(encoding_pb2_grpc.EncodingServiceServicer):
    """stream_stream: Encode."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def Encode(self, request_iterator: Any, _context: Any) -> AsyncIterator[encoding_pb2.EncodeResponse]:  # noqa: N802
        async for request in request_iterator:
            self.script.seen.append(request)
            yield encoding_pb2.EncodeResponse(segment_done=encoding_pb2.EncodeSegmentDone(index=0))
            await self.script.act()


def register(server: grpc.aio.Server, script: Script) -> None:
    portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(Portraits(script), server)
    media_pb2_grpc.add_MediaServiceServicer_to_server(Media(script), server)
    encoding_pb2_grpc.add_EncodingServiceServicer_to_server(Encoding(script), server)


def settings(**fields: Any) -> ServiceSettings:
    """Settings with a store that nobody asks."""
    store = {"s3_endpoint": "http://127.0.0.1:1", "s3_access_key": "key", "s3_secret_key": "secret"}
    return ServiceSettings(**(store | {"grace_s": 5.0} | fields))


def spec_of(script: Script, **fields: Any) -> ServiceSpec:
    spec = ServiceSpec("test", SERVICES, lambda server: register(server, script), settings())
    return replace(spec, **fields)


@dataclass
class Rig:
    """A running server and a channel to it."""

    script: Script
    spec: ServiceSpec
    running: RunningServer
    channel: grpc.aio.Channel

    async def call(self, shape: str, **options: Any) -> list[Any]:
        """Make a valid call of a shape and return all replies."""
        async with aclosing(self.replies(shape, **options)) as replies:
            return [reply async for reply in replies]

    async def replies(self, shape: str, **options: Any) -> AsyncGenerator[Any, None]:
        portraits = portrait_pb2_grpc.PortraitAnimationServiceStub(self.channel)
        match shape:
            case "unary_unary":
                yield await portraits.Inspect(inspect_request(), **options)
            case "unary_stream":
                with ending(portraits.Animate(animate_request(), **options)) as call:
                    async for reply in call:
                        yield reply
            case "stream_unary":
                yield await media_pb2_grpc.MediaServiceStub(self.channel).Upload(iter(upload_requests()), **options)
            case "stream_stream":
                stub = encoding_pb2_grpc.EncodingServiceStub(self.channel)
                with ending(stub.Encode(iter(encode_requests()), **options)) as call:
                    async for reply in call:
                        yield reply


def inspect_request() -> portrait_pb2.InspectRequest:
    return portrait_pb2.InspectRequest(context=CONTEXT, portrait=REF)


def animate_request() -> portrait_pb2.AnimateRequest:
    return portrait_pb2.AnimateRequest(context=CONTEXT, portrait=REF, size_px=512, frame_rate=RATE, frame_count=25)


def upload_requests() -> list[media_pb2.UploadRequest]:
    header = media_pb2.UploadHeader(kind=media_pb2.MEDIA_KIND_AUDIO)
    return [media_pb2.UploadRequest(header=header), media_pb2.UploadRequest(chunk=b"x")]


def encode_requests() -> list[encoding_pb2.EncodeRequest]:
    opening = encoding_pb2.EncodeOpen(context=CONTEXT, audio=REF, frame_rate=RATE, frame_count=25)
    segment = common_pb2.Segment(index=0, frame_count=25, object=REF)
    return [encoding_pb2.EncodeRequest(open=opening), encoding_pb2.EncodeRequest(segment=segment)]


@asynccontextmanager
async def running_rig(script: Script | None = None, **fields: Any) -> AsyncIterator[Rig]:
    """Serve the script and open a channel. Args: fields: of ServiceSpec, instead of the defaults."""
    script = script or Script()
    spec = spec_of(script, **fields)
    async with serve(spec) as running, open_channel(running.address) as channel:
        yield Rig(script, spec, running, channel)
