"""What tests send to the encoder, and how they read its replies."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from fractions import Fraction

import grpc
import numpy as np
import pytest
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema_kit.objects import ObjectStore
from visema_kit.status import from_rpc_error
from visema_media.audio import write_wav
from visema_media.segments import write_segment
from visema_media.track import FaceTrack

SIZE_PX = 256
TENANT = "encodertest"
RATE = Fraction(25)


def frames_with_number(first: int, count: int, size_px: int = SIZE_PX) -> np.ndarray:
    """Grey frames whose brightness tells their number."""
    levels = 40 + (np.arange(first, first + count) * 3) % 160
    return np.broadcast_to(levels[:, None, None, None], (count, size_px, size_px, 3)).astype(np.uint8)


def open_track(count: int, best: int | None = None) -> FaceTrack:
    """Eyes that are widest open at `best`; without it a track of other landmarks."""
    if best is None:
        return FaceTrack(
            np.arange(3, dtype=np.int32), np.zeros((count, 3, 2), np.float32), np.zeros((count, 4), np.float32)
        )
    ids = np.array([33, 133, 145, 159, 263, 362, 374, 386], np.int32)
    points = np.zeros((count, 8, 2), np.float32)
    points[:, [0, 4], 0], points[:, [1, 5], 0] = 0, 30  # corners
    points[:, [2, 6], 1] = 4
    points[best, [2, 6], 1] = 11
    return FaceTrack(ids, points, np.zeros((count, 4), np.float32))


class Inputs:
    """Objects of one job in the store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.work_id = f"job-{uuid.uuid4().hex[:12]}"

    async def audio(self, seconds: float) -> common_pb2.ObjectRef:
        times = np.arange(round(seconds * 48_000)) / 48_000
        speech = 0.3 * np.sin(2 * np.pi * 300 * times)[None].astype(np.float32)
        return await self._put("speech.wav", write_wav(speech, 48_000), "audio/wav")

    async def segment(
        self, index: int, first: int, count: int, *, held: int = 0, size_px: int = SIZE_PX, rate: Fraction = RATE
    ) -> common_pb2.Segment:
        held = held or count
        content = write_segment(frames_with_number(first, held, size_px), open_track(held, best=min(2, held - 1)), rate)
        name = f"segment-{index}-{count}-{held}-{size_px}.mkv"
        ref = await self._put(name, content, "video/x-matroska")
        return common_pb2.Segment(index=index, first_frame=first, frame_count=count, object=ref)

    async def segments(self, *counts: int) -> list[common_pb2.Segment]:
        firsts = [sum(counts[:index]) for index in range(len(counts))]
        return [await self.segment(index, first, counts[index]) for index, first in enumerate(firsts)]

    def opening(
        self, audio: common_pb2.ObjectRef, frame_count: int, *, tenant: str = TENANT, **settings: object
    ) -> encoding_pb2.EncodeRequest:
        return encoding_pb2.EncodeRequest(
            open=encoding_pb2.EncodeOpen(
                context=common_pb2.WorkContext(tenant=tenant, work_id=self.work_id),
                audio=audio,
                frame_rate=common_pb2.FrameRate(numerator=RATE.numerator, denominator=RATE.denominator),
                frame_count=frame_count,
                settings=encoding_pb2.EncodingSettings(**settings),
                max_in_flight=2,
                provenance=encoding_pb2.Provenance(
                    engines=["embedded 1.0", "embedded 2.0"], seed=42, title="Ada\nsays"
                ),
            )
        )

    async def _put(self, name: str, content: bytes, media_type: str) -> common_pb2.ObjectRef:
        return await self.store.put(f"jobs/{TENANT}/{self.work_id}/{name}", content, media_type)


async def encode(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub,
    opening: encoding_pb2.EncodeRequest,
    segments: Sequence[common_pb2.Segment],
) -> list[encoding_pb2.EncodeResponse]:
    """Send with respect for the credit, and collect all replies."""
    call = service.Encode(timeout=60)
    await call.write(opening)
    replies, sent, limit = [], 0, 0
    async for reply in call:
        replies.append(reply)
        if reply.HasField("accepted"):
            limit = reply.accepted.max_in_flight
        elif reply.HasField("segment_done"):
            limit += 1
        while sent < min(limit, len(segments)):
            await call.write(encoding_pb2.EncodeRequest(segment=segments[sent]))
            sent += 1
        if sent == len(segments) and limit >= 0:
            await call.done_writing()
            limit = -1_000_000
    return replies


async def refusal(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


def events(replies: Sequence[encoding_pb2.EncodeResponse]) -> list[str]:
    return [str(reply.WhichOneof("event")) for reply in replies]
