"""The sweep: what has expired goes, what somebody needs stays."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import grpc
import pytest
from dbos import DBOS
from harness import Client, keys_below, orchestrator_here
from stage_fakes import FakeStages
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2, media_pb2
from visema_kit.keys import DEFAULT_TENANT, job_key
from visema_kit.objects import ObjectStore, StoreConfig
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.sweep import Sweeper
from visema_orchestrator.workflow import Workflows

DAY_US = 86_400_000_000


async def swept(variables: dict[str, str], objects: ObjectStore, days: float) -> None:
    """Sweep as if so many days had passed."""
    database = Database(variables["VISEMA_DATABASE_URL"])
    week_s = 7 * 86_400
    sweeper = Sweeper(database, objects, 1, week_s, week_s, forget_workflows=Workflows.forget_ended)
    await sweeper.sweep(now_us() + round(days * DAY_US))
    database.close()


async def test_results_uploads_and_loops_go_after_a_week_without_use(
    variables: dict[str, str], stages: FakeStages, object_store: ObjectStore, store_config: StoreConfig
) -> None:
    async with orchestrator_here(variables) as address:
        client = Client(address)
        spec = await client.spec()
        ended = await client.wait((await client.create(spec)).job_id)
        upload = await client.media.CreateUpload(media_pb2.CreateUploadRequest(kind=media_pb2.MEDIA_KIND_AUDIO))
        loop = next(iter(stages.portrait.computed)).rpartition("/")[0] + "/"
        assert ended.expire_time.ToMicroseconds() - ended.end_time.ToMicroseconds() == 7 * DAY_US

        workflow = await DBOS.retrieve_workflow_async(ended.job_id)
        await workflow.get_result()  # it ends a moment after its job
        await swept(variables, object_store, days=6.9)
        assert await object_store.stat(ended.result.video.key) is not None
        assert await object_store.stat(spec.portrait.key) is not None
        assert keys_below(store_config, loop)

        await swept(variables, object_store, days=7.1)
        assert await object_store.stat(ended.result.video.key) is None
        assert await object_store.stat(spec.portrait.key) is None
        assert await object_store.stat(spec.audio.key) is None
        assert not keys_below(store_config, loop)
        assert not (await client.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        request = media_pb2.CompleteUploadRequest(upload_id=upload.upload_id)
        with pytest.raises(grpc.aio.AioRpcError):
            await client.media.CompleteUpload(request)
        assert await DBOS.get_workflow_status_async(ended.job_id) is None
        await client.close()


async def test_what_reaches_the_store_after_its_job_has_ended_goes_with_the_next_sweep(
    variables: dict[str, str], stages: FakeStages, object_store: ObjectStore
) -> None:
    """Over a slow network an upload may end long after the job that it was for was cancelled."""
    async with orchestrator_here(variables) as address:
        client = Client(address)
        ended = await client.wait((await client.create(await client.spec())).job_id)
        stages.lips.hang_after = 0
        running = await client.create(await client.spec())
        await client.until(running.job_id, jobs_pb2.JOB_STATE_RUNNING)
        ids = {"late": ended.job_id, "needed": running.job_id, "foreign": uuid.uuid4().hex}
        keys = {what: job_key(DEFAULT_TENANT, job_id, "sync", "a.mkv") for what, job_id in ids.items()}
        for key in keys.values():
            await object_store.put(key, b"segment", "video/x-matroska")
        await swept(variables, object_store, days=0)
        there = {what for what, key in keys.items() if await object_store.stat(key) is not None}
        assert there == {"needed", "foreign"}
        await client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=running.job_id))
        await client.close()


async def test_what_an_avatar_or_a_waiting_job_needs_stays(
    variables: dict[str, str], stages: FakeStages, object_store: ObjectStore, store_config: StoreConfig, tmp_path: Path
) -> None:
    async with orchestrator_here(variables) as address:
        client = Client(address)
        request = avatars_pb2.CreateAvatarRequest(spec=avatars_pb2.AvatarSpec(portrait=await client.portrait()))
        avatar = (await client.avatars.CreateAvatar(request)).avatar
        spec = jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=await client.audio())
        await client.wait((await client.create(spec)).job_id)
        get = avatars_pb2.GetAvatarRequest(avatar_id=avatar.avatar_id)
        while (await client.avatars.GetAvatar(get)).avatar.state != avatars_pb2.AVATAR_STATE_READY:
            await asyncio.sleep(0.01)
        loop = next(iter(stages.portrait.computed)).rpartition("/")[0] + "/"
        stages.lips.hang_after = 0
        running = await client.create(await client.spec())
        await client.until(running.job_id, jobs_pb2.JOB_STATE_RUNNING)

        await swept(variables, object_store, days=30)
        assert keys_below(store_config, loop)
        assert await object_store.stat(avatar.spec.portrait.key) is not None
        assert await object_store.stat(running.spec.portrait.key) is not None
        assert await object_store.stat(running.spec.audio.key) is not None
        await client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=running.job_id))
        await client.close()
