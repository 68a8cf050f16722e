"""Avatars: prepared ahead, used by jobs, deleted with everything that is theirs."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from harness import PATIENCE_S, Client, keys_below, reason_of, until
from stage_fakes import FakeStages
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_kit.objects import ObjectStore, StoreConfig

READY, FAILED = avatars_pb2.AVATAR_STATE_READY, avatars_pb2.AVATAR_STATE_FAILED


async def create(client: Client, request_id: str = "", **spec: object) -> avatars_pb2.Avatar:
    wanted = avatars_pb2.AvatarSpec(portrait=spec.pop("portrait", None) or await client.portrait(), **spec)
    request = avatars_pb2.CreateAvatarRequest(spec=wanted, request_id=request_id)
    return (await client.avatars.CreateAvatar(request)).avatar


async def prepared(client: Client, avatar_id: str) -> avatars_pb2.Avatar:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            request = avatars_pb2.GetAvatarRequest(avatar_id=avatar_id)
            avatar = (await client.avatars.GetAvatar(request)).avatar
            if avatar.state != avatars_pb2.AVATAR_STATE_PREPARING:
                return avatar
            await asyncio.sleep(0.02)


async def test_a_job_of_a_prepared_avatar_finds_every_frame_of_stage_one(client: Client, stages: FakeStages) -> None:
    avatar = await create(client, display_name="Ada")
    assert avatar.state == avatars_pb2.AVATAR_STATE_PREPARING
    assert avatar.face.yaw_degrees == 3
    ready = await prepared(client, avatar.avatar_id)
    assert (ready.state, ready.progress.frames_done) == (READY, 250)
    assert len(stages.portrait.computed) == 10, "the whole loop of 10 s is prepared"
    spec = jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=await client.audio(12))
    ended = await client.wait((await client.create(spec)).job_id)
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert ended.report.prepared
    assert ended.result.frame_count == 300
    assert len(stages.portrait.computed) == 10


async def test_a_job_may_move_its_avatar_otherwise_and_then_pays_for_it(client: Client) -> None:
    avatar = await create(client, size_px=256, frame_rate=common_pb2.FrameRate(numerator=50, denominator=1))
    await prepared(client, avatar.avatar_id)
    spec = jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=await client.audio(2))
    spec.motion.head_motion = 0
    ended = await client.wait((await client.create(spec)).job_id)
    assert not ended.report.prepared
    assert ended.result.frame_count == 100, "the frame rate is the avatar's"


async def test_an_avatar_keeps_a_portrait_of_its_own(client: Client, object_store: ObjectStore) -> None:
    portrait = await client.portrait()
    avatar = await create(client, portrait=portrait)
    assert avatar.spec.portrait.key.startswith("avatars/default/")
    assert avatar.spec.portrait.sha256 == portrait.sha256
    await object_store.delete(portrait.key)
    spec = jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=await client.audio())
    assert (await client.wait((await client.create(spec)).job_id)).state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_a_deleted_avatar_leaves_no_objects_but_its_videos(
    client: Client, store_config: StoreConfig, object_store: ObjectStore, stages: FakeStages
) -> None:
    avatar = await create(client)
    await prepared(client, avatar.avatar_id)
    spec = jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=await client.audio())
    ended = await client.wait((await client.create(spec)).job_id)
    await client.avatars.DeleteAvatar(avatars_pb2.DeleteAvatarRequest(avatar_id=avatar.avatar_id))
    assert not keys_below(store_config, f"avatars/default/{avatar.avatar_id}/")
    loop = next(iter(stages.portrait.computed)).rpartition("/")[0]
    assert not keys_below(store_config, loop + "/")
    assert await object_store.stat(ended.result.video.key) is not None
    for call in (
        client.avatars.GetAvatar(avatars_pb2.GetAvatarRequest(avatar_id=avatar.avatar_id)),
        client.create(spec),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason_of(caught.value) == "AVATAR_NOT_FOUND"


async def test_deleting_an_avatar_that_is_being_prepared_stops_the_stage(client: Client, stages: FakeStages) -> None:
    stages.portrait.hang_after = 1
    avatar = await create(client)
    await until(lambda: stages.portrait.hanging)
    await client.avatars.DeleteAvatar(avatars_pb2.DeleteAvatarRequest(avatar_id=avatar.avatar_id))
    await until(lambda: stages.portrait.cancelled)


async def test_the_same_request_gives_the_same_avatar_even_at_the_same_instant(
    client: Client, store_config: StoreConfig
) -> None:
    portrait = await client.portrait()
    made = await asyncio.gather(*(create(client, "once", portrait=portrait) for _ in range(10)))
    assert len({avatar.avatar_id for avatar in made}) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(client, "once", portrait=portrait, display_name="other")
    assert reason_of(caught.value) == "REQUEST_ID_REUSED"
    stored = {key.split("/")[2] for key in keys_below(store_config, "avatars/default/")}
    listed = await client.avatars.ListAvatars(avatars_pb2.ListAvatarsRequest())
    assert len(listed.avatars) == 1
    assert {avatar.avatar_id for avatar in made} <= stored


async def test_a_picture_without_a_face_makes_no_avatar(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(client, portrait=await client.portrait(b"nobody"))
    assert reason_of(caught.value) == "NO_FACE_FOUND"


async def test_avatars_are_listed_from_new_to_old_in_pages(client: Client) -> None:
    made = [(await create(client)).avatar_id for _ in range(3)]
    first = await client.avatars.ListAvatars(avatars_pb2.ListAvatarsRequest(page_size=2))
    rest = await client.avatars.ListAvatars(
        avatars_pb2.ListAvatarsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [avatar.avatar_id for avatar in (*first.avatars, *rest.avatars)] == made[::-1]
    assert not rest.next_page_token
    for avatar_id in made:
        await prepared(client, avatar_id)
