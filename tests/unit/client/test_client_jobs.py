"""Jobs and avatars through the SDK, with faults."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_client import (
    AsyncVisema,
    JobCancelled,
    Progress,
    RetryPolicy,
    ServerUnreachable,
    VideoSettings,
    WaitTooLong,
)
from visema_kit.errors import JobNotFound, NoFaceFound, QueueFull, StoreUnavailable

Fake = tuple[str, FakeOrchestrator]


async def seen(script: Script, method: str, calls: int) -> None:
    """Wait until the orchestrator has seen so many calls."""
    async with asyncio.timeout(60):
        while script.calls[method] < calls:
            await asyncio.sleep(0.01)


async def test_a_portrait_and_speech_become_a_saved_video(client: AsyncVisema, script: Script, tmp_path: Path) -> None:
    steps: list[Progress] = []
    video = await client.generate(b"picture", b"speech", on_progress=steps.append)
    path = await video.save(tmp_path / "out.mp4")
    assert path.stat().st_size == video.job.result.video.size_bytes
    assert await video.poster() == b"\xff\xd8poster"
    assert [step.percent for step in steps] == [0, 20, 40, 60, 80, 100, 100]
    assert steps[1].state == "running"
    assert next((stage.stage, stage.frames_done) for stage in steps[1].stages) == ("liveportrait", 10)


async def test_a_job_whose_reply_was_lost_is_not_made_twice(client: AsyncVisema, fake: Fake, script: Script) -> None:
    script.done_then_lost = ["CreateJob"]
    script.faults["CreateJob"] = [StoreUnavailable("not yet")]
    await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    assert script.calls["CreateJob"] == 3
    assert len(fake[1].jobs) == 1


async def test_two_calls_make_two_jobs_and_one_request_id_makes_one(client: AsyncVisema, fake: Fake) -> None:
    spec = jobs_pb2.JobSpec(avatar_id="a")
    first, second = await client.create_job(spec), await client.create_job(spec)
    assert first.job_id != second.job_id
    again = await client.create_job(spec, request_id=first.request_id)
    assert again.job_id == first.job_id


async def test_a_refusal_with_a_delay_is_tried_again_no_sooner(client: AsyncVisema, script: Script) -> None:
    script.faults["CreateJob"] = [QueueFull("full", retry_after_s=0.3)]
    started = time.monotonic()
    await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    assert time.monotonic() - started >= 0.3


async def test_without_retries_a_refusal_is_raised_at_once(fake: Fake, script: Script) -> None:
    script.faults["CreateJob"] = [QueueFull("full", retry_after_s=30)]
    async with AsyncVisema(fake[0], retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(QueueFull) as caught:
            await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    assert caught.value.retry_after_s == 30
    assert script.calls["CreateJob"] == 1


async def test_a_broken_watch_goes_on_after_the_last_event(client: AsyncVisema, script: Script) -> None:
    script.cut_watches = [2, 0, 3]
    job = await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    sequences = [event.sequence async for event in client.watch_job(job.job_id)]
    assert sequences == [1, 2, 3, 4, 5, 6, 7]
    after = [request.after_sequence for request in script.seen if isinstance(request, jobs_pb2.WatchJobRequest)]
    assert after == [0, 2, 2, 5]


async def test_watching_after_the_last_event_ends(client: AsyncVisema) -> None:
    job = await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    await client.wait_job(job.job_id)
    assert [event async for event in client.watch_job(job.job_id, after_sequence=7)] == []


async def test_a_failed_job_raises_the_servers_error(client: AsyncVisema, script: Script) -> None:
    script.failure = NoFaceFound("the picture shows no face", field="spec.portrait")
    with pytest.raises(NoFaceFound, match="no face") as caught:
        await client.generate(b"cat", b"speech")
    assert caught.value.field == "spec.portrait"


async def test_a_cancelled_job_is_an_error_of_its_own(client: AsyncVisema, script: Script) -> None:
    script.endless = True
    job = await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    waiting = asyncio.create_task(client.wait_job(job.job_id))
    await seen(script, "WatchJob", 1)
    await client.cancel_job(job.job_id)
    with pytest.raises(JobCancelled):
        await waiting


async def test_a_job_that_nobody_waits_for_any_more_is_cancelled(
    client: AsyncVisema, fake: Fake, script: Script
) -> None:
    script.endless = True
    with pytest.raises(WaitTooLong):
        await client.generate(b"picture", b"speech", timeout_s=3)  # enough for a slow machine to make the job
    assert fake[1].jobs["job-000"].state == jobs_pb2.JOB_STATE_CANCELLED
    fake[1].cancelled.clear()
    waiting = asyncio.create_task(client.generate(b"picture", b"speech"))
    await seen(script, "WatchJob", 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert fake[1].jobs["job-001"].state == jobs_pb2.JOB_STATE_CANCELLED


async def test_lists_read_page_after_page(client: AsyncVisema, script: Script) -> None:
    for _ in range(5):
        await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    ids = [job.job_id async for job in client.list_jobs(page_size=2)]
    assert ids == [f"job-{number:03}" for number in (4, 3, 2, 1, 0)]
    assert script.calls["ListJobs"] == 3
    ended = [jobs_pb2.JOB_STATE_SUCCEEDED]
    assert [job async for job in client.list_jobs(states=ended)] == []


async def test_a_deletion_whose_reply_was_lost_succeeds(client: AsyncVisema, script: Script) -> None:
    job = await client.create_job(jobs_pb2.JobSpec(avatar_id="a"))
    script.done_then_lost = ["DeleteJob"]
    await client.delete_job(job.job_id)
    with pytest.raises(JobNotFound):
        await client.delete_job(job.job_id)


async def test_an_avatar_is_made_awaited_listed_and_deleted(client: AsyncVisema) -> None:
    made = await client.create_avatar(b"picture", name="Ada", settings=VideoSettings(size_px=256, seed=7))
    assert made.spec.motion.seed == 7
    ready = await client.wait_avatar(made.avatar_id)
    assert ready.state == avatars_pb2.AVATAR_STATE_READY
    assert [avatar.spec.display_name async for avatar in client.list_avatars()] == ["Ada"]
    await client.delete_avatar(made.avatar_id)
    assert [avatar async for avatar in client.list_avatars()] == []


async def test_the_token_goes_with_every_call(fake: Fake, script: Script) -> None:
    async with AsyncVisema(fake[0], token="secret-token-000000") as client:
        await (await client.generate(b"picture", b"speech")).read()
    assert script.tokens == {"Bearer secret-token-000000"}


async def test_an_address_without_a_server_is_named() -> None:
    async with AsyncVisema("127.0.0.1:1", retry=RetryPolicy(attempts=2, first_pause_s=0.01)) as client:
        with pytest.raises(ServerUnreachable, match=r"no VISEMA server answers at 127\.0\.0\.1:1"):
            await client.get_job("x")


@pytest.mark.parametrize(
    "wrong", [{}, {"avatar_id": "a", "portrait": b"p"}, {"avatar_id": "a", "audio": b"", "text": ""}]
)
async def test_exactly_one_appearance_and_one_speech(client: AsyncVisema, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give either"):
        await client.generate(**wrong)
