"""One watcher for each job: it serves those who wait, however it ends, and whoever else calls meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema
from visema_gateway.core.callers import Caller, Clients
from visema_gateway.core.watches import EVENTS_KEPT, Encodings, Event, Watch, Watches
from visema_kit.errors import InternalError, Unavailable, VisemaError

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}
CHATTY_EVENTS = 5000
TEXT = "x" * 5000


class BrokenClient(AsyncVisema):
    """A client whose events end with an error that nobody foresaw."""

    async def watch_job(
        self, job_id: str, *, after_sequence: int = 0
    ) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        """One event, and a defect."""
        yield jobs_pb2.WatchJobResponse(sequence=after_sequence + 1, job=running(job_id))
        raise RuntimeError("a defect")


class ChattyClient(AsyncVisema):
    """A client of a job that tells its whole text with each of very many events."""

    async def watch_job(
        self, job_id: str, *, after_sequence: int = 0
    ) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        """Thousands of events, and the end."""
        for sequence in range(after_sequence + 1, CHATTY_EVENTS + 1):
            job = running(job_id)
            job.spec.text.text = TEXT
            if sequence == CHATTY_EVENTS:
                job.state = jobs_pb2.JOB_STATE_SUCCEEDED
            yield jobs_pb2.WatchJobResponse(sequence=sequence, job=job)


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


async def test_a_long_job_keeps_its_beginning_and_its_end_but_not_every_step() -> None:
    watch = Watch(running())
    watch.job.spec.text.text = TEXT
    watch.start(ChattyClient("127.0.0.1:9"))
    await asyncio.wait_for(watch.end(), PATIENCE_S)
    numbers = [event.sequence for event in watch.events]
    assert (numbers[0], numbers[-1]) == (1, CHATTY_EVENTS)
    assert numbers == sorted(set(numbers))
    assert EVENTS_KEPT // 2 <= len(numbers) <= EVENTS_KEPT
    assert watch.size_bytes < 2 * len(TEXT) + 100 * EVENTS_KEPT  # the text is there once
    assert watch.view(watch.events[0]).text == TEXT
    assert [event.sequence for event in watch.after(CHATTY_EVENTS - 1)] == [CHATTY_EVENTS]
    assert watch.after(0) == watch.events


async def test_ended_jobs_take_no_more_memory_than_they_may(orchestrator: tuple[str, FakeOrchestrator]) -> None:
    address, fake = orchestrator
    caller = Caller("default", None)
    clients = Clients(address, None)
    watches = Watches(clients, ended_bytes=5 * len(TEXT))
    for number in range(12):
        job = fake.jobs[f"job-{number}"] = running(f"job-{number}")
        job.state = jobs_pb2.JOB_STATE_CANCELLED
        job.spec.text.text = TEXT
        await asyncio.wait_for((await watches.of(caller, job.job_id)).end(), PATIENCE_S)
    assert len(TEXT) < watches.ended_bytes <= 5 * len(TEXT)
    asked = fake.script.calls["GetJob"]
    await watches.of(caller, "job-11")
    assert fake.script.calls["GetJob"] == asked  # the newest is known
    await watches.of(caller, "job-0")
    assert fake.script.calls["GetJob"] == asked + 1  # the oldest was forgotten, and is asked for again
    await watches.close()
    await clients.close()


def test_an_event_is_encoded_once_for_all_streams_and_the_longest_unused_goes() -> None:
    events = [Event(number, "", running()) for number in range(3)]
    made: list[int] = []

    def body_of(kept: Encodings, event: Event) -> bytes:
        def encode() -> bytes:
            made.append(event.sequence)
            return b"%d" % event.sequence * 40

        return kept.of(event, encode)

    kept = Encodings(limit_bytes=100)
    for _stream in range(50):
        assert [body_of(kept, event) for event in events[:2]] == [b"0" * 40, b"1" * 40]
    assert made == [0, 1]
    body_of(kept, events[0])
    body_of(kept, events[2])  # there is room for two
    body_of(kept, events[0])
    assert made == [0, 1, 2]
    body_of(kept, events[1])
    assert made == [0, 1, 2, 1]
