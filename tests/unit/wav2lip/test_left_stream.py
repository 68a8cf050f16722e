"""A stream of lip-sync that is left early, at whatever moment, leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import uuid

import numpy as np
from support.lipsync import PER_SEGMENT, RATE, stored_segments
from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock
from visema_kit.objects import ObjectStore
from visema_media.segments import SegmentCodec
from visema_wav2lip.engines.embedded.engine import EmbeddedEngine
from visema_wav2lip.engines.protocol import LipSyncSettings
from visema_wav2lip.job import SyncJob
from visema_wav2lip.pipeline import LipSyncPipeline, Workers

TURNS = 6  # of the event loop, within which a segment that begins to be stored is handed on


def storing() -> list[asyncio.Task[object]]:
    """Segments that are on their way into the store."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "store-segment"]


async def test_what_is_being_stored_stops_with_its_stream(object_store: ObjectStore) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    sent = await stored_segments(object_store, f"jobs/{tenant}/work", [PER_SEGMENT])
    workers = Workers.start()
    pipeline = LipSyncPipeline(object_store, workers, SegmentCodec.LOSSLESS)

    async def segments():
        for segment in sent:
            yield segment

    for turns in range(TURNS):
        audio = common_pb2.ObjectRef(sha256=f"{turns}")  # nothing is stored yet
        job = SyncJob(tenant, "work", audio, RATE, PER_SEGMENT, LipSyncSettings(), None)
        clock = StageClock("wav2lip", common_pb2.EngineInfo())
        results = pipeline.sync(job, EmbeddedEngine(), np.zeros(16_000, np.float32), segments(), clock)
        reading = asyncio.create_task(anext(results))
        while not storing():
            assert not reading.done(), "nothing was stored"
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await results.aclose()
        assert not storing(), f"cancelled {turns} turns after a segment began to be stored"
    await workers.aclose()
