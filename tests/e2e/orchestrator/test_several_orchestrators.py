"""Two orchestrators on one PostgreSQL share the queue, the events and the cancellations; a dead one's jobs go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from dbos import DBOSClient
from harness import (
    PATIENCE_S,
    Client,
    OrchestratorProcess,
    environment,
    no_temporary_objects,
    orchestrator_process,
    reason_of,
    until,
)
from sqlalchemy.orm import Session
from stage_fakes import FakeStages
from support.postgres import Postgres, missing_reason, running_postgres
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.database import Database, url_with_driver
from visema_kit.objects import StoreConfig
from visema_orchestrator.caretaker import MISSED_BEATS
from visema_orchestrator.settings import OrchestratorSettings
from visema_orchestrator.store import jobs as jobs_table
from visema_orchestrator.store.tables import ExecutorRow

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_reason()), reason=missing_reason() or "PostgreSQL is there"),
]

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED
CANCELLED_S = 3.0  # half a second until the other process hears of it, and what it does then
ATTEMPTS = 5
# The last sign of the dead one is no older than its death. Signs of a living one lie at least a heartbeat apart; with
# one of its own soon after the death, the next but `MISSED_BEATS` finds the dead one's too old. One more for its clock.
BEATS_UNTIL_TAKEN_OVER = MISSED_BEATS + 3
DBOS_POLL_S = 1.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def queue_limit() -> int:
    """Jobs that may wait; a test can take another number with `parametrize`."""
    return 64


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """The orchestrators' own database."""
    return postgres.create_database(f"visema_{os.getpid()}_{time.monotonic_ns()}")


@pytest.fixture
async def database(database_url: str, pair: list[OrchestratorProcess]) -> AsyncIterator[Database]:
    """The tables that the two share, once they are there."""
    for process in pair:
        await process.address()
    database = Database(url_with_driver(database_url))
    yield database
    database.close()


@pytest.fixture
def pair(
    database_url: str, stages: FakeStages, store_config: StoreConfig, tmp_path: Path, queue_limit: int
) -> Iterator[list[OrchestratorProcess]]:
    """Two orchestrators, each with one slot."""

    def variables(name: str) -> dict[str, str]:
        own = {"executor_id": name, "job_slots": 1, "queue_limit": queue_limit, "heartbeat_s": 0.5, "grace_s": 1}
        return environment(stages, store_config, database_url, metrics_listen="off", **own)

    with (
        orchestrator_process(variables("one"), tmp_path, "one") as one,
        orchestrator_process(variables("two"), tmp_path, "two") as two,
    ):
        yield [one, two]


async def test_both_work_on_one_queue_and_show_the_same_jobs(
    pair: list[OrchestratorProcess], stages: FakeStages
) -> None:
    stages.lips.hang_after = 0
    first, second = [Client(await process.address()) for process in pair]
    jobs = [await first.create(await first.spec(seconds=4)) for _ in range(4)]
    async with asyncio.timeout(PATIENCE_S):
        while not all(job.state == SUCCEEDED for job in jobs):
            jobs = list((await second.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs)
            if sum(job.state == jobs_pb2.JOB_STATE_RUNNING for job in jobs) == 2:  # both work: they may go on
                stages.lips.let_go.set()
            await asyncio.sleep(0.05)
    assert all(count == 1 for count in stages.lips.computed.values())
    await first.close()
    await second.close()


async def test_a_job_can_be_watched_and_cancelled_through_the_other_one(
    pair: list[OrchestratorProcess], stages: FakeStages
) -> None:
    stages.lips.hang_after = 1
    first, second = [Client(await process.address()) for process in pair]
    took_s: list[float] = []
    while not took_s or (took_s[-1] > CANCELLED_S and len(took_s) < ATTEMPTS):  # a busy machine may be late once
        job = await first.create(await first.spec(seconds=4))
        await until(lambda: stages.lips.hanging > len(took_s))
        watching = [asyncio.create_task(client.wait(job.job_id)) for client in (first, second)]
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await second.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.job_id))
        ended = await asyncio.gather(*watching)
        took_s.append(time.monotonic() - started)
        assert {each.state for each in ended} == {jobs_pb2.JOB_STATE_CANCELLED}
        await until(lambda: stages.lips.cancelled == len(took_s))
    assert took_s[-1] <= CANCELLED_S
    await first.close()
    await second.close()


async def test_one_request_sent_to_both_at_once_makes_one_job(pair: list[OrchestratorProcess]) -> None:
    clients = [Client(await process.address()) for process in pair]
    spec = await clients[0].spec(seconds=0.5)
    made = await asyncio.gather(*(client.create(spec, "once") for client in clients * 10))
    assert len({job.job_id for job in made}) == 1
    assert (await clients[1].wait(made[0].job_id)).state == SUCCEEDED
    for client in clients:
        await client.close()


@pytest.mark.parametrize("queue_limit", [2])
async def test_a_flood_through_both_keeps_to_one_limit_and_refuses_nobody_whom_either_accepted(
    pair: list[OrchestratorProcess], stages: FakeStages
) -> None:
    stages.lips.hang_after = 0
    clients = [Client(await process.address()) for process in pair]
    spec = await clients[0].spec(seconds=0.5)
    running = [await clients[0].create(spec) for _ in range(2)]
    await until(lambda: stages.lips.hanging == 2)
    answers = await asyncio.gather(
        *(client.create(spec, f"request {number}") for number, client in enumerate(clients * 10)),
        return_exceptions=True,
    )
    accepted = [job for job in answers if isinstance(job, jobs_pb2.Job)]
    refusals = [reason_of(error) for error in answers if isinstance(error, grpc.aio.AioRpcError)]
    assert (len(accepted), refusals) == (2, ["QUEUE_FULL"] * 18)
    for client in clients:
        again = [await client.create(spec, job.request_id) for job in accepted]
        assert [job.job_id for job in again] == [job.job_id for job in accepted]
    stages.lips.let_go.set()
    for job in (*running, *accepted):
        assert (await clients[1].wait(job.job_id)).state == SUCCEEDED
    for client in clients:
        await client.close()


