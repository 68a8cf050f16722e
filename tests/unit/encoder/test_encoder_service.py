"""The encoder as a gRPC service on a real S3 server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import cv2
import grpc
import numpy as np
import pytest
from support.encoding import SIZE_PX, TENANT, Inputs, encode, events, frames_with_number, refusal
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema_encoder.codecs import encoder_opens
from visema_encoder.pipeline import EncodingPipeline, VideoStored
from visema_encoder.servicer import engine_info, job_of
from visema_encoder.session import WARN_NO_HARDWARE
from visema_encoder.workers import Workers
from visema_kit.clock import StageClock
from visema_kit.objects import ObjectStore


async def test_describe_names_the_encoder(service: encoding_pb2_grpc.EncodingServiceAsyncStub) -> None:
    described = await service.Describe(encoding_pb2.DescribeRequest())
    assert described.engine.name == "libx264"
    assert described.engine.model_license == "GPL-2.0-or-later"
    assert not described.engine.degraded
    assert "libx264" in described.video_encoders


async def test_segments_become_a_video(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs, scratch: Path
) -> None:
    segments = await inputs.segments(25, 25, 11)
    replies = await encode(service, inputs.opening(await inputs.audio(2.43), 61, still_frames=[60, 3, 3]), segments)
    assert events(replies) == ["accepted", *["segment_done", "progress"] * 3, "result", "summary"]
    assert replies[0].accepted.engine.name == "libx264"
    assert replies[0].accepted.max_in_flight == 2
    assert [reply.segment_done.index for reply in replies if reply.HasField("segment_done")] == [0, 1, 2]
    assert [reply.progress.frames_done for reply in replies if reply.HasField("progress")] == [25, 50, 61]

    result = replies[-2].result
    assert (result.frame_count, result.width_px, result.height_px) == (61, SIZE_PX, SIZE_PX)
    assert result.video_duration.ToMilliseconds() == 2440
    assert result.audio_duration.ToMilliseconds() == 2440
    assert result.video.key.startswith(f"results/{TENANT}/{inputs.work_id}/video-")
    assert result.video.media_type == "video/mp4"
    with av.open(BytesIO(await inputs.store.get(result.video, TENANT))) as container:
        tags = container.metadata
        levels = [int(frame.to_ndarray()[100, 100]) for frame in container.decode(video=0)]
    wanted = [round(16 + 219 * int(level) / 255) for level in frames_with_number(0, 61)[:, 0, 0, 0]]
    assert np.abs(np.array(levels) - wanted).max() <= 2
    assert tags["title"] == "Ada says"
    assert "Synthetic" in tags["comment"]
    assert (tags["visema.synthetic"], tags["visema.seed"], tags["visema.job"]) == ("true", "42", inputs.work_id)
    assert tags["visema.engines"].startswith("embedded 1.0; embedded 2.0; libx264 ")

    poster = cv2.imdecode(np.frombuffer(await inputs.store.get(result.poster, TENANT), np.uint8), cv2.IMREAD_COLOR)
    assert abs(int(poster[50, 50, 0]) - int(frames_with_number(2, 1)[0, 0, 0, 0])) <= 2  # the eyes are open there
    assert [still.frame for still in result.stills] == [3, 60]
    still = cv2.imdecode(np.frombuffer(await inputs.store.get(result.stills[1].object, TENANT), np.uint8), 1)
    assert abs(int(still[50, 50, 0]) - int(frames_with_number(60, 1)[0, 0, 0, 0])) <= 1

    summary = replies[-1].summary
    assert (summary.frame_count, summary.segment_count) == (61, 3)
    assert summary.compute_duration.ToMicroseconds() > 0
    assert summary.storage_duration.ToMicroseconds() > 0
    assert summary.read_bytes > sum(segment.object.size_bytes for segment in segments)
    assert summary.written_bytes > 0
    assert list(summary.warnings) == []
    assert list(scratch.iterdir()) == []


async def test_only_the_announced_frames_of_a_longer_segment_are_used(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    segments = [await inputs.segment(0, 0, 5, held=25)]
    replies = await encode(service, inputs.opening(await inputs.audio(0.2), 5, fragmented=True), segments)
    with av.open(BytesIO(await inputs.store.get(replies[-2].result.video, TENANT))) as container:
        assert len(list(container.decode(video=0))) == 5


async def test_the_first_segment_is_done_before_the_last_is_sent(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    segments = await inputs.segments(25, 25)
    call = service.Encode(timeout=60)
    await call.write(inputs.opening(await inputs.audio(2), 50))
    assert (await call.read()).HasField("accepted")
    await call.write(encoding_pb2.EncodeRequest(segment=segments[0]))
    assert (await call.read()).segment_done.index == 0
    assert (await call.read()).progress.frames_done == 25
    await call.write(encoding_pb2.EncodeRequest(segment=segments[1]))
    await call.done_writing()
    replies = [await call.read() for _ in range(4)]
    assert events(replies) == ["segment_done", "progress", "result", "summary"]
    assert await call.read() is grpc.aio.EOF


async def test_the_same_video_again_is_the_same_object(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    segments, audio = await inputs.segments(10), await inputs.audio(0.4)
    first = await encode(service, inputs.opening(audio, 10), segments)
    again = await encode(service, inputs.opening(audio, 10), segments)
    other = await encode(service, inputs.opening(audio, 10, crf=30), segments)
    assert first[-2].result.video == again[-2].result.video
    assert again[-1].summary.written_bytes == 0
    assert first[-2].result.video.key != other[-2].result.video.key


async def test_too_few_and_too_many_frames_are_refused(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs, scratch: Path
) -> None:
    segments, audio = await inputs.segments(10, 10), await inputs.audio(1)
    assert await refusal(encode(service, inputs.opening(audio, 21), segments)) == "INVALID_INPUT"
    assert await refusal(encode(service, inputs.opening(audio, 19), segments)) == "INVALID_INPUT"
    assert await refusal(encode(service, inputs.opening(audio, 20), [])) == "INVALID_INPUT"
    assert list(scratch.iterdir()) == []


async def test_segments_that_do_not_fit_are_refused(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    audio, first = await inputs.audio(1), await inputs.segment(0, 0, 10)
    for second in (
        await inputs.segment(1, 10, 10, size_px=258),
        await inputs.segment(1, 10, 10, rate=Fraction(24), held=11),
        await inputs.segment(2, 10, 10, held=12),
        await inputs.segment(1, 9, 10, held=13),
    ):
        assert await refusal(encode(service, inputs.opening(audio, 20), [first, second])) == "INVALID_INPUT"
    short = await inputs.segment(1, 10, 5, held=5)
    short.frame_count = 10
    assert await refusal(encode(service, inputs.opening(audio, 20), [first, short])) == "INVALID_INPUT"
    small = await inputs.segment(0, 0, 20, size_px=128)
    assert await refusal(encode(service, inputs.opening(audio, 20), [small])) == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("field", "value"),
    [("crf", 60), ("preset", "warp"), ("bitrate_bps", 5), ("still_frames", [20]), ("audio_bitrate_bps", 3)],
)
async def test_wrong_settings_are_refused_before_any_work(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs, field: str, value: object
) -> None:
    opening = inputs.opening(await inputs.audio(1), 20, **{field: value})
    assert await refusal(encode(service, opening, [])) == "INVALID_INPUT"


async def test_objects_of_others_and_objects_that_changed_are_refused(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    audio, segments = await inputs.audio(0.4), await inputs.segments(10)
    assert await refusal(encode(service, inputs.opening(audio, 10, tenant="someone"), [])) == "FOREIGN_OBJECT"
    wrong = common_pb2.ObjectRef()
    wrong.CopyFrom(audio)
    wrong.sha256 = "0" * 64
    assert await refusal(encode(service, inputs.opening(wrong, 10), segments)) == "OBJECT_MISMATCH"
    no_audio = segments[0].object
    assert await refusal(encode(service, inputs.opening(no_audio, 10), segments)) == "MEDIA_UNREADABLE"
    not_a_segment = common_pb2.Segment(index=0, first_frame=0, frame_count=10, object=audio)
    assert await refusal(encode(service, inputs.opening(audio, 10), [not_a_segment])) == "OBJECT_CORRUPT"


async def test_several_videos_are_encoded_at_once(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, object_store: ObjectStore
) -> None:
    async def one(count: int) -> int:
        inputs = Inputs(object_store)
        segments = await inputs.segments(count)
        replies = await encode(service, inputs.opening(await inputs.audio(count / 25), count), segments)
        return int(replies[-2].result.frame_count)

    assert await asyncio.gather(*(one(count) for count in (5, 10, 15))) == [5, 10, 15]


async def test_a_missing_hardware_encoder_is_reported_and_does_not_fail(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    described = await service.Describe(encoding_pb2.DescribeRequest())
    replies = await encode(
        service, inputs.opening(await inputs.audio(0.4), 10, prefer_hardware=True), await inputs.segments(10)
    )
    summary = replies[-1].summary
    if list(described.video_encoders) == ["libx264"]:
        assert list(summary.warnings) == [WARN_NO_HARDWARE]
    assert summary.engine.name == described.video_encoders[0]


@pytest.mark.skipif(encoder_opens("h264_nvenc"), reason="this machine has NVENC")
async def test_a_hardware_encoder_that_opens_no_more_falls_back_to_software(inputs: Inputs, scratch: Path) -> None:
    """As after start-up, when the device went away or has no session left."""
    workers = Workers(1)
    pipeline = EncodingPipeline(inputs.store, workers, ("h264_nvenc", "libx264"), scratch, 1)
    job = job_of(inputs.opening(await inputs.audio(0.4), 10, prefer_hardware=True).open, 60)
    clock = StageClock("encoder", engine_info(pipeline.encoder_for(job)))
    samples = await pipeline.load_audio(job, clock)

    async def segments() -> AsyncIterator[common_pb2.Segment]:
        for segment in await inputs.segments(10):
            yield segment

    stored = [event async for event in pipeline.encode(job, samples, segments(), clock)][-1]
    assert isinstance(stored, VideoStored)
    assert stored.encoder == "libx264"
    assert list(clock.report().warnings) == [WARN_NO_HARDWARE]
    await workers.aclose()


async def test_audio_of_another_length_is_fitted_with_a_warning(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    replies = await encode(service, inputs.opening(await inputs.audio(1), 10), await inputs.segments(10))
    assert replies[-2].result.audio_duration.ToMilliseconds() == 400
    assert "cut by 0.600 s" in replies[-1].summary.warnings[0]
