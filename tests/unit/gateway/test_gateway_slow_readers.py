"""Clients that do not read what they asked for, and requests whose body nobody reads to its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema.orchestrator.v1 import jobs_pb2

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
VIDEO_BYTES = 32 << 20  # more than the kernel keeps for a connection
SMALL_BUFFER_BYTES = 4096
UPLOAD = b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def finished_job(fake: FakeOrchestrator, job_id: str) -> None:
    """A job with a large video and so long a text that a few of its events fill every buffer."""
    job = jobs_pb2.Job(job_id=job_id, state=jobs_pb2.JOB_STATE_SUCCEEDED)
    job.spec.text.text = "long " * 600_000  # 3 MB, just below what a message may have
    job.result.video.CopyFrom(fake.store(bytes(VIDEO_BYTES), "video/mp4"))
    fake.jobs[job_id] = job


async def lazy_client(url: str, path: str) -> socket.socket:
    """A connection that asked for something and has read nothing yet."""
    host, _, port = urlsplit(url).netloc.partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (host, int(port)))
    await loop.sock_sendall(connection, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


async def rest_of(connection: socket.socket) -> bytes:
    """What still comes before the server's end of the connection."""
    received = bytearray()
    loop = asyncio.get_running_loop()
    with connection:
        while piece := await loop.sock_recv(connection, 1 << 16):
            received += piece
    return bytes(received)


async def cut(lines: Sequence[object]) -> None:
    """Wait until the gateway has given a reader up."""
    async with asyncio.timeout(PATIENCE_S):
        while not any(line["event"] == "slow_reader_cut" for line in lines):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/download/lazy", "/v1/jobs/lazy/events"])
async def test_a_client_that_reads_nothing_is_cut_off(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path, path: str
) -> None:
    finished_job(orchestrator[1], "lazy")
    async with serving(orchestrator[0], tmp_path, send_timeout_s=0.5) as url:
        with capture_logs() as lines:
            connection = await lazy_client(url, path)
            await cut(lines)
        answer = await rest_of(connection)
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(answer) < VIDEO_BYTES // 2
        assert b"event: end" not in answer


async def test_a_client_that_reads_gets_everything(orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path) -> None:
    finished_job(orchestrator[1], "keen")
    async with (
        serving(orchestrator[0], tmp_path) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        assert len((await web.get("/download/keen")).content) == VIDEO_BYTES
        assert (await web.get("/v1/jobs/keen/events")).text.count("event: end") == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (UPLOAD + b"Content-Length: 1000000\r\n\r\n--wrong\r\n", 400),  # malformed from the first line on
        (
            UPLOAD
            + b'Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name="x"; filename="y"\r\n\r\n',
            400,
        ),
        (UPLOAD.replace(b"multipart/form-data", b"text/plain") + b"Content-Length: 1000000\r\n\r\nx", 415),
        (UPLOAD.replace(b"/v1/uploads", b"/nowhere") + b"Content-Length: 1000000\r\n\r\nx", 404),
        (UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n7\r\n--wrong\r\n", 400),
        (b"GET /v1/avatars HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx", 200),
    ],
)
async def test_an_answer_before_the_bodys_end_ends_the_connection(
    web: httpx.AsyncClient, request_bytes: bytes, status: int
) -> None:
    host, _, port = urlsplit(str(web.base_url)).netloc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()  # up to the end of the connection, although most of the body never comes
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in answer.lower()
    writer.close()


async def test_a_connection_whose_body_was_read_is_used_again(web: httpx.AsyncClient, script: Script) -> None:
    host, _, port = urlsplit(str(web.base_url)).netloc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    form = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n--b--\r\n'
    request = UPLOAD + b"Content-Length: %d\r\n\r\n" % len(form) + form
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(2):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
    assert script.calls["Upload"] == 0
    writer.close()


async def test_a_refusal_reaches_a_client_that_sends_its_body_after_the_head(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with serving(orchestrator[0], tmp_path, write_rate_per_s=0.01) as url:
        host, _, port = urlsplit(url).netloc.partition(":")
        statuses = []
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(20):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(
                    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
                )
                writer.write(b"{}")
                head = await reader.readuntil(b"\r\n\r\n")
                statuses.append(head.split()[1])
                if statuses[-1] == b"429":
                    assert b"retry-after: " in head.lower()
                    assert b"connection: close" not in head.lower()
                writer.close()
        assert statuses.count(b"429") > 10