def test_with_the_default_settings_a_dead_ones_jobs_are_taken_over_within_thirty_seconds() -> None:
    heartbeat_s: float = OrchestratorSettings.model_fields["heartbeat_s"].default
    assert BEATS_UNTIL_TAKEN_OVER * heartbeat_s + DBOS_POLL_S < 30


def last_beat(session: Session, name: str) -> int | None:
    """When a process gave its newest sign of life."""
    return session.scalar(sa.select(ExecutorRow.beat_us).where(ExecutorRow.executor_id == name))


async def beats_until(database: Database, name: str, condition: Callable[[], Awaitable[bool]]) -> int:
    """How often a process gives a sign of life until something is true: time as a busy machine feels it."""
    seen = {await database.read(last_beat, name)}
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            seen.add(await database.read(last_beat, name))
            await asyncio.sleep(0.02)
    return len(seen) - 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_dead_ones_jobs_are_taken_over_and_its_slots_are_freed(
    pair: list[OrchestratorProcess],
    database: Database,
    stages: FakeStages,
    store_config: StoreConfig,
    how: signal.Signals,
) -> None:
    """SIGSTOP: the process is there but does nothing; when it wakes up it must not spoil what the other one did."""

    async def is_disowned() -> bool:
        return "one" not in await database.read(jobs_table.running_owners)

    stages.lips.hang_after = 2
    first, second = [Client(await process.address()) for process in pair]
    jobs = [await first.create(await first.spec(seconds=8)) for _ in range(2)]
    await until(lambda: stages.lips.hanging == 2)
    assert await database.read(jobs_table.running_owners) == {"one", "two"}
    pair[0].process.send_signal(how)
    stages.lips.let_go.set()
    assert await beats_until(database, "two", is_disowned) <= BEATS_UNTIL_TAKEN_OVER
    for job in jobs:
        ended = await second.wait(job.job_id)
        assert ended.state == SUCCEEDED, ended.error
        assert ended.result.frame_count == 200
    if how == signal.SIGSTOP:
        stages.lips.hang_after, stages.lips.let_go = 0, asyncio.Event()  # what it still sends is not worked on
        pair[0].process.send_signal(signal.SIGCONT)

        for _ in range(3):  # it was forgotten; now it lives
            was = await database.read(last_beat, "one")
            async with asyncio.timeout(PATIENCE_S):
                while await database.read(last_beat, "one") in {was, None}:
                    await asyncio.sleep(0.02)
        for job in jobs:
            assert (await second.get(job.job_id)).state == SUCCEEDED
    for job in jobs:
        await no_temporary_objects(store_config, job.job_id)
    assert all(count == 1 for count in stages.portrait.computed.values())
    await first.close()
    await second.close()


def refuse_resumptions(session: Session) -> None:
    """From now on DBOS' database has a fault where a workflow is resumed."""
    session.execute(
        sa.text(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON dbos.workflow_status FOR EACH ROW EXECUTE FUNCTION refuse();"
        )
    )


async def test_a_takeover_that_fails_half_way_is_brought_on(
    pair: list[OrchestratorProcess], stages: FakeStages, database: Database
) -> None:
    """The job is the other one's by then, and no process comes for it any more."""
    stages.lips.hang_after = 1
    first = Client(await pair[0].address())
    job = await first.create(await first.spec(seconds=4))
    await until(lambda: stages.lips.hanging == 1)
    (owner,) = await database.read(jobs_table.running_owners)
    dead, heir = pair if owner == "one" else reversed(pair)
    client = Client(await heir.address())
    await database.write(refuse_resumptions)
    await dead.kill()
    await until(lambda: "duty_failed" in heir.log_path.read_text())
    await database.write(lambda session: session.execute(sa.text("DROP TRIGGER refuse ON dbos.workflow_status")))
    stages.lips.let_go.set()
    ended = await client.wait(job.job_id)
    assert ended.state == SUCCEEDED, ended.error
    assert ended.result.frame_count == 100
    await first.close()
    await client.close()


async def test_one_that_is_only_slow_leaves_its_jobs_workflow_to_the_other_one(
    pair: list[OrchestratorProcess], stages: FakeStages, database: Database
) -> None:
    """A process may be taken for dead too early. When it notices, the new owner may not have begun yet."""
    stages.lips.pause_s = 0.5  # progress, by which the first one notices
    first, second = [Client(await process.address()) for process in pair]
    job = await first.create(await first.spec(seconds=8))
    await until(lambda: len(stages.lips.computed) >= 1)
    (owner,) = await database.read(jobs_table.running_owners)
    assert await database.write(jobs_table.hand_over, job.job_id, owner, {"one": "two", "two": "one"}[owner])
    await until(lambda: stages.lips.cancelled == 1)
    workflows = DBOSClient(system_database_url=database.url)
    await workflows.resume_workflow_async(job.job_id)
    workflows.destroy()
    stages.lips.pause_s = 0
    ended = await second.wait(job.job_id)
    assert ended.state == SUCCEEDED, ended.error
    assert ended.result.frame_count == 200
    await first.close()
    await second.close()
