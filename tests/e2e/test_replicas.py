"""Two replicas of every stage behind one address: one is killed, and jobs finish on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from support.real_stack import PATIENCE_S, STAGES, RealStack, running_stack_of
from support.seaweed import S3Server
from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema, VideoSettings
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("kills")]


@dataclass(frozen=True)
class Pairs:
    """A whole stack, and beside it a second replica of each stage."""

    stack: RealStack
    twins: RealStack


@pytest.fixture(scope="module")
def pairs(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    twins = RealStack(tmp_path_factory.mktemp("twins"), s3_server, services=STAGES)
    stack = RealStack(tmp_path_factory.mktemp("stack"), s3_server)
    for stage in STAGES:  # as a headless service of Kubernetes gives one name to the addresses of all replicas
        stack.told_addresses[stage] = f"ipv4:{stack.addresses[stage]},{twins.addresses[stage]}"
    with running_stack_of(twins), running_stack_of(stack):
        yield Pairs(stack, twins)


def serving(replica: RealStack, stage: str) -> float:
    """Calls that a replica serves at this moment."""
    text = urllib3.request("GET", replica.metrics_url(stage)).data.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == "visema_inflight")


@pytest.mark.parametrize("stage", STAGES)
async def test_jobs_finish_when_a_replica_of_a_stage_is_killed(pairs: Pairs, stage: str) -> None:
    motion = VideoSettings(size_px=256, seed=1 + STAGES.index(stage))  # nothing of it is stored
    async with AsyncVisema(pairs.stack.address) as client, asyncio.timeout(2 * PATIENCE_S):
        spec = await client.job_spec(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", settings=motion)
        jobs = [await client.create_job(spec) for _ in range(2)]
        async for update in client.watch_job(jobs[0].job_id):
            if update.job.percent > 0:
                break
        busy = [replica for replica in (pairs.stack, pairs.twins) if await asyncio.to_thread(serving, replica, stage)]
        victim = busy[0] if busy else pairs.stack
        await victim.kill(stage)
        ended = [(await client.wait_job(job.job_id)).job for job in jobs]
        later = (await client.wait_job((await client.create_job(spec)).job_id)).job
    victim.start(stage)
    await victim.ready(stage)
    for job in (*ended, later):
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert job.result.frame_count == ended[0].result.frame_count
