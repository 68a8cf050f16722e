"""A gateway that ends sends its clients elsewhere first: nobody finds a connection closed under a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving, settings_for
from visema.orchestrator.v1 import jobs_pb2
from visema_gateway.server import Server

Orchestrator = tuple[str, FakeOrchestrator]

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}
UPLOAD = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\nRIFF speech\r\n--x--\r\n'


class Connection:
    """One connection, and what comes on it byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, method: str, path: str, *headers: str, body: bytes = b"") -> None:
        """A request, or the beginning of one."""
        self._writer.write("\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode() + body)

    def send_more(self, body: bytes) -> None:
        """The rest of a body."""
        self._writer.write(body)

    async def head(self) -> str:
        """Status and headers of an answer."""
        return (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()

    async def answer(self) -> tuple[str, bytes]:
        """An answer of known length."""
        head = await self.head()
        return head, await self._reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))

    async def until(self, text: bytes) -> bytes:
        """Everything up to this text."""
        return await self._reader.readuntil(text)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await self._reader.read()

    def close(self) -> None:
        """Break it."""
        self._writer.transport.abort()


class Leaving:
    """A gateway that is asked to end while the test goes on using it.

    Attributes:
        url: Where it is.
        server: Itself.
    """

    def __init__(self, server: Server) -> None:
        self.url = ""
        self.server = server
        self._started, self._stop = asyncio.Event(), asyncio.Event()
        self._connections: list[Connection] = []
        self._task = asyncio.create_task(self._run())

    async def start(self) -> None:
        """Wait until it serves."""
        await self._started.wait()

    async def leave(self) -> None:
        """Ask it to end. Returns: when it says that it is not well any more."""
        self._stop.set()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as web:
            while (reply := await web.get(f"{self.url}/health")).json()["status"] != "draining":
                pass
            assert reply.status_code == 503
            assert reply.headers["connection"] == "close"

    async def end(self) -> None:
        """Ask it to end, if nobody did, and wait for that."""
        self._stop.set()
        await self._task

    async def connect(self) -> Connection:
        """A connection to it."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        self._connections.append(Connection(*await asyncio.open_connection(host, int(port))))
        return self._connections[-1]

    async def close(self) -> None:
        """End it, whatever is still open."""
        for connection in self._connections:
            connection.close()
        await self.end()

    async def _run(self) -> None:
        async with self.server.serving() as self.url:
            self._started.set()
            await self._stop.wait()


@asynccontextmanager
async def leaving(orchestrator: str, folder: Path, grace_s: float = 3600.0) -> AsyncIterator[Leaving]:
    settings = settings_for(orchestrator, folder, grace_s=grace_s, idle_timeout_s=3600.0)
    async with asyncio.timeout(PATIENCE_S):
        gateway = Leaving(Server(settings))
        await gateway.start()
        try:
            yield gateway
        finally:
            await gateway.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that leaves waits for the last connection, however slow this machine is."""
    monkeypatch.setattr("visema_gateway.server.LEAVING_S", 3600.0)


@pytest.mark.usefixtures("patient")
async def test_open_connections_get_one_more_answer_that_ends_them(orchestrator: Orchestrator, tmp_path: Path) -> None:
    async with leaving(orchestrator[0], tmp_path) as gateway:
        new, kept = await gateway.connect(), await gateway.connect()
        kept.send("GET", "/v1/jobs")
        head, _ = await kept.answer()
        assert "connection: close" not in head
        await gateway.leave()
        for connection in (new, kept):
            connection.send("GET", "/v1/jobs")
            head, body = await connection.answer()
            assert head.startswith("http/1.1 200")
            assert "connection: close" in head
            assert json.loads(body)["jobs"] == []
            assert await connection.rest() == b""
        await gateway.end()  # now, and not after the time that it would wait


@pytest.mark.usefixtures("patient")
async def test_an_upload_that_has_begun_is_received_and_its_connection_ends(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    async with leaving(orchestrator[0], tmp_path) as gateway:
        sending = await gateway.connect()
        headers = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(UPLOAD)}")
        sending.send("POST", "/v1/uploads", *headers, "Expect: 100-continue")
        assert (await sending.head()).startswith("http/1.1 100")  # it is being served
        sending.send_more(UPLOAD[:20])
        await gateway.leave()
        sending.send_more(UPLOAD[20:])
        head, body = await sending.answer()
        assert head.startswith("http/1.1 201")
        assert "connection: close" in head
        assert json.loads(body)["size_bytes"] == len(b"RIFF speech")
        assert await sending.rest() == b""


@pytest.mark.usefixtures("patient")
async def test_an_event_stream_ends_in_order_with_its_connection_and_goes_on_elsewhere(
    orchestrator: Orchestrator, script: Script, tmp_path: Path
) -> None:
    script.endless = True
    other = tmp_path / "other"
    other.mkdir()
    async with leaving(orchestrator[0], tmp_path) as gateway, serving(orchestrator[0], other) as url:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as web:
            job_id = (await web.post(f"{gateway.url}/generate", files=FILES)).json()["session_id"]
        stream = await gateway.connect()
        stream.send("GET", f"/v1/jobs/{job_id}/events")
        seen = await stream.until(b"id: 6\n")
        await gateway.leave()
        seen += await stream.rest()
        assert seen.endswith(b"\r\n0\r\n\r\n")  # the end of a complete answer
        assert b"event: end" not in seen
        orchestrator[1].jobs[job_id].state = jobs_pb2.JOB_STATE_CANCELLED
        orchestrator[1].cancelled.set()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as web:
            rest = await web.get(f"{url}/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "6"})
        ids = [line for line in (seen + rest.content).split(b"\n") if line.startswith(b"id: ")]
        assert ids == [b"id: %d" % number for number in range(1, 8)]


async def test_a_connection_that_nobody_uses_is_closed(orchestrator: Orchestrator, tmp_path: Path) -> None:
    async with leaving(orchestrator[0], tmp_path) as gateway:
        unused = await gateway.connect()
        await gateway.end()
        assert await unused.rest() == b""


async def test_a_request_that_gets_no_answer_is_counted_as_such(
    orchestrator: Orchestrator, script: Script, tmp_path: Path
) -> None:
    script.uploads_together = 2  # there is one only: it would wait for ever
    async with leaving(orchestrator[0], tmp_path, grace_s=0.0) as gateway:
        sending = await gateway.connect()
        headers = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(UPLOAD)}")
        sending.send("POST", "/v1/uploads", *headers, body=UPLOAD)
        while not script.calls["Upload"]:
            await asyncio.sleep(0.01)
        await gateway.end()
        labels = {"method": "POST", "route": "/v1/uploads", "status": "499"}
        registry = gateway.server._metrics.registry
        assert registry.get_sample_value("visema_http_request_seconds_count", labels) == 1
