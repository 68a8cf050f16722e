"""Signed webhooks, their repetition, and what they may not reach."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema.orchestrator.v1 import jobs_pb2
from visema_gateway.core.callers import Caller, Clients
from visema_gateway.core.deliveries import Deliveries, Key, PendingWebhook
from visema_gateway.core.gateway import Gateway, Order
from visema_gateway.core.outbound import Outbound, is_public
from visema_gateway.core.seal import Seal
from visema_gateway.core.tables import Base, DeliveryRow
from visema_gateway.core.watches import Watches
from visema_gateway.core.webhooks import Webhooks
from visema_gateway.settings import GatewaySettings
from visema_kit.database import Database
from visema_kit.errors import InvalidInput, Unauthenticated, Unavailable

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
SECRET = "0123456789abcdef"
ALLOWED: dict[str, Any] = {"webhook_secret": SECRET, "webhook_private_hosts": "127.0.0.1"}
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
    async with (
        serving(orchestrator[0], tmp_path, **ALLOWED) as url,
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


@pytest.mark.parametrize("token", [None, "a-token-of-the-client"])
async def test_a_pending_webhook_goes_on_after_a_restart_without_a_request(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path, receiver: Receiver, token: str | None
) -> None:
    script.endless = True
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        serving(orchestrator[0], tmp_path, **ALLOWED) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        reply = await web.post("/generate", files=FILES, data={"webhook_url": receiver.url}, headers=headers)
        assert reply.status_code == 202, reply.text
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert receiver.url.encode() in files
    assert b"a-token" not in files
    (job,) = orchestrator[1].jobs.values()
    job.state = 5
    orchestrator[1].cancelled.set()
    script.tokens.clear()
    async with serving(orchestrator[0], tmp_path, **ALLOWED):
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE_S)
    assert script.tokens == {f"Bearer {token}" for token in [token] if token}
    delivered_headers, body = receiver.got[-1]
    assert b'"cancelled"' in body
    assert delivered_headers["visema-delivery"] == job.job_id


async def test_a_defect_gives_a_webhook_up_instead_of_leaving_it_for_ever(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path, receiver: Receiver
) -> None:
    script.endless = True
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    gateway = Gateway(GatewaySettings(orchestrator_address=orchestrator[0], database_url=url, **ALLOWED))
    await gateway.start()
    order = Order(portrait=b"\xff\xd8\xff picture", audio=b"RIFF speech", webhook_url=receiver.url)
    job = await gateway.make(Caller("default", None), order)
    await gateway._outbound.close()  # what is closed raises RuntimeError when it is used
    orchestrator[1].jobs[job.job_id].state = 5
    orchestrator[1].cancelled.set()
    database = Database(url)
    async with asyncio.timeout(PATIENCE_S):
        while await database.read(lambda session: session.scalars(sa.select(DeliveryRow)).all()):
            await asyncio.sleep(0.02)
    database.close()
    await gateway.stop()


async def test_an_orchestrator_that_is_away_costs_no_attempts_and_no_pauses_between_them(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path, receiver: Receiver
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gateway.db'}")
    await database.change_schema(Base.metadata.create_all)
    clients, outbound = Clients(orchestrator[0], None), Outbound(frozenset({"127.0.0.1"}))
    watches = Watches(clients)
    pauses_s = {"pauses_s": (0.0, 0.0, 3600.0), "asking_pauses_s": (0.0,)}
    webhooks = Webhooks(Deliveries(database), watches, outbound, SECRET, **pauses_s)
    orchestrator[1].jobs["job"] = jobs_pb2.Job(job_id="job", state=jobs_pb2.JOB_STATE_CANCELLED)
    script.faults["GetJob"] = [Unavailable("away")] * 6
    receiver.statuses = [500, 500]
    await webhooks.add(Caller("default", None), "job", receiver.url)
    await asyncio.wait_for(receiver.arrived.wait(), PATIENCE_S)
    assert script.faults["GetJob"] == []
    assert len(receiver.got) == 3
    await webhooks.close()
    await watches.close()
    await outbound.close()
    await clients.close()
    database.close()


async def test_each_pending_webhook_has_one_gateway_at_a_time(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gateway.db'}")
    await database.change_schema(Base.metadata.create_all)
    one, other, silent = Deliveries(database), Deliveries(database), Deliveries(database, lease_s=0)
    webhook = PendingWebhook("scope", "job", "https://example.com/", b"sealed")
    assert await one.add(webhook)
    assert not await other.add(webhook)
    assert await other.claim() == (set(), [])
    assert await one.claim() == ({webhook.key}, [])
    await one.failed(webhook)
    await one.release()
    assert await other.claim() == ({webhook.key}, [replace(webhook, attempts=1)])
    await one.remove(webhook)  # it is not its own any more
    await other.release()
    assert await silent.claim() == ({webhook.key}, [replace(webhook, attempts=1)])
    assert await one.claim() == ({webhook.key}, [replace(webhook, attempts=1)])  # the lease has run out
    assert await silent.claim() == (set(), [])
    await one.remove(webhook)
    assert await one.claim() == (set(), [])
    database.close()


async def test_a_webhook_that_comes_back_unnoticed_is_delivered_once(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path, receiver: Receiver
) -> None:
    """A gateway that was silent for too long, and whose heir has handed the webhook on again."""
    database = Database(f"sqlite:///{tmp_path / 'gateway.db'}")
    await database.change_schema(Base.metadata.create_all)
    clients, outbound = Clients(orchestrator[0], None), Outbound(frozenset({"127.0.0.1"}))
    watches, heir = Watches(clients), Deliveries(database)
    webhooks = Webhooks(Deliveries(database, lease_s=0), watches, outbound, SECRET, asking_pauses_s=(3600.0,))
    webhook = PendingWebhook("default", "job", receiver.url)
    script.faults["GetJob"] = [Unavailable("away")] * 100  # it waits
    await webhooks.add(Caller("default", None), webhook.job_id, webhook.url)
    assert await heir.claim() == ({webhook.key}, [webhook])
    await heir.release()
    delivering = {task for task in asyncio.all_tasks() if task.get_name() == "webhook-job"}
    assert len(delivering) == 1
    await webhooks._claim()
    assert {task for task in asyncio.all_tasks() if task.get_name() == "webhook-job"} == delivering
    await webhooks.close()
    await watches.close()
    await outbound.close()
    await clients.close()
    database.close()


class LateDeliveries(Deliveries):
    """The database takes its time for a claim; who stops waiting for it does not stop it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.claiming, self.may_claim = asyncio.Event(), asyncio.Event()
        self.claimed: asyncio.Task[tuple[set[Key], list[PendingWebhook]]] | None = None

    async def claim(self) -> tuple[set[Key], list[PendingWebhook]]:
        self.claiming.set()
        self.claimed = asyncio.create_task(self._claim_late())
        return await asyncio.shield(self.claimed)

    async def _claim_late(self) -> tuple[set[Key], list[PendingWebhook]]:
        await self.may_claim.wait()
        return await super().claim()


