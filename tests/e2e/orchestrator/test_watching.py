"""WatchJob: past events first, then live, resumable, for many watchers."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from harness import PATIENCE_S, Client, orchestrator_here, reason_of
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2


async def test_events_rise_and_end_with_the_job(client: Client, stages: FakeStages) -> None:
    stages.lips.hang_after = 2
    job = await client.create(await client.spec(seconds=5))
    events = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in client.watch(job.job_id):
            events.append(event)
            if 0 < event.job.percent < 100:  # seen on the way: the rest may follow
                stages.lips.let_go.set()
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    states = [event.job.state for event in events]
    assert states[0] == jobs_pb2.JOB_STATE_QUEUED
    assert states[-1] == jobs_pb2.JOB_STATE_SUCCEEDED
    percents = [event.job.percent for event in events]
    assert percents == sorted(percents)
    assert all(event.job.spec.audio.key for event in events)


async def test_a_watcher_that_comes_back_goes_on_after_the_last_number(client: Client, stages: FakeStages) -> None:
    stages.lips.pause_s = 0.1
    job = await client.create(await client.spec(seconds=5))
    seen = []
    stream = client.watch(job.job_id)
    async for event in stream:
        seen.append(event.sequence)
        if len(seen) == 3:
            break
    stream.cancel()
    async for event in client.watch(job.job_id, after=seen[-1]):
        assert event.sequence > seen[-1]
        seen.append(event.sequence)
        last = event
    assert last.job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert [event async for event in client.watch(job.job_id, after=seen[-1])] == []


async def test_an_ended_job_is_told_from_its_stored_events(client: Client) -> None:
    job = await client.create(await client.spec(seconds=0.5))
    await client.wait(job.job_id)
    events = [event async for event in client.watch(job.job_id)]
    assert events[-1].job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert events[-1].job.result.frame_count == 13
    assert len(events) <= 4, "replaced progress events must not be kept"


async def test_a_hundred_watchers_see_the_end(client: Client, stages: FakeStages) -> None:
    stages.lips.pause_s = 0.1
    job = await client.create(await client.spec(seconds=3))

    async def last_state() -> int:
        state = 0
        async for event in client.watch(job.job_id):
            state = event.job.state
        return state

    states = await asyncio.gather(*(last_state() for _ in range(100)))
    assert set(states) == {jobs_pb2.JOB_STATE_SUCCEEDED}


async def test_watchers_are_sent_away_at_once_when_the_server_ends(
    variables: dict[str, str], stages: FakeStages
) -> None:
    """A watch may last as long as its job: no restart waits for that."""
    stages.lips.hang_after = 0
    endless = {**variables, "VISEMA_GRACE_S": "3600"}
    async with asyncio.timeout(PATIENCE_S):
        async with orchestrator_here(endless) as address:
            client = Client(address)
            job = await client.create(await client.spec())
            watching = client.watch(job.job_id)
            events = aiter(watching)
            await anext(events)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [event async for event in events]
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    await client.close()


async def test_an_unknown_job_cannot_be_watched(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [event async for event in client.watch("unknown")]
    assert reason_of(caught.value) == "JOB_NOT_FOUND"
