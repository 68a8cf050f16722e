"""A gateway is replaced as Kubernetes does it while front ends use it: no request fails, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.balancer import Balancer
from support.gateway import process
from support.postgres import Postgres, missing_reason, running_postgres
from support.relay import running_relay
from visema_client import AsyncVisema
from visema_client.cli.demo import SAMPLES
from visema_media.audio import read_wav, write_wav

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("stack"),
    pytest.mark.skipif(bool(missing_reason()), reason=missing_reason() or "PostgreSQL is there"),
]

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = 3
PATIENCE_S = 240.0  # a limit for hangs, not for speed
POLL_S = 0.05
PART_BYTES = 30_000
NO_ANSWER = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class FrontEnd:
    """What a browser does: connections are kept, and one that was closed between two requests is opened again."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False)

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> httpx.Response:
        """A request whose answer must be this one."""
        connected = False

        async def note(event: str, _: object) -> None:
            nonlocal connected
            connected = connected or event == "connection.connect_tcp.complete"

        while True:
            connected = False
            try:
                reply = await self.http.request(method, path, extensions={"trace": note}, **options)
            except NO_ANSWER:
                if connected:  # it was a new one: nobody would ask again
                    raise
                continue
            assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
            return reply

    async def follow(self, job_id: str) -> list[int]:
        """The job's events up to the last, as `EventSource` follows them. Returns: their ids, as they came."""
        ids: list[int] = []
        while True:
            async for event, number in self._stream(job_id, ids[-1] if ids else 0):
                ids.append(number)
                if event == "end":
                    return ids

    async def _stream(self, job_id: str, last: int) -> AsyncIterator[tuple[str, int]]:
        """One connection; one that breaks off in the middle of an answer raises."""
        headers = {"Last-Event-ID": str(last)} if last else {}
        async with self.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
            assert reply.status_code == 200
            number = 0
            async for line in reply.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    number = int(value)
                elif name == "event":
                    yield value, number


class Receiver:
    """Takes webhooks."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.jobs.add(json.loads(await reader.readexactly(length))["id"])
        self.changed.set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def wait_for(self, jobs: set[str]) -> None:
        """Until all these have come."""
        while not jobs <= self.jobs:
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def deployed() -> dict[str, str]:
    """The settings with values of their own in deploy/k8s."""
    (deployment, *_) = yaml.safe_load_all((ROOT / "deploy/k8s/base/gateway.yaml").read_text())
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {item["name"]: item["value"] for item in variables if item["name"] == "VISEMA_GRACE_S"}


def short_speech(number: int) -> bytes:
    """Another beginning of the sample for each client."""
    samples, rate_hz = read_wav((SAMPLES / "speech.wav").read_bytes())
    return write_wav(samples[:, : rate_hz * (5 + number) // 4], rate_hz)


@dataclass
class Load:
    """Clients that make videos, one after the other, until the replacement is over and once more.

    Attributes:
        made: Jobs and the events that came of each.
        begun: A job is under way.
        replaced: The replacement is over.
    """

    front: FrontEnd
    hook: str
    made: dict[str, list[int]] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    replaced: asyncio.Event = field(default_factory=asyncio.Event)

    async def make_videos(self, number: int) -> None:
        """Post, follow, poll and download."""
        files = {"image": (SAMPLES / "portrait.jpg").read_bytes(), "audio": short_speech(number)}
        options = {"size_px": "256", "webhook_url": self.hook}
        last = False
        while not last:
            last = self.replaced.is_set()
            posted = await self.front.ask("POST", "/generate", 202, files=files, data=options)
            job_id = posted.json()["session_id"]
            self.made[job_id], _ = await asyncio.gather(self.front.follow(job_id), self._poll(job_id))
            await self._download(job_id)

    async def _poll(self, job_id: str) -> None:
        while (state := (await self.front.ask("GET", f"/status/{job_id}")).json()["status"]) == "processing":
            self.begun.set()
            await asyncio.sleep(POLL_S)
        assert state == "completed"

    async def _download(self, job_id: str) -> None:
        path = f"/download/{job_id}"
        size = int((await self.front.ask("HEAD", path)).headers["content-length"])
        parts = b""
        while len(parts) < size:
            wanted = {"Range": f"bytes={len(parts)}-{len(parts) + PART_BYTES - 1}"}
            parts += (await self.front.ask("GET", path, 206, headers=wanted)).content
        assert parts == (await self.front.ask("GET", path)).content


async def send_slowly(front: FrontEnd, begun: asyncio.Event, draining: asyncio.Event) -> None:
    """An upload that begins at the old gateway before its end is asked for, and ends when that is under way."""
    audio = (SAMPLES / "speech.wav").read_bytes()
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'

    async def body() -> AsyncIterator[bytes]:
        yield head + audio[:1000]
        begun.set()
        await draining.wait()
        yield audio[1000:] + b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    uploaded = await front.ask("POST", "/v1/uploads", 201, content=body(), headers=headers)
    assert uploaded.json()["size_bytes"] == len(audio)


async def until_health(address: str, wanted: Callable[[int], bool]) -> None:
    """What a readiness probe waits for, asked of the pod itself; 0 stands for no answer."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as probe:
        while True:
            try:
                status = (await probe.get(f"http://{address}/health")).status_code
            except httpx.TransportError:
                status = 0
            if wanted(status):
                return
            await asyncio.sleep(POLL_S)


async def test_a_gateway_is_replaced_and_no_front_end_notices(stack: str, postgres: Postgres, tmp_path: Path) -> None:
    receiver = Receiver()
    hooks = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{hooks.sockets[0].getsockname()[1]}/hook"
    variables = deployed() | {
        "VISEMA_IDLE_TIMEOUT_S": str(PATIENCE_S),  # a slow machine is no slow client
        "VISEMA_DATABASE_URL": postgres.create_database("rolling"),
        "VISEMA_WEBHOOK_SECRET": "0123456789abcdef",
        "VISEMA_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1",
    }
    sending, draining = asyncio.Event(), asyncio.Event()
    with ExitStack() as running:

        async def start(name: str) -> tuple[str, Any]:
            folder = tmp_path / name
            folder.mkdir()
            url, started = await asyncio.to_thread(running.enter_context, process(stack, folder, **variables))
            return url.removeprefix("http://"), started

        old, ending = await start("old")
        async with asyncio.timeout(PATIENCE_S), hooks, running_relay(Balancer(old)) as balancer:
            front = FrontEnd(f"http://{balancer.address}")
            load = Load(front, hook)
            async with asyncio.TaskGroup() as clients:
                for number in range(CLIENTS):
                    clients.create_task(load.make_videos(number))
                await load.begun.wait()
                new, _ = await start("new")
                await until_health(new, lambda status: status == 200)
                clients.create_task(send_slowly(front, sending, draining))
                await sending.wait()
                balancer.replicas[:] = [new]
                ending.terminate()
                await until_health(old, lambda status: status != 200)
                draining.set()
                assert await asyncio.to_thread(ending.wait, PATIENCE_S) == 0
                load.replaced.set()
            await receiver.wait_for(set(load.made))
            await front.http.aclose()
    async with AsyncVisema(stack) as client:
        for job_id, ids in load.made.items():
            assert ids == sorted(set(ids))
            kept = {event.sequence async for event in client.watch_job(job_id)}  # not all, once the job has ended
            assert kept <= set(ids)
    assert len(load.made) >= 2 * CLIENTS
