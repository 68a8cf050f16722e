"""A job's way through real services, from CreateJob to the stored video."""

from __future__ import annotations

import urllib.request

from harness import Client
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2


async def test_a_job_becomes_a_video_with_exactly_the_frames_of_its_audio(client: Client, stages: FakeStages) -> None:
    job = await client.create(await client.spec(seconds=3.3))
    assert job.state == jobs_pb2.JOB_STATE_QUEUED
    ended = await client.wait(job.job_id)
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
    assert ended.result.frame_count == 83  # 82.5 rounded up
    assert ended.percent == 100
    stored = await client.get(job.job_id)
    with urllib.request.urlopen(stored.result.download_url) as reply:
        video = reply.read()
    assert video.count(b"spoken\n") == 4
