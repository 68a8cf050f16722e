"""A fake orchestrator that breaks as a test's script says: in the test's loop, or in a thread for synchronous tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from support.fake_orchestrator import FakeOrchestrator, Script, serve_fake
from visema_client import AsyncVisema, RetryPolicy

QUICK = RetryPolicy(attempts=4, first_pause_s=0.01, longest_pause_s=0.05)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def fake(script: Script) -> AsyncIterator[tuple[str, FakeOrchestrator]]:
    async with serve_fake(script) as running:
        yield running


@pytest.fixture
async def client(fake: tuple[str, FakeOrchestrator]) -> AsyncIterator[AsyncVisema]:
    async with AsyncVisema(fake[0], retry=QUICK) as client:
        yield client


@pytest.fixture
def fake_address(script: Script) -> Iterator[str]:
    """Address of a fake that serves in a thread of its own."""
    ready = threading.Event()
    addresses: list[str] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serve_fake(script) as (address, _):
            addresses.append(address)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield addresses[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()