async def test_what_a_claim_takes_while_a_gateway_ends_is_handed_on(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path
) -> None:
    script.endless = True
    orchestrator[1].jobs["job"] = jobs_pb2.Job(job_id="job", state=jobs_pb2.JOB_STATE_RUNNING)
    database = Database(f"sqlite:///{tmp_path / 'gateway.db'}")
    await database.change_schema(Base.metadata.create_all)
    before, late, after = Deliveries(database), LateDeliveries(database), Deliveries(database)
    webhook = PendingWebhook("scope", "job", "https://example.com/")
    await before.add(webhook)
    await before.release()
    clients, outbound = Clients(orchestrator[0], None), Outbound(frozenset())
    watches = Watches(clients)
    webhooks = Webhooks(late, watches, outbound, SECRET)
    webhooks.start()
    await late.claiming.wait()
    closing = asyncio.create_task(webhooks.close())
    await asyncio.wait({closing}, timeout=0.1)  # where it does not wait for the claim it is over now
    late.may_claim.set()
    await closing
    assert late.claimed is not None
    assert await late.claimed == ({webhook.key}, [webhook])
    assert await after.claim() == ({webhook.key}, [webhook])
    await watches.close()
    await outbound.close()
    await clients.close()
    database.close()


def test_a_sealed_token_opens_in_its_place_and_with_its_secret_only() -> None:
    sealed = Seal(SECRET).close("token", "job-1")
    assert b"token" not in sealed
    assert Seal(SECRET).open(sealed, "job-1") == "token"
    for seal, place in ((Seal(SECRET), "job-2"), (Seal(SECRET + "x"), "job-1")):
        with pytest.raises(Unauthenticated):
            seal.open(sealed, place)


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
        "https://example.com:99999/",
        "https://a..b/",
        f"https://{'a' * 70}.com/",
        "https://8.8.8.8/a\x01b",
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


async def test_a_name_that_nobody_answers_for_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: answered.wait(PATIENCE_S) and [])
    outbound = Outbound(frozenset(), timeout_s=0.1)
    with pytest.raises(Unavailable):
        await outbound.target("https://example.com/")
    answered.set()
    await outbound.close()


async def test_a_url_that_is_none_is_refused_with_the_job(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, **ALLOWED) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        reply = await web.post("/generate", files=FILES, data={"webhook_url": "https://a..b/"})
    assert (reply.status_code, reply.json()["field"]) == (400, "webhook_url")
    assert orchestrator[1].jobs == {}


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
