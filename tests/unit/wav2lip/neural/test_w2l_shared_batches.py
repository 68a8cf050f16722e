"""Segments of one job share batches: fewer network calls, the same pictures, nothing waits for a segment to come."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.lipsync import RATE, stored_segments  # noqa: E402  skipped without torch
from support.small_memory import SmallMemory  # noqa: E402
from visema.common.v1 import common_pb2  # noqa: E402
from visema_kit.clock import StageClock  # noqa: E402
from visema_kit.errors import InvalidInput  # noqa: E402
from visema_media.segments import SegmentCodec, SegmentContent, read_segment  # noqa: E402
from visema_media.track import FaceTrack  # noqa: E402
from visema_wav2lip.engines import neural  # noqa: E402
from visema_wav2lip.engines import neural_generator as inference  # noqa: E402
from visema_wav2lip.engines.protocol import LipSyncSettings, SegmentPart  # noqa: E402
from visema_wav2lip.job import SyncJob  # noqa: E402
from visema_wav2lip.loading import LoadedSegment  # noqa: E402
from visema_wav2lip.pipeline import LipSyncPipeline, Workers  # noqa: E402
from visema_wav2lip.read_ahead import ReadAhead  # noqa: E402

pytestmark = pytest.mark.neural
CPU = torch.device("cpu")
PATIENCE_S = 60
SIZES = [3, 3, 3]
FRAMES = 9
BATCH = 8
SOUND = (0.3 * np.sin(np.arange(16_000) * 0.2) * np.sin(np.arange(16_000) * 0.002)).astype(np.float32)


class Stage:
    """A neural engine whose batches are counted and can be held, its pipeline, and a tenant with a clip."""

    def __init__(self, network, store, batch=BATCH):
        self.torch = inference.TorchGenerator(network, CPU, inference.FLOAT32, batch)
        self.torch._network.output_block.register_forward_pre_hook(self._count)
        options = neural.NeuralOptions(batch_size=batch)
        self.engine = neural.NeuralEngine(self.torch, "", CPU, options)
        self.store, self.workers = store, Workers.start()
        self.pipeline = LipSyncPipeline(store, self.workers, SegmentCodec.LOSSLESS)
        self.tenant = f"t-{uuid.uuid4().hex[:12]}"
        self.batches: list[int] = []
        self.held: dict[int, Hold] = {}  # by number of the batch

    def hold(self, batch):
        """Let this batch, counted from 0, begin only when the hold is released."""
        self.held[batch] = Hold()
        return self.held[batch]

    def _count(self, _module, inputs):
        self.batches.append(len(inputs[0]))
        hold = self.held.get(len(self.batches) - 1)
        if hold is not None:
            hold.begun.set()
            assert hold.released.wait(PATIENCE_S)

    async def clip(self, work="work"):
        return await stored_segments(self.store, f"jobs/{self.tenant}/{work}", SIZES)

    def sync(self, segments, work="work", frame_count=FRAMES):
        job = SyncJob(self.tenant, work, common_pb2.ObjectRef(), RATE, frame_count, LipSyncSettings(), None)
        clock = StageClock("wav2lip", common_pb2.EngineInfo())
        return self.pipeline.sync(job, self.engine, SOUND, segments, clock)

    async def pictures(self, synced):
        data = await self.store.get(synced.segment.object, self.tenant)
        return read_segment(data).frames.astype(int)


class Hold:
    def __init__(self):
        self.begun, self.released = threading.Event(), threading.Event()

    async def wait(self):
        assert await asyncio.to_thread(self.begun.wait, PATIENCE_S)


@pytest.fixture
async def stage(generator, object_store):
    stage = Stage(generator, object_store)
    yield stage
    for hold in stage.held.values():
        hold.released.set()
    await stage.workers.aclose()


async def during_the_first_batch(segments, hold):
    """The first segment; the others as soon as it is computed, and it is held until they are there."""
    yield segments[0]
    await hold.wait()
    for segment in segments[1:]:
        yield segment
    hold.released.set()


async def at_once(segments):
    for segment in segments:
        yield segment


async def one_by_one(stage, network, segments):
    """What the network makes of each frame alone, segment by segment."""
    engine = neural.NeuralEngine(
        inference.TorchGenerator(network, CPU, inference.FLOAT32, 1), "", CPU, neural.NeuralOptions()
    )
    contents = [read_segment(await stage.store.get(segment.object, stage.tenant)) for segment in segments]
    session = engine.open(contents[0].frames[0], contents[0].track, SOUND, RATE, FRAMES, LipSyncSettings())
    return [
        np.stack(session.apply([SegmentPart.whole(list(content.frames), content.track, segment.first_frame)]))
        for segment, content in zip(segments, contents, strict=True)
    ]


async def assert_as_one_by_one(stage, network, results, segments):
    assert [synced.segment.index for synced in results] == [segment.index for segment in segments]
    for synced, expected in zip(results, await one_by_one(stage, network, segments), strict=True):
        assert np.abs(await stage.pictures(synced) - expected).max() <= 1  # float rounding of another batch size


async def test_segments_that_are_there_share_a_batch_and_give_the_same_pictures(stage, generator):
    segments = await stage.clip()
    hold = stage.hold(0)
    results = [synced async for synced in stage.sync(during_the_first_batch(segments, hold))]
    assert stage.batches == [3, 6]
    await assert_as_one_by_one(stage, generator, results, segments)


async def test_a_segment_that_has_not_come_is_not_waited_for(stage, generator):
    segments, results = await stage.clip(), []
    delivered = asyncio.Semaphore(1)

    async def each_after_the_result_before():
        for segment in segments:
            await delivered.acquire()
            yield segment

    async for synced in stage.sync(each_after_the_result_before()):
        results.append(synced)
        delivered.release()
    assert stage.batches == SIZES
    await assert_as_one_by_one(stage, generator, results, segments)


async def test_a_shared_batch_that_does_not_fit_is_divided_and_loses_no_frame(stage, generator):
    blocks = stage.torch._network.face_decoder_blocks
    blocks[6] = SmallMemory(blocks[6], 4)
    segments = await stage.clip()
    hold = stage.hold(0)
    results = [synced async for synced in stage.sync(during_the_first_batch(segments, hold))]
    assert stage.batches == [3, 3, 3]  # 6 did not fit
    await assert_as_one_by_one(stage, generator, results, segments)


async def test_a_job_that_is_left_in_a_shared_batch_does_not_harm_the_other(stage, generator):
    segments, others = await stage.clip(), await stage.clip("other")
    first, shared = stage.hold(0), stage.hold(1)
    left = stage.sync(during_the_first_batch(segments, first))
    assert (await anext(left)).segment.index == 0
    reading = asyncio.create_task(anext(left))
    await shared.wait()

    async def all_results():
        return [synced async for synced in stage.sync(at_once(others), "other")]

    other = asyncio.create_task(all_results())
    while not stage.workers.device.waiting:
        await asyncio.sleep(0.001)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    await left.aclose()
    shared.released.set()
    await assert_as_one_by_one(stage, generator, await other, others)
    assert stage.batches[:2] == [3, 6]
    assert sum(stage.batches) == FRAMES + FRAMES


async def test_a_segment_that_fails_comes_after_the_results_before_it(stage):
    segments = await stage.clip()
    hold = stage.hold(0)
    hold.released.set()
    results = []

    async def read_all():
        async for result in stage.sync(during_the_first_batch(segments, hold), frame_count=6):
            results.append(result.segment.index)

    with pytest.raises(InvalidInput, match="reaches to frame 9 of 6"):
        await read_all()
    assert results == [0, 1]


def test_a_frame_depends_on_its_segment_not_on_how_it_is_divided_or_what_it_shares_a_call_with():
    class Identity:
        description = "identity"

        def batches(self, windows, crops, mouth_strength):
            del windows, mouth_strength
            yield crops[:, ::-1].astype(np.float32) / 255  # upside down: a box one pixel off shows

    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(12)]
    boxes = np.array([[20, 20, 40, 40]] * 12) + rng.integers(-9, 10, (12, 1)) * [1, 1, 0, 0]
    track = FaceTrack(np.zeros(0, np.int32), np.zeros((12, 0, 2), np.float32), boxes.astype(np.float32))
    engine = neural.NeuralEngine(Identity(), "", CPU, neural.NeuralOptions())
    session = engine.open(frames[0], track.slice(0, 1), SOUND, RATE, 12, LipSyncSettings())

    def part(first, count, start=0, stop=None):
        wanted = range(start, count if stop is None else stop)
        return SegmentPart(frames[first : first + count], track.slice(first, count), first, wanted)

    alone = session.apply([part(0, 7)]) + session.apply([part(7, 5)])
    together = session.apply([part(0, 7), part(7, 5)])
    divided = session.apply([part(0, 7, 0, 4)]) + session.apply([part(0, 7, 4), part(7, 5, 0, 1)])
    divided += session.apply([part(7, 5, 1)])
    np.testing.assert_array_equal(np.stack(together), np.stack(alone))
    np.testing.assert_array_equal(np.stack(divided), np.stack(alone))
    whole = session.apply([part(0, 12)])
    assert np.abs(np.stack(whole).astype(int) - np.stack(alone)).max() > 0  # the boxes do move between segments


async def test_no_more_segments_are_read_ahead_than_fill_a_batch():
    asked = 0
    track = FaceTrack(np.zeros(0, np.int32), np.zeros((2, 0, 2), np.float32), np.zeros((2, 4), np.float32))

    async def endless():
        nonlocal asked
        while True:
            asked += 1
            content = SegmentContent(np.zeros((2, 10, 10, 3), np.uint8), track, RATE)
            yield LoadedSegment(common_pb2.Segment(index=asked), "", None, content, None)

    async def settle():
        for _ in range(100):  # nothing here waits for anything but the event loop
            await asyncio.sleep(0)

    async with ReadAhead(endless(), most_pixels=5 * 100) as ahead:
        await settle()
        assert asked == 3  # of two frames each: five fill the batch
        assert (await ahead.take()).segment.index == 1
        await settle()
        assert asked == 4
        assert [ahead.take_now().segment.index for _ in range(3)] == [2, 3, 4]
        assert ahead.take_now() is None
        await settle()
        assert asked == 7
    async with ReadAhead(endless(), most_pixels=0) as ahead:
        await settle()
        assert asked == 8  # one is ahead, whatever its size
