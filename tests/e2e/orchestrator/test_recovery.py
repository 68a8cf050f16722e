"""kill -9 and orderly restarts: accepted jobs end, exactly once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from dbos import DBOSClient
from harness import PATIENCE_S, Client, no_temporary_objects, orchestrator_here, orchestrator_process, until
from sqlalchemy.orm import Session
from stage_fakes import FakeStages
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_kit.objects import StoreConfig
from visema_orchestrator.app import LONE_EXECUTOR
from visema_orchestrator.store import jobs as jobs_table
from visema_orchestrator.store.database import Database
from visema_orchestrator.store.tables import JobRow
from visema_orchestrator.workflow import WORKFLOW_VERSION

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


async def progressed(client: Client, job_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async for event in client.watch(job_id):
            if event.job.percent > 5:
                return


async def test_a_killed_orchestrator_ends_its_jobs_after_the_restart(
    variables: dict[str, str], stages: FakeStages, store_config: StoreConfig, tmp_path: Path
) -> None:
    for orders in (stages.portrait, stages.lips, stages.encoder):
        orders.pause_s = 0.1
    with orchestrator_process(variables, tmp_path) as process:
        client = Client(await process.address())
        specs = [await client.spec(seconds=10) for _ in range(4)]
        jobs = [await client.create(spec, f"request-{index}") for index, spec in enumerate(specs)]  # two wait
        await progressed(client, jobs[0].job_id)
        await process.kill()
        await client.close()
    await until(lambda: stages.lips.cancelled)
    with orchestrator_process(variables, tmp_path) as process:
        client = Client(await process.address())
        for index, job in enumerate(jobs):
            ended = await client.wait(job.job_id)
            assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, (process.log_path.read_text()[-3000:], ended.error)
            assert ended.result.frame_count == 250
            assert ended.report.quality.frame_count == 250, "segments from before the crash count too"
            assert (await client.create(specs[index], f"request-{index}")).job_id == job.job_id
            await no_temporary_objects(store_config, job.job_id)
        await client.close()
    assert all(count == 1 for count in stages.portrait.computed.values()), "a segment was animated twice"
    assert all(count == 1 for count in stages.lips.computed.values()), "a segment was synced twice"


async def test_an_orderly_restart_keeps_running_and_waiting_jobs(
    variables: dict[str, str], stages: FakeStages, tmp_path: Path
) -> None:
    stages.lips.pause_s = 0.2
    with orchestrator_process(variables, tmp_path) as process:
        client = Client(await process.address())
        jobs = [await client.create(await client.spec(seconds=6)) for _ in range(3)]
        await progressed(client, jobs[0].job_id)
        await client.close()
        assert await process.terminate() == 0
        assert "Traceback" not in process.log_path.read_text()
    with orchestrator_process(variables, tmp_path) as process:
        client = Client(await process.address())
        for job in jobs:
            assert (await client.wait(job.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED
        await client.close()


async def test_an_avatar_is_prepared_after_a_restart(
    variables: dict[str, str], stages: FakeStages, tmp_path: Path
) -> None:
    stages.portrait.pause_s = 0.2
    with orchestrator_process(variables, tmp_path) as process:
        client = Client(await process.address())
        request = avatars_pb2.CreateAvatarRequest(spec=avatars_pb2.AvatarSpec(portrait=await client.portrait()))
        avatar = (await client.avatars.CreateAvatar(request)).avatar
        await until(lambda: stages.portrait.computed)
        await process.kill()
        await client.close()
    with orchestrator_process(variables, tmp_path) as process:
        client = Client(await process.address())
        async with asyncio.timeout(PATIENCE_S):
            while avatar.state == avatars_pb2.AVATAR_STATE_PREPARING:
                await asyncio.sleep(0.1)
                get = avatars_pb2.GetAvatarRequest(avatar_id=avatar.avatar_id)
                avatar = (await client.avatars.GetAvatar(get)).avatar
        assert avatar.state == avatars_pb2.AVATAR_STATE_READY
        await client.close()
    assert all(count == 1 for count in stages.portrait.computed.values())


async def test_what_is_left_of_a_job_that_has_ended_elsewhere_goes(
    variables: dict[str, str], stages: FakeStages, store_config: StoreConfig
) -> None:
    """As when this process was taken for dead: at its next sign of progress it sees that the job is not its own."""

    def end(job: jobs_pb2.Job) -> None:
        job.state = jobs_pb2.JOB_STATE_CANCELLED

    stages.encoder.hang_after = 1
    database = Database(variables["VISEMA_DATABASE_URL"])
    async with orchestrator_here(variables) as address:
        client = Client(address)
        job = await client.create(await client.spec(seconds=4))
        await until(lambda: stages.encoder.hanging and len(stages.lips.computed) == 4)
        assert await database.write(jobs_table.hand_over, job.job_id, LONE_EXECUTOR, "another")
        assert await database.write(jobs_table.change, job.job_id, "another", end, is_progress=False)
        waiting, stages.encoder.let_go = stages.encoder.let_go, asyncio.Event()
        stages.encoder.hang_after = 3
        waiting.set()  # it goes on a little, which is the sign
        await no_temporary_objects(store_config, job.job_id)
        await client.close()
    database.close()


async def test_a_recovered_job_that_waits_for_a_slot_is_owned_by_the_process_where_it_waits(
    variables: dict[str, str], stages: FakeStages
) -> None:
    """Or nobody would bring it on should that process end."""
    stages.lips.hang_after = 1
    async with orchestrator_here({**variables, "VISEMA_JOB_SLOTS": "1"}) as address:
        client = Client(address)
        jobs = [await client.create(await client.spec()) for _ in range(2)]
        await until(lambda: stages.lips.hanging == 1)
        database = Database(variables["VISEMA_DATABASE_URL"])
        claimed = await database.write(jobs_table.claim, "another process")
        assert claimed is not None
        assert claimed.job_id == jobs[1].job_id
        workflows = DBOSClient(system_database_url=f"{variables['VISEMA_DATABASE_URL']}-workflows")
        recovered = {"workflow_name": "job", "workflow_id": claimed.job_id, "app_version": WORKFLOW_VERSION}
        await workflows.enqueue_async({**recovered, "queue_name": "_dbos_internal_queue"}, claimed.job_id)
        async with asyncio.timeout(PATIENCE_S):
            while await database.read(jobs_table.running_owners) != {LONE_EXECUTOR}:
                await asyncio.sleep(0.02)
        assert stages.lips.hanging == 1, "it did not wait"
        stages.lips.let_go.set()
        for job in jobs:
            assert (await client.wait(job.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED
        workflows.destroy()
        database.close()
        await client.close()


async def test_jobs_start_again_after_a_defect_in_the_orchestrators_duties(
    variables: dict[str, str], stages: FakeStages, tmp_path: Path
) -> None:
    """A row that nobody can read stands for it: until it is mended, no job can be taken from the queue."""
    stages.lips.hang_after = 1
    with orchestrator_process({**variables, "VISEMA_JOB_SLOTS": "1"}, tmp_path) as process:
        client = Client(await process.address())
        jobs = [await client.create(await client.spec()) for _ in range(2)]
        await until(lambda: stages.lips.hanging == 1)
        database = Database(variables["VISEMA_DATABASE_URL"])

        def write(session: Session, content: bytes) -> bytes:
            row = session.get_one(JobRow, jobs[1].job_id)
            former, row.job = row.job, content
            return former

        former = await database.write(write, b"no job")
        stages.lips.let_go.set()
        await until(lambda: "duty_crashed" in process.log_path.read_text())
        await database.write(write, former)
        for job in jobs:
            assert (await client.wait(job.job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED
        database.close()
        await client.close()
