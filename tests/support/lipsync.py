"""A lip-sync service on a real object store, and a client with a drawn video and a hummed speech."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fractions import Fraction

import numpy as np
from support import voices
from support.drawn_portrait import draw_portrait, moved
from visema.common.v1 import common_pb2
from visema.lipsync.v1 import lipsync_pb2, lipsync_pb2_grpc
from visema_kit.channel import open_channel
from visema_kit.engines import EngineRegistry
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import ServiceSpec, serve
from visema_media.audio import write_wav
from visema_media.segments import MEDIA_TYPE, SegmentCodec, read_segment, write_segment
from visema_media.track import FaceTrack
from visema_wav2lip.engines.protocol import LipSyncEngine
from visema_wav2lip.pipeline import LipSyncPipeline, Workers
from visema_wav2lip.servicer import SERVICE, LipSyncServicer
from visema_wav2lip.settings import Wav2LipSettings

RATE = Fraction(25)
FRAMES = 30
PER_SEGMENT = 10


async def stored_segments(
    store: ObjectStore, folder: str, sizes: Sequence[int], *, tracked: bool = True
) -> list[common_pb2.Segment]:
    """A drawn face that drifts, in segments of these many frames."""
    portrait, row = draw_portrait()
    count = sum(sizes)
    frames, track = moved(portrait, row, [np.array([[1.0, 0, 0.2 * i], [0, 1.0, 0.1 * i]]) for i in range(count)])
    if not tracked:
        track = FaceTrack(np.zeros(0, np.int32), np.zeros((count, 0, 2), np.float32), np.zeros((count, 4), np.float32))
    result: list[common_pb2.Segment] = []
    first = 0
    for index, size in enumerate(sizes):
        data = write_segment(
            np.stack(frames[first : first + size]), track.slice(first, size), RATE, SegmentCodec.LOSSLESS
        )
        ref = await store.put(f"{folder}/in-{index}.mkv", data, MEDIA_TYPE)
        result.append(common_pb2.Segment(index=index, first_frame=first, frame_count=size, object=ref))
        first += size
    return result


class Client:
    """A client of one service, with media of its own tenant in the store."""

    def __init__(self, stub: lipsync_pb2_grpc.LipSyncServiceStub, store: ObjectStore) -> None:
        self.stub, self.store = stub, store
        self.work_id = f"job-{uuid.uuid4().hex}"

    async def put(self, name: str, data: bytes, media_type: str, tenant: str = "acme") -> common_pb2.ObjectRef:
        return await self.store.put(f"jobs/{tenant}/{self.work_id}/{name}", data, media_type)

    async def speech(self) -> common_pb2.ObjectRef:
        sound = voices.join(voices.silence(0.2), voices.vowel("a", 0.6), voices.silence(0.4))
        return await self.put("speech.wav", write_wav(sound[None], voices.RATE_HZ), "audio/wav")

    async def segments(self, *, tracked: bool = True) -> list[common_pb2.Segment]:
        sizes = [PER_SEGMENT] * (FRAMES // PER_SEGMENT)
        return await stored_segments(self.store, f"jobs/acme/{self.work_id}", sizes, tracked=tracked)

    async def opening(self, **changes: object) -> lipsync_pb2.SyncOpen:
        opened = lipsync_pb2.SyncOpen(
            context=common_pb2.WorkContext(tenant="acme", work_id=self.work_id),
            audio=await self.speech(),
            frame_rate=common_pb2.FrameRate(numerator=25, denominator=1),
            frame_count=FRAMES,
            max_in_flight=3,
        )
        opened.MergeFrom(lipsync_pb2.SyncOpen(**changes))
        return opened

    async def sync(
        self, opened: lipsync_pb2.SyncOpen, segments: list[common_pb2.Segment], credit: int | None = None
    ) -> list[lipsync_pb2.SyncResponse]:
        """Run a call to its end; with `credit`, send that many segments ahead only."""
        free = asyncio.Semaphore(credit if credit is not None else len(segments))

        async def requests() -> AsyncIterator[lipsync_pb2.SyncRequest]:
            yield lipsync_pb2.SyncRequest(open=opened)
            for segment in segments:
                await free.acquire()
                yield lipsync_pb2.SyncRequest(segment=segment)

        replies = []
        async for reply in self.stub.Sync(requests(), timeout=60):
            replies.append(reply)
            if reply.HasField("segment_done"):
                free.release()
        return replies

    async def frames(self, replies: list[lipsync_pb2.SyncResponse]) -> np.ndarray:
        """All frames of the result."""
        parts = [
            read_segment(await self.store.get(reply.segment_done.object, "acme")).frames
            for reply in replies
            if reply.HasField("segment_done")
        ]
        return np.concatenate(parts)


def settings_for(config: StoreConfig, **changes: object) -> Wav2LipSettings:
    return Wav2LipSettings(
        s3_endpoint=config.endpoint,
        s3_access_key=config.access_key,
        s3_secret_key=config.secret_key,
        s3_bucket=config.bucket,
        segment_codec=SegmentCodec.LOSSLESS,
        metrics_listen="off",
        **changes,
    )


@asynccontextmanager
async def lipsync_service(
    store: ObjectStore, settings: Wav2LipSettings, engines: EngineRegistry[LipSyncEngine], workers: Workers
) -> AsyncIterator[Client]:
    """The service on these engines. Yields: a client."""
    await workers.device.run(engines.load)
    servicer = LipSyncServicer(LipSyncPipeline(store, workers, settings.segment_codec), engines, settings, Metrics())
    spec = ServiceSpec(
        name="wav2lip",
        services=(SERVICE,),
        register=lambda server: lipsync_pb2_grpc.add_LipSyncServiceServicer_to_server(servicer, server),
        settings=settings,
    )
    async with serve(spec) as running, open_channel(running.address) as channel:
        yield Client(lipsync_pb2_grpc.LipSyncServiceStub(channel), store)
    await workers.aclose()
