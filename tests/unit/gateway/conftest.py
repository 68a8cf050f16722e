"""A gateway in front of an orchestrator in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script, serve_fake
from support.gateway import serving


@pytest.fixture
def script() -> Script:
    """What the orchestrator does."""
    return Script()


@pytest.fixture
async def orchestrator(script: Script) -> AsyncIterator[tuple[str, FakeOrchestrator]]:
    """Address, and the fake itself."""
    async with serve_fake(script) as running:
        yield running


@pytest.fixture
async def web(orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway."""
    async with (
        serving(orchestrator[0], tmp_path) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield client
