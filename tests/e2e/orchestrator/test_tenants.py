"""Tenants never see each other's jobs, avatars or objects; their request ids do not meet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from harness import Client, orchestrator_here, reason_of
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2, media_pb2

TOKENS = {"token-of-the-first-one": "first", "token-of-the-second": "second"}


@pytest.fixture
async def clients(variables: dict[str, str], tmp_path: Path) -> AsyncIterator[list[Client]]:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps(TOKENS))
    async with orchestrator_here({**variables, "VISEMA_TOKENS_FILE": str(tokens)}) as address:
        clients = [Client(address, token) for token in (*TOKENS, "no-such-token-at-all")]
        yield clients
        for client in clients:
            await client.close()


async def refusal(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_another_tenants_job_does_not_exist(clients: list[Client]) -> None:
    first, second, _ = clients
    job = await first.create(await first.spec())
    await first.wait(job.job_id)
    assert await refusal(second.get(job.job_id)) == "JOB_NOT_FOUND"
    for call, request in (
        (second.jobs.CancelJob, jobs_pb2.CancelJobRequest(job_id=job.job_id)),
        (second.jobs.DeleteJob, jobs_pb2.DeleteJobRequest(job_id=job.job_id)),
    ):
        assert await refusal(call(request, metadata=second.metadata)) == "JOB_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [event async for event in second.watch(job.job_id)]
    assert reason_of(caught.value) == "JOB_NOT_FOUND"
    listed = await second.jobs.ListJobs(jobs_pb2.ListJobsRequest(), metadata=second.metadata)
    assert not listed.jobs


async def test_one_request_id_means_a_job_for_each_tenant(clients: list[Client]) -> None:
    first, second, _ = clients
    made = [await client.create(await client.spec(), "same") for client in (first, second)]
    assert made[0].job_id != made[1].job_id
    for client, job in zip((first, second), made, strict=True):
        ended = await client.wait(job.job_id)
        assert ended.result.video.key.startswith(f"results/{'first' if client is first else 'second'}/")


async def test_another_tenants_objects_and_avatars_cannot_be_used(clients: list[Client]) -> None:
    first, second, _ = clients
    spec = await first.spec()
    assert await refusal(second.create(spec)) == "FOREIGN_OBJECT"
    download = second.media.Download(media_pb2.DownloadRequest(object=spec.audio), metadata=second.metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [reply async for reply in download]
    assert reason_of(caught.value) == "FOREIGN_OBJECT"
    request = avatars_pb2.CreateAvatarRequest(spec=avatars_pb2.AvatarSpec(portrait=spec.portrait))
    avatar = (await first.avatars.CreateAvatar(request, metadata=first.metadata)).avatar
    theirs = jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=await second.audio())
    assert await refusal(second.create(theirs)) == "AVATAR_NOT_FOUND"
    get = avatars_pb2.GetAvatarRequest(avatar_id=avatar.avatar_id)
    assert await refusal(second.avatars.GetAvatar(get, metadata=second.metadata)) == "AVATAR_NOT_FOUND"
    upload = await first.media.CreateUpload(
        media_pb2.CreateUploadRequest(kind=media_pb2.MEDIA_KIND_AUDIO), metadata=first.metadata
    )
    complete = media_pb2.CompleteUploadRequest(upload_id=upload.upload_id)
    assert await refusal(second.media.CompleteUpload(complete, metadata=second.metadata)) == "NOT_FOUND"


async def test_a_call_without_a_known_token_is_refused(clients: list[Client]) -> None:
    *_, stranger = clients
    assert await refusal(stranger.get("any")) == "UNAUTHENTICATED"
    stranger.metadata = []
    assert await refusal(stranger.get("any")) == "UNAUTHENTICATED"
