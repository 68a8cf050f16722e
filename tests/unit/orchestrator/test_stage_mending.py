"""Segment log, retries, timeline, hub, slots, cache, running work: the parts between the stages."""

from __future__ import annotations

import asyncio
import time

import pytest
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.errors import DeviceBusy, InternalError, InvalidInput, NoFaceFound, StageUnavailable
from visema_orchestrator.admission import Slots
from visema_orchestrator.cache import SharedCache
from visema_orchestrator.hub import KEPT_EVENTS, EventHub
from visema_orchestrator.report import engine_label, make_report, set_progress
from visema_orchestrator.retry import RetryPolicy, StageAttempts
from visema_orchestrator.segment_log import SegmentLog
from visema_orchestrator.store.jobs import JobEvent
from visema_orchestrator.store.paging import LARGEST_SIZE, read_page, write_token
from visema_orchestrator.timeline import StageTimes
from visema_orchestrator.work import Cancelled, RunningWork

QUICK = RetryPolicy(patience_s=0.2, first_pause_s=0.001, longest_pause_s=0.01)


def segment(index: int, first: int, count: int) -> common_pb2.Segment:
    return common_pb2.Segment(index=index, first_frame=first, frame_count=count)


async def test_readers_of_a_log_get_every_segment_from_where_they_start() -> None:
    log = SegmentLog("wav2lip", 60)

    async def read(first: int) -> list[int]:
        return [each.index async for each in log.read(first)]

    early = asyncio.create_task(read(0))
    for index, (first, count) in enumerate([(0, 25), (25, 25), (50, 10)]):
        await log.append(segment(index, first, count))
        await asyncio.sleep(0)
    assert log.is_complete
    assert await early == [0, 1, 2]
    assert await read(2) == [2]
    assert await read(3) == []


@pytest.mark.parametrize("wrong", [segment(1, 0, 5), segment(0, 5, 5), segment(0, 0, 0), segment(0, 0, 61)])
async def test_a_segment_that_does_not_follow_is_refused(wrong: common_pb2.Segment) -> None:
    with pytest.raises(InternalError):
        await SegmentLog("wav2lip", 60).append(wrong)


async def test_faults_are_retried_until_success() -> None:
    faults = [StageUnavailable("away"), DeviceBusy("busy"), StageUnavailable("away")]

    async def attempt() -> None:
        if faults:
            raise faults.pop()

    attempts = StageAttempts(QUICK)
    await attempts.run(attempt, lambda: 0)
    assert attempts.retry_count == 3


async def test_a_fault_of_the_input_is_not_retried() -> None:
    calls = 0

    async def attempt() -> None:
        nonlocal calls
        calls += 1
        raise NoFaceFound("nobody")

    with pytest.raises(NoFaceFound):
        await StageAttempts(QUICK).run(attempt, lambda: 0)
    assert calls == 1


async def test_patience_ends_without_progress_and_starts_again_with_it() -> None:
    done = 0

    async def stuck() -> None:
        raise StageUnavailable("away")

    async def slow() -> None:
        nonlocal done
        if done < 8:
            done += 1
            await asyncio.sleep(0.05)
            raise StageUnavailable("breaks each time")

    with pytest.raises(StageUnavailable):
        await StageAttempts(QUICK).run(stuck, lambda: 0)
    await StageAttempts(QUICK).run(slow, lambda: done)  # 0.4 s in all, more than the patience


async def test_a_busy_device_is_waited_for_beyond_the_patience() -> None:
    until = time.monotonic() + 0.3

    async def attempt() -> None:
        if time.monotonic() < until:
            raise DeviceBusy("busy")

    await StageAttempts(QUICK).run(attempt, lambda: 0)


