"""200 ms between the services, and connections that break: the job ends whole."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from harness import Client, no_temporary_objects, orchestrator_here, until
from stage_fakes import STAGE_NAMES, FakeStages
from support.relay import running_relay
from support.slow_link import SlowLink
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.objects import StoreConfig

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DELAY_S = 0.1  # each way


async def test_a_job_ends_whole_over_a_slow_network_that_breaks(
    variables: dict[str, str], stages: FakeStages, store_config: StoreConfig
) -> None:
    stages.lips.hang_after = 2
    async with AsyncExitStack() as network:
        links = {
            name: await network.enter_async_context(running_relay(SlowLink(stages.addresses[name], DELAY_S)))
            for name in STAGE_NAMES
        }
        to_store = await network.enter_async_context(
            running_relay(SlowLink(store_config.endpoint.removeprefix("http://"), DELAY_S))
        )
        far = {f"VISEMA_{name.upper()}_ADDRESS": link.address for name, link in links.items()}
        address = await network.enter_async_context(
            orchestrator_here({**variables, **far, "VISEMA_S3_ENDPOINT": f"http://{to_store.address}"})
        )
        client = Client(address)
        job = await client.create(await client.spec(seconds=4))
        await until(lambda: stages.lips.hanging)
        for link in (*links.values(), to_store):
            link.cut()
        await until(lambda: stages.lips.cancelled)  # the broken stream's segment is not made beside the next one's
        stages.lips.let_go.set()
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        assert ended.result.frame_count == 100
        retries = {stage.stage: stage.retry_count for stage in ended.report.stages}
        assert retries["wav2lip"] > 0
        for orders in (stages.portrait, stages.lips):
            assert all(count == 1 for count in orders.computed.values()), "a segment was made twice"
        await no_temporary_objects(store_config, job.job_id)
        await client.close()
