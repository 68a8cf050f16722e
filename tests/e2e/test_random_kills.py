"""kill -9 of each real process at random moments of a job: the job ends whole, once, and nothing is made twice.

`VISEMA_KILL_SEEDS=20` tries more moments than the gate does.
"""

from __future__ import annotations

import asyncio
import io
import os
import random

import av
import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from support.real_stack import PATIENCE_S, SERVICES, RealStack
from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema, RetryPolicy, VideoSettings
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("processes")]

SEEDS = range(int(os.environ.get("VISEMA_KILL_SEEDS", "2")))
PATIENT = RetryPolicy(attempts=1000, longest_pause_s=0.5)
SEGMENT_FRAMES = 25
LATEST_PERCENT = 85
LONGEST_PAUSE_S = 0.3


def computed_lips(services: RealStack) -> float:
    """Segments that the lip-sync process has computed since its start."""
    text = urllib3.request("GET", services.metrics_url("wav2lip")).data.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    wanted = {"cache": "sync_segment", "result": "miss"}
    return sum(s.value for s in samples if s.name == "visema_cache_requests_total" and s.labels == wanted)


async def reached(client: AsyncVisema, job_id: str, percent: float) -> None:
    """Wait until a job has come so far."""
    async for update in client.watch_job(job_id):
        if update.job.percent >= percent:
            return


def frames_in(video: bytes) -> int:
    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("victim", SERVICES)
async def test_a_job_outlives_a_kill_at_any_moment(services: RealStack, victim: str, seed: int) -> None:
    dice = random.Random(f"{victim} {seed}")
    percent, pause_s = dice.uniform(0, LATEST_PERCENT), dice.uniform(0, LONGEST_PAUSE_S)
    motion = VideoSettings(size_px=256, seed=dice.randrange(2**31))  # nothing of it is stored
    known_loops = await asyncio.to_thread(services.keys, "loops/")
    computed_before = await asyncio.to_thread(computed_lips, services)
    async with AsyncVisema(services.address, retry=PATIENT) as client, asyncio.timeout(PATIENCE_S):
        spec = await client.job_spec(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", settings=motion)
        job = await client.create_job(spec)
        await reached(client, job.job_id, percent)
        await asyncio.sleep(pause_s)
        await services.kill(victim)
        temporary = f"jobs/default/{job.job_id}/sync/"
        lips = await asyncio.to_thread(services.keys, temporary)
        loops = await asyncio.to_thread(services.keys, "loops/")
        services.start(victim)
        await services.ready(victim)
        video = await client.wait_job(job.job_id)

        result = video.job.result
        assert video.job.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert frames_in(await video.read()) == result.frame_count
        segments = -(-result.frame_count // SEGMENT_FRAMES)
        stored = await asyncio.to_thread(services.keys, f"results/default/{job.job_id}/")
        assert [key for key in stored if key.endswith(".mp4")] == [result.video.key]
        if victim == "wav2lip":  # its replacement counts from zero
            assert await asyncio.to_thread(computed_lips, services) <= segments - len(lips)
        else:
            assert await asyncio.to_thread(computed_lips, services) - computed_before <= segments
        made = loops.keys() - known_loops.keys()
        loops_after = await asyncio.to_thread(services.keys, "loops/")
        assert {key: loops_after[key] for key in made} == {key: loops[key] for key in made}, "rendered twice"
        while await asyncio.to_thread(services.keys, f"jobs/default/{job.job_id}/"):
            await asyncio.sleep(0.05)  # they go right after the job's end
