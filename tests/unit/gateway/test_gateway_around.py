"""Around every request: defects are counted, browsers may read refusals, traces go on, and a stop is orderly."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving, settings_for
from visema.orchestrator.v1 import jobs_pb2
from visema_gateway.api.around import POLLED
from visema_gateway.app import make_app
from visema_gateway.core.gateway import Gateway
from visema_kit.metrics import Metrics
from visema_kit.tracing import Tracing

Orchestrator = tuple[str, FakeOrchestrator]

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}
PAGE = "https://page.example.com"


@pytest.fixture
def lines() -> Iterator[list[structlog.typing.EventDict]]:
    """What is logged meanwhile, with what is bound to the request."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


def add_impossible_job(fake: FakeOrchestrator) -> None:
    """A job that no view can hold: showing it is a defect."""
    fake.jobs["odd"] = jobs_pb2.Job(job_id="odd", state=jobs_pb2.JOB_STATE_RUNNING, percent=300)


async def metric(address: str, series: str) -> str:
    """The value of a series, once there is one."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(PATIENCE_S):
        while True:
            for line in (await client.get(f"http://{address}/metrics")).text.splitlines():
                if line.startswith(series):
                    return line.rpartition(" ")[2]
            await asyncio.sleep(0.02)


async def test_a_defect_is_counted_and_logged_once(
    orchestrator: Orchestrator,
    tmp_path: Path,
    lines: list[structlog.typing.EventDict],
    caplog: pytest.LogCaptureFixture,
) -> None:
    add_impossible_job(orchestrator[1])
    ports = tmp_path / "ports.json"
    async with (
        serving(orchestrator[0], tmp_path, metrics_listen="127.0.0.1:0", port_file=ports) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        reply = await web.get("/v1/jobs")
        assert (reply.status_code, reply.json()["reason"]) == (500, "INTERNAL")
        series = 'visema_http_request_seconds_count{method="GET",route="/v1/jobs",status="500"}'
        assert await metric(json.loads(ports.read_text())["metrics"], series) == "1.0"
    (noted,) = [line for line in lines if line["event"] == "http_request" and line["status"] == 500]
    (failed,) = [line for line in lines if line["event"] == "request_failed"]
    assert noted["request_id"] == failed["request_id"] == reply.headers["x-request-id"]
    assert noted["log_level"] == "warning"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]  # the server's own


async def test_a_defect_before_the_application_is_logged_too(
    orchestrator: Orchestrator,
    tmp_path: Path,
    lines: list[structlog.typing.EventDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> float:
        raise RuntimeError("a defect")

    monkeypatch.setattr("visema_gateway.api.rates.RateLimits.wait_s", broken)
    async with (
        serving(orchestrator[0], tmp_path) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        assert (await web.get("/v1/jobs")).status_code == 500
    (failed,) = [line for line in lines if line["event"] == "request_failed"]
    (noted,) = [line for line in lines if line["event"] == "http_request"]
    assert noted["status"] == 500
    assert noted["request_id"] == failed["request_id"]


async def test_what_is_polled_is_logged_for_those_who_debug(
    web: httpx.AsyncClient, lines: list[structlog.typing.EventDict]
) -> None:
    await web.post("/avatar/upload", files={"image": ("p.jpg", b"\xff\xd8\xff picture")}, data={"name": "Anna"})
    animation = (await web.post("/avatar/animate", json={"avatarId": 1, "text": "Hello"})).json()["id"]
    lines.clear()
    for path in (f"/avatar/animations/{animation}/status", "/status/job-000", "/health"):
        assert (await web.get(path)).status_code == 200
    async with asyncio.timeout(PATIENCE_S):
        while len(noted := [line for line in lines if line["event"] == "http_request"]) < len(POLLED):
            await asyncio.sleep(0.02)  # the client has its answer before the line is written
    assert {(line["route"], line["log_level"]) for line in noted} == {(route, "debug") for route in POLLED}


@pytest.mark.usefixtures("lines")  # printing a defect's traceback with all that it knows takes many seconds
async def test_browsers_of_allowed_origins_may_read_refusals(orchestrator: Orchestrator, tmp_path: Path) -> None:
    add_impossible_job(orchestrator[1])
    changes = {"cors_origins": PAGE, "read_rate_per_s": 0.01, "rate_burst_s": 200.0}  # two, then one in 100 s
    async with (
        serving(orchestrator[0], tmp_path, **changes) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        for _ in range(5):  # asking whether one may ask costs nothing
            headers = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
            assert (await web.options("/v1/jobs", headers=headers)).status_code == 200
        for status in (500, 500, 429):
            reply = await web.get("/v1/jobs", headers={"Origin": PAGE})
            assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (status, PAGE)
        assert "Retry-After" in reply.headers["access-control-expose-headers"]
        assert int(reply.headers["retry-after"]) > 0


async def test_a_requests_trace_goes_on_to_the_orchestrator(
    web: httpx.AsyncClient, script: Script, lines: list[structlog.typing.EventDict]
) -> None:
    reply = await web.get("/v1/jobs")
    (trace,) = script.traces
    assert trace.split("-")[1] == reply.headers["x-request-id"]
    script.traces.clear()
    mine = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"Traceparent": f"00-{mine}-00f067aa0ba902b7-01", "X-Request-ID": "my-own.name"}
    reply = await web.get("/v1/jobs", headers=headers)
    assert reply.headers["x-request-id"] == "my-own.name"
    (trace,) = script.traces
    assert trace.split("-")[1] == mine
    noted = [line for line in lines if line["event"] == "http_request"]
    assert ("my-own.name", mine) in [(line["request_id"], line["trace_id"]) for line in noted]


async def test_a_stop_ends_event_streams_in_order_and_waits_for_none(
    orchestrator: Orchestrator, tmp_path: Path, script: Script
) -> None:
    script.endless = True
    begun = asyncio.Event()

    async def follow(web: httpx.AsyncClient, job_id: str) -> str:
        text = ""
        async with web.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
            async for piece in reply.aiter_text():
                text += piece
                if "event: progress" in text:
                    begun.set()
        return text

    async with asyncio.timeout(PATIENCE_S):
        async with serving(orchestrator[0], tmp_path, grace_s=3600.0) as url:
            web = httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False)
            job_id = (await web.post("/generate", files=FILES)).json()["session_id"]
            following = asyncio.create_task(follow(web, job_id))
            await begun.wait()
        assert "event: end" not in await following  # and no broken response
    await web.aclose()


async def test_a_gateway_that_stops_says_so_and_answers_what_it_is_asked(
    orchestrator: Orchestrator, tmp_path: Path, script: Script
) -> None:
    script.endless = True
    gateway = Gateway(settings_for(orchestrator[0], tmp_path))
    app = make_app(gateway, Metrics(), Tracing())
    await gateway.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as web:
        assert (await web.get("/health")).json()["status"] != "draining"
        job_id = (await web.post("/generate", files=FILES)).json()["session_id"]
        await gateway.drain()
        health = await web.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        assert (await web.get(f"/status/{job_id}")).json()["status"] == "processing"
        assert "event:" not in (await web.get(f"/v1/jobs/{job_id}/events")).text  # ends, and is asked for elsewhere
    await gateway.stop()
