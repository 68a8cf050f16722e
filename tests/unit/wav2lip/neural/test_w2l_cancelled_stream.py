"""A stream that is left early takes its work off the device."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.lipsync import RATE, stored_segments  # noqa: E402  skipped without torch
from visema.common.v1 import common_pb2  # noqa: E402
from visema_kit.clock import StageClock  # noqa: E402
from visema_media.segments import SegmentCodec  # noqa: E402
from visema_wav2lip.engines import neural  # noqa: E402
from visema_wav2lip.engines.protocol import LipSyncSettings  # noqa: E402
from visema_wav2lip.job import SyncJob  # noqa: E402
from visema_wav2lip.pipeline import LipSyncPipeline, Workers  # noqa: E402

pytestmark = pytest.mark.neural
FRAMES = 6


class HeldGenerator:
    """Gives faces back one by one; the first one only when it is let go."""

    description = "held"

    def __init__(self):
        self.started, self.may_go_on, self.faces = threading.Event(), threading.Event(), 0

    def batches(self, windows, crops, mouth_strength):
        del windows, mouth_strength
        for crop in crops:
            self.faces += 1
            self.started.set()
            assert self.may_go_on.wait(60)
            yield crop[None].astype(np.float32) / 255


@pytest.mark.parametrize("leave", ["cancelled while it computes", "to its end"])
async def test_a_cancelled_stream_stops_its_device_before_the_next_batch(object_store, leave):
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    (segment,) = await stored_segments(object_store, f"jobs/{tenant}/work", [FRAMES])
    generator = HeldGenerator()
    engine = neural.NeuralEngine(generator, "", torch.device("cpu"), neural.NeuralOptions())
    job = SyncJob(tenant, "work", common_pb2.ObjectRef(), RATE, FRAMES, LipSyncSettings(), None)

    async def segments():
        yield segment

    workers = Workers.start()
    pipeline = LipSyncPipeline(object_store, workers, SegmentCodec.LOSSLESS)
    clock = StageClock("wav2lip", common_pb2.EngineInfo())
    results = pipeline.sync(job, engine, np.zeros(16_000, np.float32), segments(), clock)
    reading = asyncio.create_task(anext(results))
    assert await asyncio.to_thread(generator.started.wait, 60)
    if leave == "to its end":
        generator.may_go_on.set()
        assert (await reading).segment.frame_count == FRAMES
    else:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    await results.aclose()
    generator.may_go_on.set()
    await workers.device.run(lambda: None)  # whatever ran has ended
    await workers.aclose()
    assert generator.faces == (FRAMES if leave == "to its end" else 1)
