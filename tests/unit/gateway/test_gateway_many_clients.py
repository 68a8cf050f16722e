"""Two hundred clients of one job at once: none misses an event, whenever it comes, and too many are told so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema.orchestrator.v1 import jobs_pb2

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
EARLY, AT_THE_END, LATE, POLLING = 60, 20, 20, 100
EVENTS = [str(number) for number in range(1, 8)]
FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}


@pytest.fixture
async def url(orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path) -> AsyncIterator[str]:
    """A gateway that does not mind that all of its clients come from one address."""
    async with serving(orchestrator[0], tmp_path, read_rate_per_s=1e6) as url:
        yield url


# Hundreds of clients in the gateway's own process: sockets, because they cost next to nothing.
async def asked(url: str, path: str, version: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = urlsplit(url).netloc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    return reader, writer


async def followed(url: str, job_id: str, begun: asyncio.Event) -> tuple[list[str], int]:
    """(numbers of the events in the order in which they came, how many of them were the last)."""
    reader, writer = await asked(url, f"/v1/jobs/{job_id}/events", "1.0")  # 1.0: the body in one piece up to the end
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    numbers, ends = [], 0
    async for line in reader:
        begun.set()
        if line.startswith(b"id: "):
            numbers.append(line.decode().removeprefix("id: ").strip())
        ends += line == b"event: end\n"
    writer.close()
    return numbers, ends


async def polled(url: str, job_id: str, begun: asyncio.Event) -> list[int]:
    """The percents that were seen until the job had ended."""
    reader, writer = await asked(url, f"/status/{job_id}", "1.1")
    percents: list[int] = []
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200")
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        answer = json.loads(body)
        percents.append(int(answer["percent"]))
        begun.set()
        if answer["status"] == "completed":
            writer.close()
            return percents
        await asyncio.sleep(0.2)
        writer.write(f"GET /status/{job_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_no_client_misses_an_event_whenever_it_comes(
    url: str, script: Script, orchestrator: tuple[str, FakeOrchestrator]
) -> None:
    script.endless = True
    fake = orchestrator[1]
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web:
        job_id = str((await web.post("/generate", files=FILES)).json()["session_id"])
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        begun = [asyncio.Event() for _ in range(EARLY + POLLING)]
        streams = [group.create_task(followed(url, job_id, first)) for first in begun[:EARLY]]
        polls = [group.create_task(polled(url, job_id, first)) for first in begun[EARLY:]]
        await asyncio.gather(*(first.wait() for first in begun))  # all of them are there, and the job runs
        assert not any(task.done() for task in (*streams, *polls))
        fake.jobs[job_id].state = jobs_pb2.JOB_STATE_SUCCEEDED
        fake.jobs[job_id].percent = 100
        fake.cancelled.set()
        streams += [group.create_task(followed(url, job_id, asyncio.Event())) for _ in range(AT_THE_END)]
        await asyncio.gather(*polls)
        streams += [group.create_task(followed(url, job_id, asyncio.Event())) for _ in range(LATE)]
    assert {(tuple(numbers), ends) for numbers, ends in (stream.result() for stream in streams)} == {(tuple(EVENTS), 1)}
    for poll in polls:
        percents = poll.result()
        assert percents == sorted(percents)
        assert percents[-1] == 100
    assert script.calls["WatchJob"] == 1  # all of them cost the orchestrator one


async def test_more_event_streams_than_allowed_are_told_when_to_come_back(
    script: Script, orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    script.endless = True
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(orchestrator[0], tmp_path, stream_limit=1) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        job_id = (await web.post("/generate", files=FILES)).json()["session_id"]
        path = f"/v1/jobs/{job_id}/events"
        async with web.stream("GET", path) as first:
            body = first.aiter_bytes()  # kept: one that is thrown away ends the stream
            await anext(body)
            refused = await web.get(path)
            assert (refused.status_code, refused.json()["reason"]) == (429, "RESOURCE_EXHAUSTED")
            assert refused.headers["retry-after"] == "2"
        status = 429
        while status == 429:  # until the gateway has noticed that the first one left
            async with web.stream("GET", path) as second:
                status = second.status_code
            await asyncio.sleep(0.02)
        assert status == 200
        orchestrator[1].cancelled.set()
