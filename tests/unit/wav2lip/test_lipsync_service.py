"""The lip-sync service over gRPC with a real object store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from support.lipsync import FRAMES, PER_SEGMENT, RATE, Client, lipsync_service, settings_for
from visema.common.v1 import common_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema_kit.device_meter import DeviceMeter
from visema_kit.errors import (
    CheckpointMissing,
    CreditExceeded,
    DeviceBusy,
    ForeignObject,
    InvalidInput,
    LicenseNotAccepted,
)
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.status import from_rpc_error
from visema_media.segments import SegmentCodec, read_segment, write_segment
from visema_media.track import FaceTrack
from visema_wav2lip.engines.registry import make_registry
from visema_wav2lip.pipeline import Workers


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(object_store: ObjectStore, store_config: StoreConfig, metrics: Metrics) -> AsyncIterator[Client]:
    settings = settings_for(store_config, engine="embedded", max_streams=1)
    engines = make_registry(settings, DeviceMeter("wav2lip", metrics))
    async with lipsync_service(object_store, settings, engines, Workers.start()) as client:
        yield client


async def test_describe_names_the_engine(client: Client) -> None:
    engine = (await client.stub.Describe(lipsync_pb2.DescribeRequest())).engine
    assert engine.name == "embedded"
    assert "foreign-video" in engine.capabilities


@pytest.mark.parametrize("credit", [1, 3])
async def test_segments_come_back_in_order_with_a_moved_mouth(client: Client, credit: int) -> None:
    segments = await client.segments()
    replies = await client.sync(await client.opening(max_in_flight=credit), segments, credit)
    kinds = [reply.WhichOneof("event") for reply in replies]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "summary"
    assert replies[0].accepted.max_in_flight == credit
    done = [reply.segment_done for reply in replies if reply.HasField("segment_done")]
    assert [(part.index, part.first_frame, part.frame_count) for part in done] == [(0, 0, 10), (1, 10, 10), (2, 20, 10)]
    summary = replies[-1].summary
    assert (summary.frame_count, summary.segment_count, summary.reused_segment_count) == (FRAMES, 3, 0)
    assert summary.compute_duration.ToNanoseconds() > 0
    assert summary.storage_duration.ToNanoseconds() > 0

    before = np.concatenate([read_segment(await client.store.get(s.object, "acme")).frames for s in segments])
    after = await client.frames(replies)
    changed = np.abs(after.astype(int) - before).max(axis=(1, 2, 3))
    assert changed[:3].max() == 0  # silence, closed portrait: untouched
    assert changed[8:16].min() > 20


async def test_the_track_travels_on(client: Client) -> None:
    segments = await client.segments()
    replies = await client.sync(await client.opening(), segments)
    source = read_segment(await client.store.get(segments[0].object, "acme"))
    result = read_segment(await client.store.get(replies[1].segment_done.object, "acme"))
    assert np.array_equal(source.track.points_px, result.track.points_px)


async def test_existing_segments_are_not_computed_again(client: Client, metrics: Metrics) -> None:
    def computed_frames() -> float | None:
        labels = {"stage": "wav2lip", "engine": "embedded"}
        return metrics.registry.get_sample_value("visema_batch_frames_sum", labels)

    segments = await client.segments()
    opened = await client.opening()
    first = await client.sync(opened, segments)
    assert computed_frames() == FRAMES
    second = await client.sync(opened, segments)
    assert computed_frames() == FRAMES
    refs = [[r.segment_done.object.sha256 for r in run if r.HasField("segment_done")] for run in (first, second)]
    assert refs[0] == refs[1]
    summaries = [run[-1].summary for run in (first, second)]
    assert [summary.reused_segment_count for summary in summaries] == [0, 3]
    assert summaries[0].written_bytes > 0 == summaries[1].written_bytes


async def test_a_stream_that_resumes_gives_the_same_frames(client: Client) -> None:
    segments = await client.segments()
    whole = await client.frames(await client.sync(await client.opening(), segments))
    client.work_id = f"job-{uuid.uuid4().hex}"
    opened = await client.opening(reference=segments[0])
    rest = await client.frames(await client.sync(opened, segments[1:]))
    assert np.array_equal(whole[PER_SEGMENT:], rest)


async def test_every_segment_says_how_good_it_is_also_one_that_exists_or_resumes(client: Client) -> None:
    def measured(replies: list[lipsync_pb2.SyncResponse]) -> list[common_pb2.QualityStatistics]:
        return [reply.quality for reply in replies if reply.HasField("segment_done")]

    segments = await client.segments()
    opened = await client.opening()
    first = await client.sync(opened, segments)
    assert [sums.frame_count for sums in measured(first)] == [PER_SEGMENT] * 3
    report = first[-1].summary.quality
    assert report.frame_count == FRAMES
    assert report.mouth_range_percent > 3
    assert report.preservation_db > 90
    again = await client.sync(opened, segments)
    assert measured(again) == measured(first)
    assert again[-1].summary.quality == report
    client.work_id = f"job-{uuid.uuid4().hex}"
    resumed = await client.sync(await client.opening(reference=segments[0]), segments[1:])
    assert measured(resumed) == measured(first)[1:]


async def test_frames_beyond_the_video_are_refused(client: Client) -> None:
    segments = await client.segments()
    opened = await client.opening()
    opened.frame_count = 25
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, segments)
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidInput)
    assert "25" in error.message


async def test_a_gap_in_the_indices_is_refused(client: Client) -> None:
    segments = await client.segments()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(await client.opening(), [segments[0], segments[2]])
    assert isinstance(from_rpc_error(caught.value), InvalidInput)


async def test_a_client_that_ignores_its_credit_is_refused(client: Client) -> None:
    segments = await client.segments()
    opened = await client.opening()
    opened.max_in_flight = 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, segments)
    assert isinstance(from_rpc_error(caught.value), CreditExceeded)


async def test_another_rate_than_announced_is_refused(client: Client) -> None:
    segments = await client.segments()
    opened = await client.opening()
    opened.frame_rate.numerator = 30
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, segments)
    assert isinstance(from_rpc_error(caught.value), InvalidInput)


@pytest.mark.parametrize(("field", "value"), [("frame_count", 0), ("frame_count", 10**7)])
async def test_an_impossible_length_is_refused_at_once(client: Client, field: str, value: int) -> None:
    opened = await client.opening()
    setattr(opened, field, value)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, [])
    assert isinstance(from_rpc_error(caught.value), InvalidInput)


async def test_another_tenants_segment_is_refused(client: Client) -> None:
    opened = await client.opening()
    opened.context.tenant = "intruder"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, [])
    assert isinstance(from_rpc_error(caught.value), ForeignObject)


async def test_neural_without_checkpoints_is_an_error(client: Client) -> None:
    opened = await client.opening(engine=common_pb2.ENGINE_CHOICE_NEURAL)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, [])
    assert isinstance(from_rpc_error(caught.value), CheckpointMissing)


async def test_a_stream_too_many_is_sent_away_before_the_first_reply(client: Client) -> None:
    opened = await client.opening()
    hold = asyncio.Event()

    async def endless() -> AsyncIterator[lipsync_pb2.SyncRequest]:
        yield lipsync_pb2.SyncRequest(open=opened)
        await hold.wait()

    running = client.stub.Sync(endless())
    assert (await running.read()).HasField("accepted")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(opened, [])
    busy = from_rpc_error(caught.value)
    assert isinstance(busy, DeviceBusy)
    assert busy.retry_after_s > 0
    running.cancel()
    async with asyncio.timeout(60):  # the cancelled call gives its place back
        while True:
            following = client.stub.Sync(endless())
            try:
                assert (await following.read()).HasField("accepted")
                break
            except grpc.aio.AioRpcError as refused:
                if not isinstance(from_rpc_error(refused), DeviceBusy):
                    raise
                await asyncio.sleep(0.05)
    following.cancel()
    hold.set()


async def test_a_foreign_video_without_a_face_says_so_and_passes_unchanged(client: Client) -> None:
    segments = await client.segments(tracked=False)
    blank = np.full((PER_SEGMENT, 256, 256, 3), 127, np.uint8)
    empty = FaceTrack(np.zeros(0, np.int32), np.zeros((10, 0, 2), np.float32), np.zeros((10, 4), np.float32))
    data = write_segment(blank, empty, RATE, SegmentCodec.LOSSLESS)
    segments[0].object.CopyFrom(await client.put("blank.mkv", data, "video/x-matroska"))
    replies = await client.sync(await client.opening(), segments[:1])
    assert np.array_equal(await client.frames(replies), blank)
    assert any("no face" in warning for warning in replies[-1].summary.warnings)
    assert not replies[-1].summary.HasField("quality")


def test_without_checkpoints_auto_degrades_loudly_and_neural_does_not_start(store_config: StoreConfig) -> None:
    engines = make_registry(settings_for(store_config, engine="auto"))
    engines.load()
    assert engines.choose().info().degraded_reason
    with pytest.raises((CheckpointMissing, LicenseNotAccepted)):
        make_registry(settings_for(store_config, engine="neural")).load()
