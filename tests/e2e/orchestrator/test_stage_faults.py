"""Stages that break, are busy, or go away: the job mends what can be mended and computes nothing twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from harness import PATIENCE_S, Client, environment, no_temporary_objects, orchestrator_here, until
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.status import from_status

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED


def retries(job: jobs_pb2.Job) -> dict[str, int]:
    return {stage.stage: stage.retry_count for stage in job.report.stages}


@pytest.mark.parametrize("stage", ["portrait", "lips", "encoder"])
async def test_a_stream_that_breaks_twice_goes_on_and_no_segment_is_made_twice(
    client: Client, stages: FakeStages, stage: str
) -> None:
    getattr(stages, stage).break_after = [2, 1]
    job = await client.create(await client.spec(seconds=6))
    ended = await client.wait(job.job_id)
    assert ended.state == SUCCEEDED, ended.error
    assert ended.result.frame_count == 150
    assert ended.report.quality.frame_count == 150, "each segment counts once, also those before a break"
    name = {"portrait": "liveportrait", "lips": "wav2lip", "encoder": "encoder"}[stage]
    assert retries(ended)[name] == 2
    for orders in (stages.portrait, stages.lips, stages.encoder):
        assert all(count == 1 for count in orders.computed.values()), orders.computed


async def test_lip_sync_resumes_at_the_first_missing_segment_with_the_first_as_reference(
    client: Client, stages: FakeStages
) -> None:
    stages.lips.break_after = [3]
    ended = await client.wait((await client.create(await client.spec(seconds=6))).job_id)
    assert ended.state == SUCCEEDED
    first, second = stages.lips.opened
    assert not first.HasField("reference"), "the first segment serves, and the stage opens before it exists"
    assert second.reference.index == 0
    assert second.reference.object.key


async def test_stage_one_resumes_at_the_first_missing_segment(client: Client, stages: FakeStages) -> None:
    stages.portrait.break_after = [4]
    await client.wait((await client.create(await client.spec(seconds=6))).job_id)
    starts = [request.first_segment_index for request in stages.portrait.opened if hasattr(request, "motion")]
    assert starts == [0, 4]


@pytest.mark.parametrize("stage", ["portrait", "lips", "encoder"])
async def test_a_busy_device_is_waited_for(client: Client, stages: FakeStages, stage: str) -> None:
    getattr(stages, stage).busy = 3
    ended = await client.wait((await client.create(await client.spec())).job_id)
    assert ended.state == SUCCEEDED


@pytest.mark.parametrize("name", ["liveportrait", "wav2lip", "encoder"])
async def test_a_stage_that_restarts_in_the_middle_does_not_fail_the_job(
    client: Client, stages: FakeStages, name: str
) -> None:
    for orders in (stages.portrait, stages.lips, stages.encoder):
        orders.pause_s = 0.1
    job = await client.create(await client.spec(seconds=6))
    async with asyncio.timeout(PATIENCE_S):
        async for event in client.watch(job.job_id):
            if event.job.percent > 0:
                break
    await stages.stop(name)
    await asyncio.sleep(0.5)
    await stages.start(name)
    ended = await client.wait(job.job_id)
    assert ended.state == SUCCEEDED, ended.error
    assert ended.result.frame_count == 150


async def test_a_stage_that_stays_away_fails_the_job_after_the_patience(
    stages: FakeStages, store_config: StoreConfig, tmp_path: Path
) -> None:
    await stages.stop("wav2lip")
    variables = environment(
        stages, store_config, f"sqlite:///{tmp_path}/visema.db", metrics_listen="off", grace_s=1, stage_patience_s=1
    )
    async with orchestrator_here(variables) as address:
        client = Client(address)
        job = await client.create(await client.spec())
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_FAILED
        error = from_status(ended.error)
        assert error.reason == "STAGE_UNAVAILABLE"
        assert error.metadata["stage"] == "wav2lip"
        assert ended.report.stages
        await no_temporary_objects(store_config, job.job_id)
        await client.close()


async def test_a_fault_that_no_retry_mends_fails_the_job_at_once(
    client: Client, stages: FakeStages, object_store: ObjectStore
) -> None:
    stages.portrait.hang_after = 1
    spec = await client.spec(seconds=4)
    job = await client.create(spec)
    await client.until(job.job_id, jobs_pb2.JOB_STATE_RUNNING)
    await until(lambda: stages.lips.computed)
    segment = next(iter(stages.portrait.computed))
    await object_store.delete(segment)  # a segment disappears under the stages
    stages.lips.break_after = [0]
    await stages.stop("wav2lip")
    await stages.start("wav2lip")
    ended = await client.wait(job.job_id)
    assert ended.state == jobs_pb2.JOB_STATE_FAILED
    assert from_status(ended.error).reason == "OBJECT_NOT_FOUND"
    await until(lambda: stages.portrait.cancelled)  # the other stages must stop
