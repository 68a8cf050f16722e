"""CancelJob and deadlines: at every stage work stops soon and nothing temporary stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import Client, environment, no_temporary_objects, orchestrator_here, until
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.objects import StoreConfig
from visema_kit.status import from_status

CANCELLED = jobs_pb2.JOB_STATE_CANCELLED
STOP_S = 1.0  # work stops within a second
ATTEMPTS = 5


async def cancel(client: Client, job_id: str) -> jobs_pb2.Job:
    return (await client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job_id))).job


@pytest.mark.parametrize("stage", ["portrait", "lips", "encoder"])
async def test_a_cancelled_job_stops_the_stage_that_works(
    client: Client, stages: FakeStages, store_config: StoreConfig, stage: str
) -> None:
    orders = getattr(stages, stage)
    orders.hang_after = 1
    took_s = []
    while not took_s or (took_s[-1] > STOP_S and len(took_s) < ATTEMPTS):  # a busy machine may be late once
        job = await client.create(await client.spec(seconds=5))
        await until(lambda: orders.hanging > len(took_s))
        started = time.monotonic()
        await cancel(client, job.job_id)
        ended = await client.wait(job.job_id)
        await until(lambda: orders.cancelled > len(took_s))
        took_s.append(time.monotonic() - started)
        assert ended.state == CANCELLED
        await no_temporary_objects(store_config, job.job_id)
    assert took_s[-1] <= STOP_S


async def test_a_queued_job_is_cancelled_without_having_run(client: Client, stages: FakeStages) -> None:
    stages.lips.hang_after = 0
    running = [await client.create(await client.spec()) for _ in range(2)]  # two slots
    waiting = await client.create(await client.spec())
    for job in running:
        await client.until(job.job_id, jobs_pb2.JOB_STATE_RUNNING)
    assert (await cancel(client, waiting.job_id)).state == CANCELLED
    assert not (await client.get(waiting.job_id)).HasField("start_time")
    for job in running:
        await cancel(client, job.job_id)
        assert (await client.wait(job.job_id)).state == CANCELLED


async def test_cancelling_an_ended_job_changes_nothing(client: Client) -> None:
    job = await client.create(await client.spec(seconds=0.5))
    await client.wait(job.job_id)
    assert (await cancel(client, job.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_a_slot_is_free_again_after_a_cancelled_job(client: Client, stages: FakeStages) -> None:
    stages.portrait.hang_after = 0
    stuck = [await client.create(await client.spec()) for _ in range(2)]
    last = await client.create(await client.spec(seconds=0.5))
    for job in stuck:
        await client.until(job.job_id, jobs_pb2.JOB_STATE_RUNNING)
    stages.portrait.hang_after = None
    for job in stuck:
        await cancel(client, job.job_id)
    assert (await client.wait(last.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize("stage", ["portrait", "lips", "encoder"])
async def test_a_job_that_takes_too_long_ends_with_its_deadline_at_every_stage(
    stages: FakeStages, store_config: StoreConfig, tmp_path: Path, stage: str
) -> None:
    getattr(stages, stage).hang_after = 1
    variables = environment(
        stages, store_config, f"sqlite:///{tmp_path}/visema.db", metrics_listen="off", grace_s=1, job_timeout_s=1.0
    )
    async with orchestrator_here(variables) as address:
        client = Client(address)
        job = await client.create(await client.spec(seconds=5))
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_FAILED
        assert from_status(ended.error).reason == "DEADLINE_EXCEEDED"
        await no_temporary_objects(store_config, job.job_id)
        await client.close()
