"""One watcher for each job: it serves those who wait, however it ends, and whoever else calls meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema
from visema_gateway.core.watches import Watch
from visema_kit.errors import InternalError, Unavailable, VisemaError

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}


class BrokenClient(AsyncVisema):
    """A client whose events end with an error that nobody foresaw."""

    async def watch_job(
        self, job_id: str, *, after_sequence: int = 0
    ) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        """One event, and a defect."""
        yield jobs_pb2.WatchJobResponse(sequence=after_sequence + 1, job=running(job_id))
        raise RuntimeError("a defect")


def running(job_id: str = "job-1") -> jobs_pb2.Job:
    return jobs_pb2.Job(job_id=job_id, state=jobs_pb2.JOB_STATE_RUNNING)


async def why(watch: Watch) -> type[VisemaError]:
    with pytest.raises(VisemaError) as caught:
        await asyncio.wait_for(watch.end(), PATIENCE_S)
    return caught.type


async def test_those_who_wait_are_told_when_following_fails_unexpectedly() -> None:
    watch = Watch(running())
    watch.start(BrokenClient("127.0.0.1:9"))
    assert await why(watch) is InternalError
    assert watch.over


async def test_those_who_wait_are_told_when_a_watch_is_stopped(
    orchestrator: tuple[str, FakeOrchestrator], script: Script
) -> None:
    script.endless = True
    address, fake = orchestrator
    fake.jobs["job-1"] = running()
    async with AsyncVisema(address) as client:
        for begun in (False, True):  # a task that is cancelled before it has begun runs nothing of its own
            watch = Watch(running())
            watch.start(client)
            if begun:
                assert await watch.changes(PATIENCE_S)
            waiting = asyncio.create_task(why(watch))
            await watch.stop()
            assert await waiting is Unavailable


async def test_any_number_of_other_callers_leaves_a_jobs_watchers_alone(
    web: httpx.AsyncClient, script: Script, orchestrator: tuple[str, FakeOrchestrator]
) -> None:
    script.endless = True
    mine = {"Authorization": "Bearer mine"}
    job_id = (await web.post("/generate", files=FILES, headers=mine)).json()["session_id"]
    assert (await web.get(f"/status/{job_id}", headers=mine)).json()["status"] == "processing"
    for number in range(300):
        await web.get("/v1/jobs", headers={"Authorization": f"Bearer other-{number}"})
    assert {f"Bearer other-{number}" for number in range(300)} < script.tokens
    orchestrator[1].jobs[job_id].state = jobs_pb2.JOB_STATE_CANCELLED
    orchestrator[1].cancelled.set()
    async with asyncio.timeout(PATIENCE_S):
        while (await web.get(f"/status/{job_id}", headers=mine)).json()["status"] != "error":
            await asyncio.sleep(0.02)
