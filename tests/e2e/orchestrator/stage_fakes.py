"""Small real stages: gRPC servers that read and write real objects, with faults that a test can order."""

# ruff: noqa: ARG002  # gRPC gives the arguments
from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from support.ports import free_ports
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema.lipsync.v1 import lipsync_pb2, lipsync_pb2_grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.digest import digest_of
from visema_kit.errors import DeviceBusy, InvalidInput, NoFaceFound, StoreUnavailable
from visema_kit.interceptors import CallInterceptor
from visema_kit.keys import job_key, loop_key, result_key
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore
from visema_kit.tracing import TraceContext, current_trace

SEGMENT_FRAMES = 25
LOOP_FRAMES = 250


@dataclass
class Orders:
    """What a stage is to do, and what it did.

    Attributes:
        pause_s: Before each segment.
        break_after: Segments after which the stream breaks with UNAVAILABLE, one entry for each call.
        busy: Calls to refuse with DEVICE_BUSY.
        hang_after: Segments after which the stage stops answering, until `let_go` is set.
        computed: How often each object was stored.
        traces: The trace of each call.
    """

    pause_s: float = 0.0
    break_after: list[int] = field(default_factory=list)
    busy: int = 0
    hang_after: int | None = None
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    cancelled: int = 0
    hanging: int = 0
    computed: Counter[str] = field(default_factory=Counter)
    opened: list[object] = field(default_factory=list)
    traces: list[TraceContext | None] = field(default_factory=list)


class _Stage:
    def __init__(self, name: str, objects: ObjectStore, orders: Orders) -> None:
        self.name = name
        self.objects = objects
        self.orders = orders
        self.making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.engine = common_pb2.EngineInfo(
            name="embedded", version="1", degraded=True, degraded_reason=f"{name} is a small one"
        )

    def enter(self) -> int:
        """Returns: segments after which this call breaks; -1 for never."""
        self.orders.calls += 1
        self.orders.traces.append(current_trace())
        if self.orders.busy:
            self.orders.busy -= 1
            raise DeviceBusy(f"{self.name} is busy", retry_after_s=0.05)
        return self.orders.break_after.pop(0) if self.orders.break_after else -1

    async def step(self, done: int, break_after: int) -> None:
        if done == break_after:
            raise StoreUnavailable(f"{self.name} breaks as ordered")
        if self.orders.hang_after is not None and done >= self.orders.hang_after:
            self.orders.hanging += 1
            await self.orders.let_go.wait()
        await asyncio.sleep(self.orders.pause_s)

    async def make(self, key: str, content: bytes) -> tuple[common_pb2.ObjectRef, bool]:
        """Returns: the object, and whether it existed. Calls that want the same one wait, as in the real stage 1."""
        async with self.making[key]:
            known = await self.objects.stat(key)
            if known is not None:
                return known, True
            stored = await self.objects.put(key, content, "video/x-matroska")
            self.orders.computed[key] += 1
            return stored, False

    def report(self, segments: int, reused: int, frames: int) -> common_pb2.StageReport:
        return common_pb2.StageReport(
            engine=self.engine, frame_count=frames, segment_count=segments, reused_segment_count=reused
        )

    @asynccontextmanager
    async def counting_cancellation(self) -> AsyncIterator[None]:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):  # also when it waits in a yield
            self.orders.cancelled += 1
            raise


