"""Fixtures: fake stages on the shared object store, an orchestrator, a client."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # lets test modules import the harness

from harness import Client, environment, orchestrator_here
from stage_fakes import STAGE_NAMES, FakeStages
from visema_kit.objects import ObjectStore, StoreConfig


@pytest.fixture
async def stages(object_store: ObjectStore) -> AsyncIterator[FakeStages]:
    fakes = FakeStages(object_store)
    for name in STAGE_NAMES:
        await fakes.start(name)
    yield fakes
    await fakes.stop_all()


@pytest.fixture
def variables(stages: FakeStages, store_config: StoreConfig, tmp_path: Path) -> dict[str, str]:
    return environment(stages, store_config, f"sqlite:///{tmp_path}/visema.db", metrics_listen="off", grace_s=1)


@pytest.fixture
async def client(variables: dict[str, str]) -> AsyncIterator[Client]:
    async with orchestrator_here(variables) as address:
        client = Client(address)
        yield client
        await client.close()
