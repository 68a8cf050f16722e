"""The disk of the orchestrator's SQLite database is full in the middle of a job: refusals have a name, the job ends."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from harness import Client, orchestrator_process, reason_of, until
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


async def test_requests_are_refused_by_name_and_the_running_job_ends_when_there_is_room(
    variables: dict[str, str], stages: FakeStages, tmp_path: Path
) -> None:
    stages.lips.hang_after = 1
    with orchestrator_process({**variables, "VISEMA_HEARTBEAT_S": "0.5"}, tmp_path) as running:
        client = Client(await running.address())
        spec = await client.spec(seconds=4)
        job = await client.create(spec)
        await until(lambda: stages.lips.hanging)
        with running.full_disk():
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await client.create(spec)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert reason_of(caught.value) == "STORE_UNAVAILABLE"
            stages.lips.let_go.set()
            await until(lambda: stages.encoder.computed["video"])  # all is made but for the last word
            assert (await client.get(job.job_id)).state == jobs_pb2.JOB_STATE_RUNNING
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        assert ended.result.frame_count == 100
        for orders in (stages.portrait, stages.lips):
            assert all(count == 1 for count in orders.computed.values()), "a segment was made twice"
        again = await client.wait((await client.create(spec)).job_id)  # jobs start as before
        assert again.state == jobs_pb2.JOB_STATE_SUCCEEDED, again.error
        await client.close()
