"""A whole Animate call on the neural engine, over gRPC and a real object store, with synthetic weights."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from visema.common.v1 import common_pb2
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.keys import media_key
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import serve
from visema_liveportrait.__main__ import make_spec
from visema_liveportrait.settings import LiveportraitSettings
from visema_media.segments import read_segment

SAMPLES = Path(__file__).resolve().parents[4].parent / "shared" / "samples"
pytestmark = [
    pytest.mark.neural,
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here"),
]


def settings_for(config: StoreConfig, folder: Path) -> LiveportraitSettings:
    return LiveportraitSettings(
        listen="127.0.0.1:0",
        metrics_listen="off",
        s3_endpoint=config.endpoint,
        s3_access_key=config.access_key,
        s3_secret_key=config.secret_key,
        s3_bucket=config.bucket,
        s3_region=config.region,
        engine="neural",
        device="cpu",
        checkpoint_dir=folder,
        loop_s=0.4,
        segment_s=0.2,
    )


async def test_a_neural_animation_arrives_whole_and_a_cancelled_one_frees_the_engine(
    object_store: ObjectStore, store_config: StoreConfig, checkpoint_folder: Path
) -> None:
    owner = f"t-{uuid.uuid4().hex[:12]}"
    picture = (SAMPLES / "portrait_girl.jpg").read_bytes()
    portrait = await object_store.put(media_key(owner, "portrait_girl.jpg"), picture, "image/jpeg")

    def wish(seed: int, frames: int) -> portrait_pb2.AnimateRequest:
        return portrait_pb2.AnimateRequest(
            context=common_pb2.WorkContext(tenant=owner, work_id=f"job-{seed}"),
            portrait=portrait,
            size_px=256,
            frame_rate=common_pb2.FrameRate(numerator=5, denominator=1),
            frame_count=frames,
            motion=portrait_pb2.MotionSettings(seed=seed),
        )

    async with (
        serve(make_spec(settings_for(store_config, checkpoint_folder))) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub: Any = portrait_pb2_grpc.PortraitAnimationServiceStub(channel)
        cancelled = stub.Animate(wish(1, 2))
        assert (await anext(aiter(cancelled))).WhichOneof("event") == "accepted"
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(aiter(cancelled))
        replies = [reply async for reply in stub.Animate(wish(2, 3))]
    assert replies[0].accepted.engine.name == "liveportrait"
    assert not replies[0].accepted.engine.degraded
    assert replies[-1].WhichOneof("event") == "summary"
    segments = [reply.segment for reply in replies if reply.WhichOneof("event") == "segment"]
    contents = [read_segment(await object_store.get(segment.object, owner)) for segment in segments]
    assert sum(len(content.frames) for content in contents) == 3
    assert all(content.frames.shape[1:] == (256, 256, 3) for content in contents)
    assert all(len(content.track) == len(content.frames) for content in contents)
