"""Signed webhooks, their repetition, and what they may not reach."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema_gateway.core.library import Library, PendingWebhook
from visema_gateway.core.outbound import Outbound, is_public
from visema_kit.errors import InvalidInput

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
SECRET = "0123456789abcdef"
FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}


@dataclass
class Receiver:
    """An HTTP server that answers with these statuses, one each, then 200."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        if status == 200:
            self.arrived.set()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield made


async def test_a_webhook_is_signed_and_repeated_until_it_is_accepted(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    allowed = {"webhook_secret": SECRET, "webhook_private_hosts": "127.0.0.1"}
    async with (
        serving(orchestrator[0], tmp_path, **allowed) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        reply = await web.post("/generate", files=FILES, data={"webhook_url": receiver.url})
        assert reply.status_code == 202, reply.text
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE_S)
    headers, body = receiver.got[-1]
    assert len(receiver.got) == 2
    time_part, digest = headers["visema-signature"].split(",")
    expected = hmac.new(SECRET.encode(), time_part[2:].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert digest == f"v1={expected}"
    assert reply.json()["session_id"].encode() in body


async def test_a_webhook_that_was_pending_goes_on_after_a_restart(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path, receiver: Receiver
) -> None:
    script.endless = True
    allowed = {"webhook_secret": SECRET, "webhook_private_hosts": "127.0.0.1"}
    async with (
        serving(orchestrator[0], tmp_path, **allowed) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        await web.post("/generate", files=FILES, data={"webhook_url": receiver.url})
    (job,) = orchestrator[1].jobs.values()
    job.state = 5
    orchestrator[1].cancelled.set()
    async with (
        serving(orchestrator[0], tmp_path, **allowed) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        await web.get(f"/status/{job.job_id}")
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE_S)
    assert b'"cancelled"' in receiver.got[-1][1]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3:8443/x",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://user:pw@example.com/",
        "ftp://example.com/",
        "https:///nothing",
        "https://exa mple.com:99999/",
        "localhost",
    ],
)
async def test_webhooks_reach_no_private_address(url: str) -> None:
    outbound = Outbound(frozenset())
    with pytest.raises(InvalidInput):
        await outbound.target(url)
    await outbound.close()


async def test_a_name_that_resolves_to_a_private_address_is_refused() -> None:
    outbound = Outbound(frozenset())
    with pytest.raises(InvalidInput, match="not public"):
        await outbound.target("https://localhost/")
    await outbound.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("100.64.0.1", False),
        ("fe80::1%eth0", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_without_a_secret_there_are_no_webhooks(web: httpx.AsyncClient) -> None:
    reply = await web.post("/generate", files=FILES, data={"webhook_url": "https://example.com/"})
    assert (reply.status_code, reply.json()["field"]) == (409, "webhook_url")


async def test_integer_ids_are_per_scope_and_survive_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        library = Library(f"sqlite:///{tmp_path / 'ids.db'}")
        await library.prepare()
        assert await library.numbers("a", "avatar", ["x", "y"]) == {"x": 1, "y": 2}
        assert await library.number("b", "avatar", "y") == 1
        assert await library.resource("a", "avatar", 2) == "y"
        await library.add_webhook(PendingWebhook("a", "job", "https://example.com/"))
        assert len(await library.webhooks("a")) == 1
        library.close()


async def test_numbers_given_at_the_same_time_are_different(tmp_path: Path) -> None:
    libraries = [Library(f"sqlite:///{tmp_path / 'ids.db'}") for _ in range(3)]
    await libraries[0].prepare()
    given = await asyncio.gather(
        *(
            library.number("s", "animation", f"{index}-{n}")
            for n in range(20)
            for index, library in enumerate(libraries)
        )
    )
    assert sorted(given) == list(range(1, 61))
    for library in libraries:
        library.close()