class FakePortraits(_Stage, portrait_pb2_grpc.PortraitAnimationServiceServicer):
    async def Inspect(self, request, context):  # noqa: N802
        self.orders.opened.append(request)
        content = await self.objects.get(request.portrait, request.context.tenant)
        if b"nobody" in content:
            raise NoFaceFound("the picture shows nobody", field="portrait")
        return portrait_pb2.InspectResponse(width_px=8, height_px=8, faces=[portrait_pb2.Face(yaw_degrees=3)])

    async def Animate(self, request, context):  # noqa: N802
        async with self.counting_cancellation():
            break_after = self.enter()
            self.orders.opened.append(request)
            tenant = request.context.tenant
            loop = digest_of(request.portrait.sha256, request.motion, request.size_px, request.frame_rate)
            yield portrait_pb2.AnimateResponse(
                accepted=portrait_pb2.AnimateAccepted(
                    engine=self.engine,
                    face=portrait_pb2.Face(yaw_degrees=3),
                    segment_frame_count=SEGMENT_FRAMES,
                    loop_frame_count=LOOP_FRAMES,
                )
            )
            total, reused, sent = request.frame_count, 0, 0
            count = -(-total // SEGMENT_FRAMES)
            for index in range(request.first_segment_index, count):
                await self.step(sent, break_after)
                part = index % (LOOP_FRAMES // SEGMENT_FRAMES)
                ref, existed = await self.make(loop_key(tenant, loop, f"{part}.mkv"), f"{loop} {part}".encode())
                reused += existed
                sent += 1
                first = index * SEGMENT_FRAMES
                frames = min(SEGMENT_FRAMES, total - first)
                yield portrait_pb2.AnimateResponse(
                    segment=common_pb2.Segment(index=index, first_frame=first, frame_count=frames, object=ref)
                )
            yield portrait_pb2.AnimateResponse(summary=self.report(sent, reused, total))


class FakeLips(_Stage, lipsync_pb2_grpc.LipSyncServiceServicer):
    async def Sync(self, request_iterator, context):  # noqa: N802
        async with self.counting_cancellation():
            break_after = self.enter()
            opening = (await anext(request_iterator)).open
            self.orders.opened.append(opening)
            tenant, work_id = opening.context.tenant, opening.context.work_id
            await self.objects.get(opening.audio, tenant)
            if opening.HasField("reference"):
                await self.objects.get(opening.reference.object, tenant)
            yield lipsync_pb2.SyncResponse(
                accepted=lipsync_pb2.SyncAccepted(engine=self.engine, max_in_flight=min(opening.max_in_flight, 2))
            )
            sent = reused = 0
            async for request in request_iterator:
                segment = request.segment
                await self.step(sent, break_after)
                content = await self.objects.get(segment.object, tenant)
                key = job_key(tenant, work_id, f"sync-{segment.index}.mkv")
                ref, existed = await self.make(key, content + b" spoken")
                reused += existed
                sent += 1
                done = common_pb2.Segment(
                    index=segment.index, first_frame=segment.first_frame, frame_count=segment.frame_count, object=ref
                )
                quality = common_pb2.QualityStatistics(
                    frame_count=segment.frame_count, openings=[segment.frame_count], outside_value_count=1
                )
                yield lipsync_pb2.SyncResponse(segment_done=done, quality=quality)
            yield lipsync_pb2.SyncResponse(summary=self.report(sent, reused, opening.frame_count))


class FakeEncoder(_Stage, encoding_pb2_grpc.EncodingServiceServicer):
    async def Encode(self, request_iterator, context):  # noqa: N802
        async with self.counting_cancellation():
            break_after = self.enter()
            opening = (await anext(request_iterator)).open
            self.orders.opened.append(opening)
            tenant, work_id = opening.context.tenant, opening.context.work_id
            yield encoding_pb2.EncodeResponse(
                accepted=encoding_pb2.EncodeAccepted(engine=self.engine, max_in_flight=min(opening.max_in_flight, 2))
            )
            video, frames, sent = b"", 0, 0
            async for request in request_iterator:
                segment = request.segment
                await self.step(sent, break_after)
                video += await self.objects.get(segment.object, tenant) + b"\n"
                frames += segment.frame_count
                sent += 1
                yield encoding_pb2.EncodeResponse(segment_done=encoding_pb2.EncodeSegmentDone(index=segment.index))
            if frames != opening.frame_count:
                raise InvalidInput(f"{frames} frames came, {opening.frame_count} were announced")
            length = Duration()
            rate = opening.frame_rate
            length.FromNanoseconds(frames * 10**9 * rate.denominator // rate.numerator)
            stored = await self.objects.put(result_key(tenant, work_id, "video.mp4"), video, "video/mp4")
            self.orders.computed["video"] += 1
            yield encoding_pb2.EncodeResponse(
                result=encoding_pb2.EncodeResult(
                    video=stored,
                    poster=await self.objects.put(result_key(tenant, work_id, "poster.jpg"), b"poster", "image/jpeg"),
                    video_duration=length,
                    frame_count=frames,
                )
            )
            yield encoding_pb2.EncodeResponse(summary=self.report(sent, 0, frames))


@dataclass
class FakeStages:
    """Three servers. `stop` and `start` take one away and bring it back at the same port."""

    objects: ObjectStore
    portrait: Orders = field(default_factory=Orders)
    lips: Orders = field(default_factory=Orders)
    encoder: Orders = field(default_factory=Orders)
    addresses: dict[str, str] = field(default_factory=dict)
    _servers: dict[str, grpc.aio.Server] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        interceptor = CallInterceptor(Metrics())
        interceptor.ready = True
        server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
        match name:
            case "liveportrait":
                servicer = FakePortraits(name, self.objects, self.portrait)
                portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(servicer, server)
            case "wav2lip":
                lipsync_pb2_grpc.add_LipSyncServiceServicer_to_server(FakeLips(name, self.objects, self.lips), server)
            case _:
                encoding_pb2_grpc.add_EncodingServiceServicer_to_server(
                    FakeEncoder(name, self.objects, self.encoder), server
                )
        if name not in self.addresses:  # a port that no outgoing connection gets while the stage is away
            self.addresses[name] = f"127.0.0.1:{free_ports(1)[0]}"
        server.add_insecure_port(self.addresses[name])
        await server.start()
        self._servers[name] = server

    async def stop(self, name: str) -> None:
        await self._servers.pop(name).stop(None)

    async def stop_all(self) -> None:
        for name in list(self._servers):
            await self.stop(name)


STAGE_NAMES = ("liveportrait", "wav2lip", "encoder")
