"""The queue: bounded, first come first served, and quick to say no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from harness import Client, orchestrator_here
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.status import from_rpc_error


@pytest.fixture
async def narrow(variables: dict[str, str]) -> AsyncIterator[Client]:
    """One slot, two places to wait."""
    settings = {"VISEMA_JOB_SLOTS": "1", "VISEMA_QUEUE_LIMIT": "2"}
    async with orchestrator_here({**variables, **settings}) as address:
        client = Client(address)
        yield client
        await client.close()


async def test_beyond_the_queue_jobs_are_refused_at_once_with_a_delay(narrow: Client, stages: FakeStages) -> None:
    stages.lips.hang_after = 0
    spec = await narrow.spec()
    first = await narrow.create(spec)
    await narrow.until(first.job_id, jobs_pb2.JOB_STATE_RUNNING)
    waiting = [await narrow.create(spec) for _ in range(2)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await narrow.create(spec)  # while nothing moves
    error = from_rpc_error(caught.value)
    assert (error.reason, caught.value.code()) == ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert error.retry_after_s >= 1
    stages.lips.hang_after = None
    await narrow.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=first.job_id))
    for job in waiting:
        assert (await narrow.wait(job.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED
    await narrow.create(spec)  # there is room again


async def test_a_flood_is_bounded_and_every_admitted_job_ends(narrow: Client, stages: FakeStages) -> None:
    stages.lips.hang_after = 0
    spec = await narrow.spec(seconds=1)
    first = await narrow.create(spec)
    await narrow.until(first.job_id, jobs_pb2.JOB_STATE_RUNNING)
    results = await asyncio.gather(*(narrow.create(spec) for _ in range(40)), return_exceptions=True)
    stages.lips.let_go.set()
    admitted = [job for job in results if isinstance(job, jobs_pb2.Job)]
    refusals = [from_rpc_error(error) for error in results if isinstance(error, grpc.aio.AioRpcError)]
    assert (len(admitted), [error.reason for error in refusals]) == (2, ["QUEUE_FULL"] * 38)
    assert all(error.retry_after_s >= 1 for error in refusals)
    for job in (first, *admitted):
        assert (await narrow.wait(job.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_a_request_that_was_accepted_is_never_refused_afterwards(narrow: Client, stages: FakeStages) -> None:
    stages.lips.hang_after = 0
    spec = await narrow.spec(seconds=1)
    names = ["first", "second", "third"]
    made = [await narrow.create(spec, names[0])]
    await narrow.until(made[0].job_id, jobs_pb2.JOB_STATE_RUNNING)
    made += [await narrow.create(spec, name) for name in names[1:]]
    again = await asyncio.gather(*(narrow.create(spec, name) for name in [*names, "new"] * 10), return_exceptions=True)
    for place, job in enumerate(made):
        assert {repeated.job_id for repeated in again[place::4]} == {job.job_id}
    assert {from_rpc_error(error).reason for error in again[3::4]} == {"QUEUE_FULL"}
    stages.lips.let_go.set()


async def test_one_request_twenty_times_at_once_needs_one_place(narrow: Client, stages: FakeStages) -> None:
    stages.lips.hang_after = 0
    spec = await narrow.spec(seconds=1)
    first = await narrow.create(spec)
    await narrow.until(first.job_id, jobs_pb2.JOB_STATE_RUNNING)
    await narrow.create(spec)  # one place is left
    made = await asyncio.gather(*(narrow.create(spec, "once") for _ in range(20)))
    assert len({job.job_id for job in made}) == 1
    stages.lips.let_go.set()


async def test_jobs_start_in_the_order_of_their_requests(variables: dict[str, str], stages: FakeStages) -> None:
    async with orchestrator_here({**variables, "VISEMA_JOB_SLOTS": "1"}) as address:
        client = Client(address)
        spec = await client.spec(seconds=0.5)
        made = [await client.create(spec) for _ in range(6)]
        ended = [await client.wait(job.job_id) for job in made]
        starts = [job.start_time.ToNanoseconds() for job in ended]
        ends = [job.end_time.ToNanoseconds() for job in ended]
        assert starts == sorted(starts)
        assert all(start >= end for start, end in zip(starts[1:], ends, strict=False)), "two jobs ran in one slot"
        await client.close()
