"""Schemathesis asks what the OpenAPI document allows, and what it does not: the server never fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_orchestrator import Script, serve_fake
from support.gateway import serving

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 8


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway on an event loop in a thread of its own: Schemathesis calls synchronously."""
    folder: Path = tmp_path_factory.mktemp("schema")
    ready, address = threading.Event(), []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with serve_fake(Script()) as (orchestrator, _), serving(orchestrator, folder) as base:
            address.append(base)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield address[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


def test_no_documented_call_makes_the_server_fail(url: str) -> None:
    from hypothesis import HealthCheck, given, settings

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    called = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def check(case: object) -> None:
            nonlocal called
            called += 1
            reply = case.call(base_url=url)
            assert reply.status_code < 500 or reply.status_code == 503, reply.text

        check()
    assert called > 20 * EXAMPLES / 2
