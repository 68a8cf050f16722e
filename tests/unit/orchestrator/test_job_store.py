"""The job table: queue, events, ownership, tenants. On SQLite; PostgreSQL is covered by the end-to-end tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.errors import JobNotEnded, JobNotFound, QueueFull, RequestIdReused
from visema_orchestrator.ids import new_id
from visema_orchestrator.store import executors, jobs, media
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.store.paging import Page

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED


@pytest.fixture
async def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    await database.migrate()
    yield database
    database.close()


async def add(
    database: Database, tenant: str = "default", request_id: str = "", limit: int = 100, digest: str = "digest"
) -> str:
    """Queue a job. Returns: its id, or that of the job which the request made before."""
    job = jobs_pb2.Job(job_id=new_id(), request_id=request_id, state=jobs.QUEUED)
    job.spec.title = "a title"
    job.create_time.CopyFrom(jobs.timestamp(now_us()))
    new = jobs.NewJob(jobs.Asked(tenant, request_id, digest), "media/x/y", job)
    return (await database.write(jobs.add, new, limit)).job_id


def finish(job: jobs_pb2.Job) -> None:
    job.state = SUCCEEDED


def advance(job: jobs_pb2.Job) -> None:
    job.percent += 1


async def test_the_job_that_waited_longest_is_claimed_first(database: Database) -> None:
    made = [await add(database) for _ in range(3)]
    claimed = [await database.write(jobs.claim, "me") for _ in range(4)]
    assert [event.job_id for event in claimed if event] == made
    assert claimed[3] is None
    assert claimed[0].job.state == jobs.RUNNING
    assert claimed[0].job.HasField("start_time")


async def test_no_job_is_claimed_twice_by_many_at_once(database: Database) -> None:
    made = {await add(database) for _ in range(10)}
    events = await asyncio.gather(*(database.write(jobs.claim, f"process-{index}") for index in range(20)))
    claimed = [event.job_id for event in events if event]
    assert len(claimed) == len(set(claimed)) == len(made)


async def test_the_queue_has_an_end(database: Database) -> None:
    await add(database, limit=1)
    with pytest.raises(QueueFull):
        await add(database, limit=1)


async def test_a_request_makes_one_job_in_its_tenant_even_when_the_queue_is_full(database: Database) -> None:
    first = await add(database, "a", "same")
    second = await add(database, "b", "same")
    assert first != second
    assert await add(database, "a", "same", limit=1) == first
    with pytest.raises(RequestIdReused):
        await add(database, "a", "same", digest="other digest")
    with pytest.raises(QueueFull):
        await add(database, "c", "same", limit=2)


async def test_requests_that_are_asked_for_together_are_each_told_how_it_stands(database: Database) -> None:
    first, second = await add(database, "a", "same"), await add(database, "b", "same")
    await add(database, "a")
    asked = [jobs.Asked(tenant, request_id, "digest") for tenant in "abc" for request_id in ("same", "new", "")]
    standings = await database.read(jobs.standings, asked)
    made = [job and job.job_id for job in map(jobs.Standing.known_job, standings, asked)]
    assert made == [first, None, None, second, None, None, None, None, None]
    assert {standing.queued for standing in standings} == {3}
    with pytest.raises(RequestIdReused):
        standings[0].known_job(jobs.Asked("a", "same", "other digest"))


async def test_jobs_without_a_request_id_do_not_collide(database: Database) -> None:
    assert await add(database) != await add(database)


async def test_only_the_owner_changes_a_job_and_nobody_after_its_end(database: Database) -> None:
    job_id = await add(database)
    await database.write(jobs.claim, "owner")
    assert await database.write(jobs.change, job_id, "stranger", advance, is_progress=True) is None
    assert (await database.write(jobs.change, job_id, "owner", advance, is_progress=True)).job.percent == 1
    await database.write(jobs.adopt, job_id, "heir")
    assert await database.write(jobs.change, job_id, "owner", advance, is_progress=True) is None
    assert (await database.write(jobs.change, job_id, "heir", finish, is_progress=False)).is_last
    assert await database.write(jobs.change, job_id, "heir", advance, is_progress=False) is None
    assert await database.write(jobs.adopt, job_id, "late") is None


async def test_a_newer_progress_replaces_the_older_event_and_numbers_rise(database: Database) -> None:
    job_id = await add(database)
    await database.write(jobs.claim, "me")
    for _ in range(5):
        await database.write(jobs.change, job_id, "me", advance, is_progress=True)
    events = await database.read(jobs.events_after, "default", job_id, 0)
    assert [event.sequence for event in events] == [1, 2, 7]
    assert [event.job.percent for event in events] == [0, 0, 5]
    assert all(event.job.spec.title == "a title" for event in events)
    assert [event.sequence for event in await database.read(jobs.events_after, "default", job_id, 2)] == [7]


async def test_another_tenants_job_is_not_found(database: Database) -> None:
    job_id = await add(database, "mine")
    for call in (
        database.read(jobs.get, "theirs", job_id),
        database.read(jobs.events_after, "theirs", job_id, 0),
        database.write(jobs.request_cancel, "theirs", job_id, finish),
        database.write(jobs.delete, "theirs", job_id),
    ):
        with pytest.raises(JobNotFound):
            await call
    assert await database.read(jobs.get_page, "theirs", Page(10, ""), [], "") == []


async def test_a_job_is_deleted_with_its_events_once_it_has_ended(database: Database) -> None:
    job_id = await add(database)
    with pytest.raises(JobNotEnded):
        await database.write(jobs.delete, "default", job_id)
    await database.write(jobs.claim, "me")
    await database.write(jobs.change, job_id, "me", finish, is_progress=False)
    await database.write(jobs.delete, "default", job_id)
    with pytest.raises(JobNotFound):
        await database.read(jobs.events_after, "default", job_id, 0)


async def test_a_claimed_job_that_never_started_goes_back_to_the_queue(database: Database) -> None:
    job_id = await add(database)
    await database.write(jobs.claim, "dead")
    assert not await database.write(jobs.requeue, job_id, "somebody else")
    assert await database.write(jobs.requeue, job_id, "dead")
    assert (await database.write(jobs.claim, "me")).job_id == job_id


async def test_a_dead_owners_job_has_one_heir(database: Database) -> None:
    job_id = await add(database)
    await database.write(jobs.claim, "dead")
    results = await asyncio.gather(
        *(database.write(jobs.hand_over, job_id, "dead", f"heir-{index}") for index in range(5))
    )
    assert sum(results) == 1


async def test_processes_without_a_sign_of_life_are_dead(database: Database) -> None:
    await database.write(executors.beat, "old")
    since = now_us() + 1
    while now_us() <= since:
        await asyncio.sleep(0)
    await database.write(executors.beat, "new")
    assert await database.read(executors.alive_since, since) == {"new"}


async def test_what_waiting_jobs_read_is_in_use(database: Database) -> None:
    job_id = await add(database)
    await database.write(jobs.set_loop, job_id, "loops/default/abc/")
    assert await database.read(jobs.keys_in_use) == {("default", "media/x/y"), ("default", "loops/default/abc/")}
    await database.write(jobs.claim, "me")
    await database.write(jobs.change, job_id, "me", finish, is_progress=False)
    assert await database.read(jobs.keys_in_use) == set()


async def test_objects_are_unused_from_their_last_use_on(database: Database) -> None:
    await database.write(media.touch, "default", media.MEDIA, "media/default/a", 100)
    await database.write(media.touch, "default", media.MEDIA, "media/default/b", 300)
    assert await database.read(media.unused, media.MEDIA, 200, 10) == [("default", "media/default/a")]
    await database.write(media.touch, "default", media.MEDIA, "media/default/a", 400)
    assert await database.read(media.unused, media.MEDIA, 200, 10) == []
