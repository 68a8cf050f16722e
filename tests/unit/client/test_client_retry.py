"""When a call is made again: faults that pass, and a server that restarts."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_orchestrator import Script, serve_fake
from support.ports import free_ports
from visema_client import AsyncVisema, RetryPolicy, ServerUnreachable
from visema_client.retry import Attempts, Contact
from visema_kit.errors import NoFaceFound, QueueFull, StageUnavailable, VisemaError

QUICK = RetryPolicy(attempts=3, first_pause_s=0.001, longest_pause_s=0.002)
MET, NEVER_MET = Contact(made=True), Contact()


async def failures_until_raised(attempts: Attempts, error: VisemaError, limit: int = 50) -> int:
    """Failures up to the one that is raised; `limit` when none was."""
    for count in range(1, limit + 1):
        try:
            await attempts.failed(error)
        except type(error):
            return count
    return limit


@pytest.mark.parametrize("error", [QueueFull("full"), StageUnavailable("starting"), ServerUnreachable("gone")])
async def test_a_fault_that_passes_is_raised_after_the_attempts(error: VisemaError) -> None:
    assert await failures_until_raised(Attempts(QUICK, NEVER_MET), error) == QUICK.attempts


async def test_a_fault_that_does_not_pass_is_raised_at_once() -> None:
    assert await failures_until_raised(Attempts(QUICK, MET), NoFaceFound("nobody")) == 1


async def test_a_known_server_may_be_away_longer_than_the_attempts() -> None:
    attempts = Attempts(QUICK, MET)
    assert await failures_until_raised(attempts, ServerUnreachable("restarting")) == 50
    assert await failures_until_raised(attempts, StageUnavailable("starting")) == QUICK.attempts


async def test_a_known_server_that_stays_away_is_given_up() -> None:
    at_once = RetryPolicy(attempts=3, first_pause_s=0.001, away_s=0)
    assert await failures_until_raised(Attempts(at_once, MET), ServerUnreachable("gone")) == 1


async def test_one_attempt_means_one_even_for_a_known_server() -> None:
    assert await failures_until_raised(Attempts(RetryPolicy(attempts=1), MET), ServerUnreachable("gone")) == 1


async def test_a_call_outlives_a_restart_of_the_server() -> None:
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    policy = RetryPolicy(attempts=2, first_pause_s=0.01, longest_pause_s=0.05)
    async with AsyncVisema(listen, retry=policy) as client:
        async with serve_fake(Script(), listen):
            assert await anext(client.list_jobs(), None) is None
        calling = asyncio.create_task(anext(client.list_jobs(), None))
        await asyncio.sleep(0.3)  # some attempts fail; how many makes no difference
        async with serve_fake(Script(), listen):
            assert await calling is None
