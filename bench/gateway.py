"""Two hundred clients poll and stream while jobs run: how fast is `/status`, and is any event lost?

Usage: python bench/gateway.py [CLIENTS] [SECONDS]

Starts the local stack with embedded engines and sends jobs in four lanes: for so many seconds a lane gets its next job
as soon as its last one has ended. Half of the clients poll `/status` of their lane's job, half follow its events, in
two processes, so that one half's work is not taken for the server's. What counts is the time in which jobs run, from
the first one that is sent until the last one has ended. Clients and stack share the machine: an upper bound.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import visema_client
from visema_client.localstack import LocalStack, StackOptions

SAMPLES = Path(visema_client.__file__).parent / "samples"
POLL_S = 1.0
LANES = 4
ID_BYTES = 64
EVENTS_BEFORE_PROGRESS = 2  # queued, running
OVER = b"over"

_board: Any = None  # in the pollers' process: the job of each lane, `OVER` at the end


def use_board(board: Any) -> None:
    """The pollers' process takes over the shared memory."""
    global _board  # noqa: PLW0603  # set once, when the process starts
    _board = board


class Connection:
    """HTTP with next to no work of our own, so that it is the server that is measured."""

    def __init__(self, url: str) -> None:
        self._host, _, self._port = url.removeprefix("http://").partition(":")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[asyncio.StreamReader, bytes]:
        """Ask. Returns: what follows the headers, and the headers in small letters. Raises: AssertionError: not 200."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        return reader, head

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a chunked answer, sizes of the chunks among them, up to its end."""
        reader, _ = await self.get(path)
        while (line := await reader.readline()) != b"0\r\n":
            assert line, "the stream broke"
            yield line
        await reader.readline()

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()


@dataclass
class Lane:
    """One job after the other, and what each of the streams saw of them."""

    number: int
    board: Any
    job_id: str = ""
    over: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    seen: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    async def run(self, web: httpx.AsyncClient, end_s: float) -> None:
        """Send jobs, one at a time."""
        while time.monotonic() < end_s:
            job_id = await start_job(web, seed=1 + self.number + LANES * len(self.seen))
            self.seen[job_id] = []
            await self._tell(job_id)
            connection = Connection(str(web.base_url).rstrip("/"))
            self.seen[job_id].append(await events_of(connection, job_id))
            connection.close()
        self.over = True
        await self._tell("")

    async def next_job(self, last: str) -> str:
        """The job after `last`; empty when there is none."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.over or self.job_id != last)
        return "" if self.over else self.job_id

    async def _tell(self, job_id: str) -> None:
        self.board[self.number].value = job_id.encode() or OVER
        async with self.changed:
            self.job_id = job_id
            self.changed.notify_all()


async def start_job(web: httpx.AsyncClient, seed: int) -> str:
    files = {
        name: (name, (SAMPLES / file).read_bytes())
        for name, file in (("image", "portrait.jpg"), ("audio", "speech.wav"))
    }
    reply = await web.post("/generate", files=files, data={"seed": str(seed)})
    reply.raise_for_status()
    return str(reply.json()["session_id"])


async def events_of(connection: Connection, job_id: str) -> tuple[int, ...]:
    """The numbers of a job's events, up to the last one."""
    lines = connection.lines(f"/v1/jobs/{job_id}/events")
    return tuple([int(line[4:]) async for line in lines if line.startswith(b"id: ")])


async def follow(url: str, lane: Lane) -> None:
    """Follow one job of a lane after the other, as an open page does."""
    connection = Connection(url)
    job_id = ""
    while job_id := await lane.next_job(job_id):
        lane.seen[job_id].append(await events_of(connection, job_id))
    connection.close()


def poll_all(url: str, clients: int) -> list[tuple[float, float]]:
    """Poll with so many clients, in a process of their own. Returns: when each asked, and the seconds it waited."""
    answers: list[tuple[float, float]] = []

    async def run() -> None:
        await asyncio.gather(*(poll(url, n % LANES, answers, n * POLL_S / clients) for n in range(clients)))

    asyncio.run(run())
    return answers


async def poll(url: str, lane: int, answers: list[tuple[float, float]], pause_s: float) -> None:
    """Poll over one connection until the lane's last job has ended."""
    connection = Connection(url)
    await asyncio.sleep(pause_s)
    while (job_id := _board[lane].value) != OVER:
        if job_id:
            asked_s = time.monotonic()
            reader, head = await connection.get(f"/status/{job_id.decode()}")
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            answers.append((asked_s, time.monotonic() - asked_s))
        await asyncio.sleep(POLL_S)
    connection.close()


async def overload(web: httpx.AsyncClient) -> list[tuple[int, float]]:
    async def once() -> tuple[int, float]:
        started = time.perf_counter()
        reply = await web.post("/v1/jobs", json={"avatar_id": "none", "text": "hello"})
        return reply.status_code, time.perf_counter() - started

    return [await once() for _ in range(300)]


async def measure(url: str, clients: int, seconds: float, board: Any, pollers: ProcessPoolExecutor) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as web:
        lanes = [Lane(number, board) for number in range(LANES)]
        polls = asyncio.get_running_loop().run_in_executor(pollers, poll_all, url, clients // 2)
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(clients // 2):
                group.create_task(follow(url, lanes[number % LANES]))
            for lane in lanes:
                group.create_task(lane.run(web, started_s + seconds))
        ended_s = time.monotonic()
        times_ms = sorted(took_s * 1000 for asked_s, took_s in await polls if asked_s < ended_s)
        refused = [took_s for status, took_s in await overload(web) if status == 429]
    seen = [streams for lane in lanes for streams in lane.seen.values()]
    return {
        "clients": clients,
        "seconds": round(ended_s - started_s, 1),
        "jobs": len(seen),
        "polls": len(times_ms),
        "status_ms": {
            "median": round(statistics.median(times_ms), 1),
            "p99": round(quantile(times_ms, 0.99), 1),
            "max": round(times_ms[-1], 1),
        },
        "events_sent": sum(len(stream) for streams in seen for stream in streams),
        "events_lost": sum(lost(streams) for streams in seen),
        "refused": len(refused),
        "refusal_p99_ms": round(quantile(sorted(refused), 0.99) * 1000, 1) if refused else None,
    }


def quantile(ordered: list[float], part: float) -> float:
    """The value below which this part of the values lies."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def lost(streams: list[tuple[int, ...]]) -> int:
    """Events of a job that a stream did not see.

    Of the progress made before anybody looked the orchestrator keeps the newest only: that is not lost. Two events come
    before any progress, and stay.
    """
    numbers = set().union(*streams)
    first_progress = min(number for number in numbers if number > EVENTS_BEFORE_PROGRESS)
    expected = {*range(1, EVENTS_BEFORE_PROGRESS + 1), *range(first_progress, max(numbers) + 1)}
    return sum(len(expected.difference(stream)) for stream in streams)


def main() -> None:
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    options = StackOptions(gateway_port=0, variables={"VISEMA_ENGINE": "embedded"}, start_timeout_s=180)
    spawn = multiprocessing.get_context("spawn")
    board = [spawn.Array("c", ID_BYTES) for _ in range(LANES)]
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=use_board, initargs=(board,)) as pollers:
        pollers.submit(time.monotonic).result()  # started before anything is measured
        with LocalStack(options) as stack:
            print(json.dumps(asyncio.run(measure(stack.url, clients, seconds, board, pollers)), indent=2))


if __name__ == "__main__":
    main()
