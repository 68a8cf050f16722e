"""The encoder's disk is full in the middle of a job: the job waits for room and ends whole."""

from __future__ import annotations

import asyncio

import pytest
from support.full_disk import full_disk
from support.real_stack import PATIENCE_S, RealStack
from visema_client import AsyncVisema, VideoSettings
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("processes")]

ROOM_BYTES = 100_000  # less than a video, more than the service's log


async def test_a_job_waits_for_room_on_the_encoders_disk(services: RealStack) -> None:
    motion = VideoSettings(seed=31_337)
    async with asyncio.timeout(PATIENCE_S), AsyncVisema(services.address) as client:
        spec = await client.job_spec(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", settings=motion)
        with full_disk(services.pid("encoder"), ROOM_BYTES):
            job = await client.create_job(spec)
            while '"SCRATCH_FULL"' not in services.log("encoder"):
                await asyncio.sleep(0.05)
        video = await client.wait_job(job.job_id)
    retries = {stage.stage: stage.retry_count for stage in video.job.report.stages}
    assert retries["encoder"] > 0
    assert video.job.result.frame_count > 0
