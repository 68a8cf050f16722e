"""Stage 1 as callers see it: a real server, a real object store, real portraits."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from support.accelerator import FakeMemory
from visema.common.v1 import common_pb2
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.device_meter import DeviceMeter
from visema_kit.errors import (
    CheckpointMissing,
    DeviceBusy,
    ForeignObject,
    ImageTooLarge,
    InvalidInput,
    MediaTooLarge,
    MediaUnreadable,
    NoFaceFound,
    ObjectMismatch,
    ObjectNotFound,
    SeveralFaces,
)
from visema_kit.keys import media_key
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import serve
from visema_kit.status import from_rpc_error
from visema_liveportrait.__main__ import make_spec
from visema_liveportrait.animation import Preparer
from visema_liveportrait.engines.embedded.engine import EmbeddedEngine
from visema_liveportrait.settings import LiveportraitSettings
from visema_media.segments import read_segment

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here")

Stub = Any  # the stubs know an asynchronous stub for type checkers only


def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


def settings_for(config: StoreConfig, **changes: Any) -> LiveportraitSettings:
    values: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "off",
        "s3_endpoint": config.endpoint,
        "s3_access_key": config.access_key,
        "s3_secret_key": config.secret_key,
        "s3_bucket": config.bucket,
        "s3_region": config.region,
        "engine": "embedded",
        "loop_s": 4.0,
    }
    return LiveportraitSettings(**(values | changes))


@asynccontextmanager
async def stage(config: StoreConfig, **changes: Any) -> AsyncIterator[Stub]:
    async with (
        serve(make_spec(settings_for(config, **changes))) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield portrait_pb2_grpc.PortraitAnimationServiceStub(channel)


async def stored(store: ObjectStore, owner: str, name: str) -> common_pb2.ObjectRef:
    return await store.put(media_key(owner, name), (SAMPLES / name).read_bytes(), "image/jpeg")


def wish(portrait: common_pb2.ObjectRef, owner: str, **changes: Any) -> portrait_pb2.AnimateRequest:
    values: dict[str, Any] = {
        "context": common_pb2.WorkContext(tenant=owner, work_id="job-1"),
        "portrait": portrait,
        "size_px": 256,
        "frame_rate": common_pb2.FrameRate(numerator=25, denominator=1),
        "frame_count": 60,
    }
    return portrait_pb2.AnimateRequest(**(values | changes))


async def replies(stub: Stub, request: portrait_pb2.AnimateRequest) -> list[portrait_pb2.AnimateResponse]:
    return [reply async for reply in stub.Animate(request)]


def segments_of(found: list[portrait_pb2.AnimateResponse]) -> list[common_pb2.Segment]:
    return [reply.segment for reply in found if reply.WhichOneof("event") == "segment"]


async def error_of(call: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_animate_says_accepted_first_delivers_all_frames_and_ends_with_a_summary(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config) as stub:
        found = await replies(stub, wish(portrait, owner))
    kinds = [reply.WhichOneof("event") for reply in found]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "summary"
    accepted, summary = found[0].accepted, found[-1].summary
    assert (accepted.segment_frame_count, accepted.loop_frame_count, accepted.cached_segment_count) == (25, 100, 0)
    assert accepted.engine.name == "embedded"
    segments = segments_of(found)
    assert [(each.index, each.first_frame, each.frame_count) for each in segments] == [
        (0, 0, 25),
        (1, 25, 25),
        (2, 50, 10),
    ]
    assert (summary.frame_count, summary.segment_count, summary.reused_segment_count) == (60, 3, 0)
    assert summary.compute_duration.ToMicroseconds() > 0
    assert summary.written_bytes > 0
    content = read_segment(await object_store.get(segments[0].object, owner))
    assert content.frames.shape == (25, 256, 256, 3)
    assert len(content.track) == 25


async def test_a_second_request_is_served_from_the_stored_loop_also_by_another_process(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config) as stub:
        first = await replies(stub, wish(portrait, owner, frame_count=50))
    async with stage(store_config) as stub:
        second = await replies(stub, wish(portrait, owner, frame_count=230))
    assert second[0].accepted.cached_segment_count == 2
    assert second[0].accepted.face == first[0].accepted.face
    earlier, later = segments_of(first), segments_of(second)
    assert [each.object.key for each in later[:2]] == [each.object.key for each in earlier]
    assert [each.object.key for each in later[4:8]] == [each.object.key for each in later[:4]]
    assert (later[-1].index, later[-1].first_frame, later[-1].frame_count) == (9, 225, 5)
    assert second[-1].summary.reused_segment_count == 8
    assert {each.object.key.split("/")[0] for each in later} == {"loops"}


async def test_without_memory_on_the_device_stored_loops_are_served_and_new_ones_refused(
    object_store: ObjectStore, store_config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Portraits that are only kept for later are forgotten before a call is refused."""
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    meter, memory = DeviceMeter(), FakeMemory(free=100, need=10)
    meter.watch(memory)
    meter.measure_frame(lambda: None)
    monkeypatch.setattr(EmbeddedEngine, "check_room", lambda _: meter.check_room())
    forget = Preparer.forget

    def gives_memory_back(preparer: Preparer) -> int:
        count = forget(preparer)
        memory.free += count
        return count

    monkeypatch.setattr(Preparer, "forget", gives_memory_back)
    new, other = (wish(portrait, owner, frame_count=10, motion=portrait_pb2.MotionSettings(seed=n)) for n in (4, 5))
    async with stage(store_config) as stub:
        wanted = wish(portrait, owner, frame_count=10)
        await replies(stub, wanted)
        memory.free = 9
        assert (await replies(stub, wanted))[-1].summary.reused_segment_count == 1
        assert (await replies(stub, new))[-1].summary.frame_count == memory.free == 10
        memory.free = 8
        busy = await error_of(replies(stub, other))
        assert isinstance(busy, DeviceBusy)
        assert busy.retry_after_s > 0
        memory.free = 10
        assert (await replies(stub, other))[-1].summary.frame_count == 10


