"""One connection for many callers: each with its token, its patience and its trace."""

from __future__ import annotations

import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema_client import AsyncVisema, RetryPolicy
from visema_kit.errors import JobNotFound, QueueFull
from visema_kit.tracing import Tracing

Fake = tuple[str, FakeOrchestrator]


async def test_callers_have_tokens_of_their_own_on_one_connection(fake: Fake, script: Script) -> None:
    async with AsyncVisema(fake[0], token="the-gateways-own") as client:
        for token, sent in (("of-anna", "Bearer of-anna"), ("of-bert", "Bearer of-bert"), (None, None)):
            script.tokens.clear()
            with pytest.raises(JobNotFound):
                await client.as_caller(token).get_job("nope")
            assert script.tokens == ({sent} if sent else set())


async def test_a_caller_that_is_closed_leaves_the_connection_to_the_others(client: AsyncVisema) -> None:
    async with client.as_caller("of-anna") as anna:
        video = await anna.generate(b"picture", b"speech")
    assert await video.read()
    assert (await client.as_caller("of-bert").get_job(video.job.job_id)).job_id == video.job.job_id


async def test_callers_have_patience_of_their_own(client: AsyncVisema, script: Script) -> None:
    script.faults["ListJobs"] = [QueueFull("later"), QueueFull("later")]
    with pytest.raises(QueueFull):
        await client.as_caller("hasty", retry=RetryPolicy(attempts=1)).job_page()
    assert await client.as_caller("patient").job_page() == ([], "")
    assert script.calls["ListJobs"] == 3


async def test_the_trace_of_the_caller_goes_with_every_call(client: AsyncVisema, script: Script) -> None:
    await client.job_page()
    assert script.traces == {""}
    script.traces.clear()
    with Tracing().span("of a request") as trace:
        await client.as_caller("of-anna").generate(b"picture", b"speech")
    assert script.traces == {trace.traceparent()}
    assert {"Upload", "CreateJob", "WatchJob", "GetJob"} < set(script.calls)
