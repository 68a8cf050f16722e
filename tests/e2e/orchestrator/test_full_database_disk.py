"""The disk of the orchestrator's SQLite database is full: refusals have a name, jobs end, and the sweep goes on."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
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


async def test_the_sweep_goes_on_when_there_is_room_again(
    variables: dict[str, str], stages: FakeStages, tmp_path: Path
) -> None:
    workflows = sa.create_engine(f"{variables['VISEMA_DATABASE_URL']}-workflows")

    def told(statement: str) -> sa.CursorResult[tuple[str]]:
        with workflows.begin() as connection:
            return connection.execute(sa.text(statement), {"job_id": job.job_id})

    def status() -> str | None:
        return told("SELECT status FROM workflow_status WHERE workflow_uuid = :job_id").scalar()

    with orchestrator_process({**variables, "VISEMA_SWEEP_INTERVAL_S": "0.2"}, tmp_path) as running:
        client = Client(await running.address())
        job = await client.wait((await client.create(await client.spec())).job_id)
        await until(lambda: status() == "SUCCESS")  # a moment after its job
        with running.full_disk():
            told("UPDATE workflow_status SET completed_at = 1 WHERE workflow_uuid = :job_id")  # in 1970: it may go
            await until(lambda: "sweep_failed" in running.log_path.read_text())
            assert status() == "SUCCESS"
        await until(lambda: status() is None)
        await client.close()
    workflows.dispose()