async def test_a_broken_stream_resumes_at_the_segment_that_is_asked_for(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config) as stub:
        whole = segments_of(await replies(stub, wish(portrait, owner)))
        rest = segments_of(await replies(stub, wish(portrait, owner, first_segment_index=2)))
        beyond = await error_of(replies(stub, wish(portrait, owner, first_segment_index=3)))
    assert [each.SerializeToString() for each in rest] == [whole[2].SerializeToString()]
    assert isinstance(beyond, InvalidInput)


async def test_motion_that_never_repeats_is_the_same_when_it_is_rendered_from_the_middle(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    motion = portrait_pb2.MotionSettings(loop=False, seed=5)
    async with stage(store_config) as stub:
        whole = segments_of(await replies(stub, wish(portrait, owner, motion=motion)))
        other = common_pb2.WorkContext(tenant=owner, work_id="job-2")
        rest = segments_of(
            await replies(stub, wish(portrait, owner, motion=motion, context=other, first_segment_index=1))
        )
    assert {each.object.key.split("/")[0] for each in whole} == {"jobs"}
    assert [each.object.sha256 for each in rest] == [each.object.sha256 for each in whole[1:]]


async def test_an_endless_motion_follows_the_speech_and_a_loop_does_not_even_look_at_it(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    speech = await stored(object_store, owner, "speech_en_5s.wav")
    nothing = common_pb2.ObjectRef(bucket="elsewhere", key="media/somebody/nothing", sha256="0" * 64, size_bytes=1)
    endless = portrait_pb2.MotionSettings(loop=False)
    deaf = portrait_pb2.MotionSettings(loop=False, speech_motion=0)
    async with stage(store_config) as stub:

        async def shown(motion: portrait_pb2.MotionSettings, ref: common_pb2.ObjectRef | None) -> list[str]:
            found = await replies(stub, wish(portrait, owner, motion=motion, speech=ref))
            return [each.object.sha256 for each in segments_of(found)]

        still = await shown(endless, None)
        following = await shown(endless, speech)
        assert following != still
        assert await shown(endless, speech) == following, "the same again"
        assert await shown(deaf, nothing) == await shown(deaf, None) == still
        assert await shown(portrait_pb2.MotionSettings(), nothing) == await shown(portrait_pb2.MotionSettings(), None)


async def test_speech_that_cannot_be_used_is_refused_before_any_frame(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    speech = await stored(object_store, owner, "speech_en_5s.wav")
    foreign = await stored(object_store, tenant(), "speech_en_5s.wav")
    wrong, absent, large = (common_pb2.ObjectRef.FromString(speech.SerializeToString()) for _ in range(3))
    wrong.sha256 = "0" * 64
    absent.key = f"media/{owner}/nothing"
    large.size_bytes = 10_000_000
    motion = portrait_pb2.MotionSettings(loop=False)
    async with stage(store_config) as stub:
        for ref, error in (
            (foreign, ForeignObject),
            (wrong, ObjectMismatch),
            (absent, ObjectNotFound),
            (large, MediaTooLarge),
            (portrait, MediaUnreadable),
        ):
            assert isinstance(await error_of(replies(stub, wish(portrait, owner, motion=motion, speech=ref))), error)


async def test_the_whole_picture_keeps_its_shape(object_store: ObjectStore, store_config: StoreConfig) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_mona_lisa.jpg")
    request = wish(portrait, owner, framing=portrait_pb2.FRAMING_FULL_PICTURE, frame_count=1, size_px=512)
    async with stage(store_config) as stub:
        (segment,) = segments_of(await replies(stub, request))
    content = read_segment(await object_store.get(segment.object, owner))
    assert content.frames.shape[1:] == (512, 288, 3)


async def test_pictures_that_cannot_be_used_are_refused_with_their_reason(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    cat = await stored(object_store, owner, "not_a_human_face_cat.jpg")
    two = await stored(object_store, owner, "two_faces.jpg")
    girl = await stored(object_store, owner, "portrait_girl.jpg")
    wrong = common_pb2.ObjectRef(**{field.name: value for field, value in girl.ListFields()} | {"sha256": "0" * 64})
    absent = common_pb2.ObjectRef(
        **{field.name: value for field, value in girl.ListFields()} | {"key": f"media/{owner}/nothing"}
    )
    async with stage(store_config) as stub:
        assert isinstance(await error_of(replies(stub, wish(cat, owner))), NoFaceFound)
        several = await error_of(replies(stub, wish(two, owner)))
        assert isinstance(several, SeveralFaces)
        assert isinstance(await error_of(replies(stub, wish(wrong, owner))), ObjectMismatch)
        assert isinstance(await error_of(replies(stub, wish(absent, owner))), ObjectNotFound)
        right = portrait_pb2.FaceSelection(index=1)
        found = await replies(stub, wish(two, owner, face=right, frame_count=1))
        assert found[0].accepted.face.box.left_px > 600
    async with stage(store_config, max_image_pixels=1000) as stub:
        assert isinstance(await error_of(replies(stub, wish(girl, owner, size_px=512))), ImageTooLarge)


async def test_inspect_lists_the_faces_from_left_to_right(object_store: ObjectStore, store_config: StoreConfig) -> None:
    owner = tenant()
    two = await stored(object_store, owner, "two_faces.jpg")
    async with stage(store_config) as stub:
        answer = await stub.Inspect(
            portrait_pb2.InspectRequest(
                context=common_pb2.WorkContext(tenant=owner, work_id="look"),
                portrait=two,
                face=portrait_pb2.FaceSelection(largest=True),
            )
        )
    assert (answer.width_px, answer.height_px, len(answer.faces)) == (1125, 720, 2)
    assert answer.faces[0].box.left_px < answer.faces[1].box.left_px


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"size_px": 255}, "size_px"),
        ({"size_px": 1026}, "size_px"),
        ({"frame_rate": common_pb2.FrameRate(numerator=200, denominator=1)}, "frame_rate"),
        ({"frame_count": 25 * 601}, "frame_count"),
        ({"motion": portrait_pb2.MotionSettings(head_motion=3.0)}, "motion.head_motion"),
        ({"motion": portrait_pb2.MotionSettings(head_motion=float("nan"))}, "motion.head_motion"),
        ({"motion": portrait_pb2.MotionSettings(speech_motion=2.5)}, "motion.speech_motion"),
        ({"framing": 17}, "framing"),
    ],
)
async def test_a_field_beyond_its_limits_is_named(
    object_store: ObjectStore, store_config: StoreConfig, changes: dict[str, Any], field: str
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config) as stub:
        error = await error_of(replies(stub, wish(portrait, owner, **changes)))
    assert isinstance(error, InvalidInput)
    assert error.field == field