def test_pauses_grow_to_their_limit_and_honour_the_stage() -> None:
    policy = RetryPolicy(first_pause_s=0.1, longest_pause_s=2.0)
    for fault, longest in ((1, 0.1), (3, 0.4), (20, 2.0)):
        pauses = [policy.pause_s(fault, 0.0) for _ in range(50)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert len(set(pauses)) > 1, "no jitter"
    assert policy.pause_s(1, 1.5) >= 0.75
    assert policy.pause_s(1, 100.0) <= 2.0


def test_a_timeline_counts_from_the_jobs_start() -> None:
    times = StageTimes("encoder", time.monotonic() - 1)
    assert not times.to_proto().HasField("start_offset")
    times.start()
    times.segment()
    times.segment()
    times.end()
    message = times.to_proto()
    offsets = [
        message.start_offset.ToNanoseconds(),
        message.first_segment_offset.ToNanoseconds(),
        message.last_segment_offset.ToNanoseconds(),
        message.end_offset.ToNanoseconds(),
    ]
    assert offsets == sorted(offsets)
    assert offsets[0] >= 1_000_000_000


def test_a_report_is_prepared_only_when_every_segment_existed() -> None:
    def report(segments: int, reused: int) -> jobs_pb2.JobReport:
        stage = jobs_pb2.StageTimeline(stage="liveportrait")
        stage.report.segment_count, stage.report.reused_segment_count = segments, reused
        stage.report.engine.name = "embedded"
        stage.report.warnings.append("turned")
        quality = common_pb2.QualityReport(score=90, warnings=["loose", "mono"])
        warnings = ["turned", "mono"]
        return make_report([stage], queue_s=0, processing_s=1, video_s=10, warnings=warnings, quality=quality)

    assert report(5, 5).prepared
    assert not report(5, 4).prepared
    assert not report(0, 0).prepared
    assert list(report(5, 5).warnings) == ["turned", "mono", "loose"]
    assert report(5, 5).quality.score == 90
    assert report(5, 5).target_duration.ToMilliseconds() == 7000
    assert engine_label(report(5, 5)) == "embedded"


def test_per_cent_is_the_mean_of_the_stages() -> None:
    job = jobs_pb2.Job()
    set_progress(job, {"liveportrait": (100, 100), "wav2lip": (50, 100)})
    assert job.percent == 50
    assert [state.stage for state in job.stages] == ["liveportrait", "wav2lip", "encoder"]


def event(sequence: int) -> JobEvent:
    return JobEvent("job", sequence, 0, jobs_pb2.Job())


async def test_every_watcher_gets_events_in_order_and_a_slow_one_the_newest() -> None:
    hub = EventHub()
    hub.publish(event(1))  # nobody watches
    with hub.subscribe("job") as channel, hub.subscribe("job") as same:
        waiting = asyncio.create_task(channel.after(1))
        await asyncio.sleep(0)
        hub.publish(event(2))
        hub.publish(event(2))
        hub.publish(event(3))
        assert [each.sequence for each in await waiting] == [2, 3]
        for sequence in range(4, 4 + 2 * KEPT_EVENTS):
            hub.publish(event(sequence))
        late = await same.after(3)
        assert len(late) == KEPT_EVENTS
        assert late[-1].sequence == 3 + 2 * KEPT_EVENTS
    assert hub.watched_jobs == []


async def test_recovered_jobs_come_before_new_ones() -> None:
    slots = Slots(2)
    slots.take("a")
    slots.take("b")
    recovered = asyncio.create_task(slots.enter("c"))
    await asyncio.sleep(0)
    await slots.leave("a")
    assert slots.free == 0
    await recovered
    await slots.enter("b")  # has a slot
    await slots.leave("b")
    assert slots.free == 1


async def test_a_cache_makes_a_value_once_for_callers_at_the_same_time() -> None:
    cache: SharedCache[str, bytes] = SharedCache(10, len)
    made = 0

    async def make() -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)
        return b"12345"

    async def fail() -> bytes:
        raise InvalidInput("no")

    assert await asyncio.gather(*(cache.get("a", make) for _ in range(5))) == [b"12345"] * 5
    assert made == 1
    for key in ("b", "c"):
        await cache.get(key, make)
    await cache.get("a", make)
    assert made == 4, "the oldest must have gone"
    for _ in range(2):
        with pytest.raises(InvalidInput):
            await cache.get("bad", fail)
    assert await cache.get("bad", make) == b"12345"


async def test_work_tells_a_users_cancellation_from_the_end_of_the_process() -> None:
    work = RunningWork()
    work.cancel("job")  # not active: nothing happens
    with work.active("job"):
        running = asyncio.create_task(work.run("job", asyncio.sleep(10)))
        await asyncio.sleep(0)
        work.cancel("job")
        with pytest.raises(Cancelled):
            await running
        with pytest.raises(Cancelled):
            await work.run("job", asyncio.sleep(0))
    with work.active("job"):
        running = asyncio.create_task(work.run("job", asyncio.sleep(10)))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_work_that_is_here_twice_ends_once_each_and_is_cancelled_together() -> None:
    """A process that was taken for dead may get its own job back before it has noticed."""
    work = RunningWork()
    with work.active("job"):
        earlier = asyncio.create_task(work.run("job", asyncio.sleep(0, "earlier")))
        with work.active("job"):
            later = asyncio.create_task(work.run("job", asyncio.sleep(0, "later")))
            assert await asyncio.gather(earlier, later) == ["earlier", "later"]
        twice = [asyncio.create_task(work.run("job", asyncio.sleep(60))) for _ in range(2)]
        await asyncio.sleep(0)
        work.cancel("job")
        assert [type(end) for end in await asyncio.gather(*twice, return_exceptions=True)] == [Cancelled, Cancelled]


def test_a_page_token_belongs_to_its_list() -> None:
    token = write_token("0123", "jobs a []")
    assert read_page(0, token, "jobs a []").before == "0123"
    assert read_page(10_000, "", "x").size == LARGEST_SIZE
    for size, wrong in ((0, "%%%"), (0, "AAAA"), (-1, "")):
        with pytest.raises(InvalidInput):
            read_page(size, wrong, "jobs a []")
    with pytest.raises(InvalidInput):
        read_page(0, token, "jobs b []")
