"""Who may queue a job: one look into the database for many requests, and places that are held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from visema_kit.errors import QueueFull
from visema_kit.metrics import Metrics
from visema_orchestrator.admission import Dispatcher, Slots
from visema_orchestrator.hub import EventHub
from visema_orchestrator.store.database import Database
from visema_orchestrator.store.jobs import Asked


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    await database.migrate()
    yield database
    database.close()


@pytest.fixture
def dispatcher(database: Database) -> Dispatcher:
    """One slot, one place to wait."""

    async def start(_job_id: str) -> None:
        raise AssertionError("no job was queued")

    return Dispatcher(database, Slots(1), EventHub(), Metrics(), executor="me", queue_limit=1, start=start)


def asked(name: str) -> Asked:
    return Asked("default", name, "digest")


async def test_sixty_requests_at_once_cost_one_look_into_the_database(
    database: Database, dispatcher: Dispatcher
) -> None:
    looks = []
    sa.event.listen(database.engine, "begin", looks.append)
    standings = await asyncio.gather(*(dispatcher.standing(asked(str(number))) for number in range(60)))
    assert {(standing.known, standing.queued) for standing in standings} == {(None, 0)}
    assert len(looks) == 1


async def test_a_place_is_held_until_it_is_given_back(dispatcher: Dispatcher) -> None:
    with dispatcher.reserve(asked("first"), queued=0):
        with dispatcher.reserve(asked("second"), queued=0), pytest.raises(QueueFull) as caught:
            dispatcher.reserve(asked("third"), queued=0).__enter__()
        assert caught.value.retry_after_s >= 1
        with dispatcher.reserve(asked("third"), queued=0):
            pass


async def test_the_same_request_at_the_same_time_holds_one_place(dispatcher: Dispatcher) -> None:
    with (
        dispatcher.reserve(asked("once"), queued=1),
        dispatcher.reserve(asked("once"), queued=1),
    ):
        with pytest.raises(QueueFull):
            dispatcher.reserve(asked("another"), queued=1).__enter__()
        with dispatcher.reserve(asked("once"), queued=1):
            pass
        with pytest.raises(QueueFull):  # the place is still held by the first two
            dispatcher.reserve(asked("another"), queued=1).__enter__()


async def test_requests_without_an_id_hold_a_place_each(dispatcher: Dispatcher) -> None:
    with (
        dispatcher.reserve(asked(""), queued=0),
        dispatcher.reserve(asked(""), queued=0),
        pytest.raises(QueueFull),
    ):
        dispatcher.reserve(asked(""), queued=0).__enter__()


async def test_who_is_admitted_in_a_crowd_begins_after_the_refusals(dispatcher: Dispatcher) -> None:
    order: list[str] = []

    async def request(name: str) -> None:
        standing = await dispatcher.standing(asked(name))
        try:
            with dispatcher.reserve(asked(name), standing.queued):
                await dispatcher.let_refusals_go()
                order.append("checks begin")
        except QueueFull:
            await asyncio.sleep(0)  # the answer is sent
            order.append("refused")

    await asyncio.gather(*(request(str(number)) for number in range(20)))
    assert order == ["refused"] * 18 + ["checks begin"] * 2


async def test_a_request_alone_does_not_wait(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.gather(*(dispatcher.standing(asked(str(number))) for number in range(20)))  # an earlier crowd
    await dispatcher.standing(asked("alone"))

    async def sleep(_seconds: float) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await dispatcher.let_refusals_go()