async def test_calls_beyond_the_bound_are_refused_with_a_delay_before_any_reply(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config, max_streams=1) as stub:
        running = stub.Animate(wish(portrait, owner, frame_count=2000, motion=portrait_pb2.MotionSettings(loop=False)))
        assert (await anext(aiter(running))).WhichOneof("event") == "accepted"
        error = await error_of(replies(stub, wish(portrait, owner)))
        running.cancel()
        assert isinstance(error, DeviceBusy)
        assert error.retry_after_s > 0
        found: list[portrait_pb2.AnimateResponse] = []
        async with asyncio.timeout(60):
            while not found:  # the place is free once the stage has seen the cancellation
                with contextlib.suppress(grpc.aio.AioRpcError):
                    found = await replies(stub, wish(portrait, owner, frame_count=1))
                await asyncio.sleep(0.05)
        assert found[-1].WhichOneof("event") == "summary"


async def test_concurrent_calls_for_the_same_loop_render_each_segment_once(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config) as stub:
        one, two = await asyncio.gather(
            replies(stub, wish(portrait, owner, frame_count=100)), replies(stub, wish(portrait, owner, frame_count=100))
        )
    assert [each.object.sha256 for each in segments_of(one)] == [each.object.sha256 for each in segments_of(two)]
    assert one[-1].summary.reused_segment_count + two[-1].summary.reused_segment_count == 4


