"""Several gateways on one PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from support.postgres import Postgres, missing_reason, running_postgres
from visema_gateway.core.deliveries import Deliveries, PendingWebhook
from visema_gateway.core.library import Library
from visema_gateway.core.tables import Base
from visema_kit.database import Database, url_with_driver

GATEWAYS = 4

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(missing_reason()), reason=missing_reason() or "PostgreSQL is there"),
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
async def databases(postgres: Postgres, request: pytest.FixtureRequest) -> AsyncIterator[list[Database]]:
    """An empty database, as each gateway sees it."""
    url = url_with_driver(postgres.create_database(request.node.name[:60]))
    opened = [Database(url) for _ in range(GATEWAYS)]
    yield opened
    for database in opened:
        database.close()


async def make_tables(databases: list[Database]) -> None:
    async with asyncio.TaskGroup() as group:
        for database in databases:
            group.create_task(database.change_schema(Base.metadata.create_all))


async def test_gateways_that_start_at_once_make_the_tables_once(databases: list[Database]) -> None:
    for _ in range(3):
        await make_tables(databases)
        await databases[0].change_schema(Base.metadata.drop_all)


async def test_integer_ids_that_are_made_at_once_are_different(databases: list[Database]) -> None:
    await make_tables(databases)
    for turn in range(5):
        made = await asyncio.gather(
            *(Library(database).number("s", "avatar", f"{turn}-{n}") for n, database in enumerate(databases))
        )
        assert sorted(made) == list(range(turn * GATEWAYS + 1, (turn + 1) * GATEWAYS + 1))


async def test_webhooks_that_nobody_owns_are_taken_by_one_gateway_each(databases: list[Database]) -> None:
    await make_tables(databases)
    dead = Deliveries(databases[0], lease_s=0)
    for n in range(20):
        await dead.add(PendingWebhook("s", f"job-{n}", "https://example.com/"))
    claims = await asyncio.gather(*(Deliveries(database).claim() for database in databases))
    taken = [webhook.job_id for _, webhooks in claims for webhook in webhooks]
    assert len(taken) == len(set(taken))
    _, rest = await Deliveries(databases[0]).claim()  # rows that were locked were left for later
    assert sorted({*taken, *(webhook.job_id for webhook in rest)}) == sorted(f"job-{n}" for n in range(20))
