"""Two hundred clients poll and stream while jobs run: how fast is `/status`, and is any event lost?

Usage: python bench/gateway.py [CLIENTS] [SECONDS]

Starts the local stack with embedded engines. Half of the clients poll `/status`, half follow the jobs' events, in two
processes, so that one half's work is not taken for the server's. They share the machine with the stack: an upper bound.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import visema_client
from visema_client.localstack import LocalStack, StackOptions

SAMPLES = Path(visema_client.__file__).parent / "samples"
POLL_S = 1.0
JOBS = 4


def quantile(values: list[float], part: float) -> float:
    """The value below which this part of the values lies."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


async def start_job(web: httpx.AsyncClient, seed: int) -> str:
    files = {
        name: (name, (SAMPLES / file).read_bytes())
        for name, file in (("image", "portrait.jpg"), ("audio", "speech.wav"))
    }
    reply = await web.post("/generate", files=files, data={"seed": str(seed)})
    reply.raise_for_status()
    return str(reply.json()["session_id"])


def poll_all(url: str, jobs: list[str], clients: int, end_s: float) -> list[float]:
    """Poll with so many clients, in a process of their own. Returns: seconds of each answer."""
    times_s: list[float] = []

    async def run() -> None:
        await asyncio.gather(*(poll(url, jobs[n % JOBS], end_s, times_s, n * POLL_S / clients) for n in range(clients)))

    asyncio.run(run())
    return times_s


async def poll(url: str, job_id: str, end_s: float, times_s: list[float], pause_s: float) -> None:
    """Poll over one connection with next to no work of our own, so that it is the server that is measured."""
    host, port = url.removeprefix("http://").split(":")
    await asyncio.sleep(pause_s)
    reader, writer = await asyncio.open_connection(host, int(port))
    while time.monotonic() < end_s:
        started = time.perf_counter()
        writer.write(f"GET /status/{job_id} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        times_s.append(time.perf_counter() - started)
        assert head.startswith(b"http/1.1 200"), head
        await asyncio.sleep(POLL_S)
    writer.close()


async def follow(web: httpx.AsyncClient, job_id: str) -> tuple[int, ...]:
    async with web.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        return tuple([int(line[4:]) async for line in reply.aiter_lines() if line.startswith("id: ")])


async def overload(web: httpx.AsyncClient) -> list[tuple[int, float]]:
    async def once() -> tuple[int, float]:
        started = time.perf_counter()
        reply = await web.post("/v1/jobs", json={"avatar_id": "none", "text": "hello"})
        return reply.status_code, time.perf_counter() - started

    return [await once() for _ in range(300)]


async def measure(url: str, clients: int, seconds: float, pollers: Executor) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=clients + 20)
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False, limits=limits) as web:
        jobs = [await start_job(web, seed) for seed in range(1, JOBS + 1)]
        end_s = time.monotonic() + seconds
        followers = [asyncio.create_task(follow(web, jobs[number % JOBS])) for number in range(clients // 2)]
        loop = asyncio.get_running_loop()
        times_s = await loop.run_in_executor(pollers, poll_all, url, jobs, clients // 2, end_s)
        followed = await asyncio.gather(*followers)
        same = all(len({followed[n] for n in range(job, clients // 2, JOBS)}) == 1 for job in range(JOBS))
        refused = [took_s for status, took_s in await overload(web) if status == 429]
    return {
        "clients": clients,
        "polls": len(times_s),
        "status_ms": {
            "median": round(statistics.median(times_s) * 1000, 1),
            "p99": round(quantile(times_s, 0.99) * 1000, 1),
            "max": round(max(times_s) * 1000, 1),
        },
        "streams_saw_the_same_events": same,
        "refused": len(refused),
        "refusal_p99_ms": round(quantile(refused, 0.99) * 1000, 1) if refused else None,
    }


def main() -> None:
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    options = StackOptions(gateway_port=0, variables={"VISEMA_ENGINE": "embedded"}, start_timeout_s=180)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pollers:
        pollers.submit(time.monotonic).result()  # started before anything is measured
        with LocalStack(options) as stack:
            print(json.dumps(asyncio.run(measure(stack.url, clients, seconds, pollers)), indent=2))


if __name__ == "__main__":
    main()