async def test_auto_without_checkpoints_says_that_it_is_degraded_and_neural_is_refused(
    object_store: ObjectStore, store_config: StoreConfig, tmp_path: Path
) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_girl.jpg")
    async with stage(store_config, engine="auto", checkpoint_dir=tmp_path) as stub:
        engine = (await stub.Describe(portrait_pb2.DescribeRequest())).engine
        refused = await error_of(replies(stub, wish(portrait, owner, engine=common_pb2.ENGINE_CHOICE_NEURAL)))
    assert (engine.name, engine.degraded) == ("embedded", True)
    assert engine.degraded_reason
    assert isinstance(refused, CheckpointMissing)


async def test_a_service_that_must_be_neural_does_not_start_without_checkpoints(
    s3_server: Any, store_config: StoreConfig, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointMissing):
        async with stage(store_config, engine="neural", checkpoint_dir=tmp_path):
            pass


async def test_frames_of_the_loop_close_without_a_jump(object_store: ObjectStore, store_config: StoreConfig) -> None:
    owner = tenant()
    portrait = await stored(object_store, owner, "portrait_astronaut_smile.png")
    async with stage(store_config, segment_codec="lossless") as stub:
        found = segments_of(await replies(stub, wish(portrait, owner, frame_count=100)))
    contents = [read_segment(await object_store.get(each.object, owner)) for each in found]
    frames = np.concatenate([content.frames for content in contents]).astype(np.int16)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert np.abs(frames[-1] - frames[0]).mean() <= 2.0 * np.median(steps)
    portrait_bgr = cv2.imread(str(SAMPLES / "portrait_astronaut_smile.png"))
    assert portrait_bgr is not None
