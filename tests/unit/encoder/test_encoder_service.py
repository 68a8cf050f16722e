"""The encoder as a gRPC service on a real S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import cv2
import grpc
import numpy as np
import pytest
from support.seaweed import S3Server
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema_encoder.__main__ import service_spec
from visema_encoder.codecs import encoder_opens
from visema_encoder.pipeline import EncodingPipeline, VideoStored
from visema_encoder.servicer import engine_info, job_of
from visema_encoder.session import WARN_NO_HARDWARE
from visema_encoder.settings import EncoderSettings
from visema_encoder.workers import Workers
from visema_kit.channel import open_channel
from visema_kit.clock import StageClock
from visema_kit.objects import ObjectStore
from visema_kit.server import serve
from visema_kit.status import from_rpc_error
from visema_media.audio import write_wav
from visema_media.segments import write_segment
from visema_media.track import FaceTrack

SIZE_PX = 256
TENANT = "encodertest"
RATE = Fraction(25)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
async def service(
    s3_server: S3Server, scratch: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[encoding_pb2_grpc.EncodingServiceAsyncStub]:
    variables = s3_server.environment() | {"VISEMA_SCRATCH_DIR": str(scratch)} | getattr(request, "param", {})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with serve(await service_spec(EncoderSettings())) as running, open_channel(running.address) as channel:
        yield encoding_pb2_grpc.EncodingServiceStub(channel)


def frames_with_number(first: int, count: int, size_px: int = SIZE_PX) -> np.ndarray:
    """Grey frames whose brightness tells their number."""
    levels = 40 + (np.arange(first, first + count) * 3) % 160
    return np.broadcast_to(levels[:, None, None, None], (count, size_px, size_px, 3)).astype(np.uint8)


def open_track(count: int, best: int | None = None) -> FaceTrack:
    """Eyes that are widest open at `best`; without it a track of other landmarks."""
    if best is None:
        return FaceTrack(
            np.arange(3, dtype=np.int32), np.zeros((count, 3, 2), np.float32), np.zeros((count, 4), np.float32)
        )
    ids = np.array([33, 133, 145, 159, 263, 362, 374, 386], np.int32)
    points = np.zeros((count, 8, 2), np.float32)
    points[:, [0, 4], 0], points[:, [1, 5], 0] = 0, 30  # corners
    points[:, [2, 6], 1] = 4
    points[best, [2, 6], 1] = 11
    return FaceTrack(ids, points, np.zeros((count, 4), np.float32))


class Inputs:
    """Objects of one job in the store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.work_id = f"job-{uuid.uuid4().hex[:12]}"

    async def audio(self, seconds: float) -> common_pb2.ObjectRef:
        times = np.arange(round(seconds * 48_000)) / 48_000
        speech = 0.3 * np.sin(2 * np.pi * 300 * times)[None].astype(np.float32)
        return await self._put("speech.wav", write_wav(speech, 48_000), "audio/wav")

    async def segment(
        self, index: int, first: int, count: int, *, held: int = 0, size_px: int = SIZE_PX, rate: Fraction = RATE
    ) -> common_pb2.Segment:
        held = held or count
        content = write_segment(frames_with_number(first, held, size_px), open_track(held, best=min(2, held - 1)), rate)
        name = f"segment-{index}-{count}-{held}-{size_px}.mkv"
        ref = await self._put(name, content, "video/x-matroska")
        return common_pb2.Segment(index=index, first_frame=first, frame_count=count, object=ref)

    async def segments(self, *counts: int) -> list[common_pb2.Segment]:
        firsts = [sum(counts[:index]) for index in range(len(counts))]
        return [await self.segment(index, first, counts[index]) for index, first in enumerate(firsts)]

    def opening(
        self, audio: common_pb2.ObjectRef, frame_count: int, *, tenant: str = TENANT, **settings: object
    ) -> encoding_pb2.EncodeRequest:
        return encoding_pb2.EncodeRequest(
            open=encoding_pb2.EncodeOpen(
                context=common_pb2.WorkContext(tenant=tenant, work_id=self.work_id),
                audio=audio,
                frame_rate=common_pb2.FrameRate(numerator=RATE.numerator, denominator=RATE.denominator),
                frame_count=frame_count,
                settings=encoding_pb2.EncodingSettings(**settings),
                max_in_flight=2,
                provenance=encoding_pb2.Provenance(
                    engines=["embedded 1.0", "embedded 2.0"], seed=42, title="Ada\nsays"
                ),
            )
        )

    async def _put(self, name: str, content: bytes, media_type: str) -> common_pb2.ObjectRef:
        return await self.store.put(f"jobs/{TENANT}/{self.work_id}/{name}", content, media_type)


@pytest.fixture
def inputs(object_store: ObjectStore) -> Inputs:
    return Inputs(object_store)


async def encode(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub,
    opening: encoding_pb2.EncodeRequest,
    segments: Sequence[common_pb2.Segment],
) -> list[encoding_pb2.EncodeResponse]:
    """Send with respect for the credit, and collect all replies."""
    call = service.Encode(timeout=60)
    await call.write(opening)
    replies, sent, limit = [], 0, 0
    async for reply in call:
        replies.append(reply)
        if reply.HasField("accepted"):
            limit = reply.accepted.max_in_flight
        elif reply.HasField("segment_done"):
            limit += 1
        while sent < min(limit, len(segments)):
            await call.write(encoding_pb2.EncodeRequest(segment=segments[sent]))
            sent += 1
        if sent == len(segments) and limit >= 0:
            await call.done_writing()
            limit = -1_000_000
    return replies


async def refusal(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


def events(replies: Sequence[encoding_pb2.EncodeResponse]) -> list[str]:
    return [str(reply.WhichOneof("event")) for reply in replies]


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


async def test_more_segments_than_the_credit_allows_are_refused(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    segments, audio = await inputs.segments(*[25] * 8), await inputs.audio(8)

    async def flood() -> None:
        call = service.Encode(timeout=60)
        await call.write(inputs.opening(audio, 200))
        for segment in segments:
            await call.write(encoding_pb2.EncodeRequest(segment=segment))
        await call.done_writing()
        async for _ in call:
            pass

    assert await refusal(flood()) == "CREDIT_EXCEEDED"


async def wait_until_empty(folder: Path) -> None:
    """The limit is for a hang, not for speed."""
    async with asyncio.timeout(60):
        while any(folder.iterdir()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_work_stops_and_the_scratch_file_goes_when_the_caller_does(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs, scratch: Path, how: str
) -> None:
    segments, audio = await inputs.segments(25, 25), await inputs.audio(2)
    for deadline_s in (60,) if how == "cancel" else (4, 16, 60):  # a later one where the machine is too slow for it
        call = service.Encode(timeout=deadline_s)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(inputs.opening(audio, 50, preset="veryslow"))
            assert (await call.read()).HasField("accepted")
            await call.write(encoding_pb2.EncodeRequest(segment=segments[0]))
            assert (await call.read()).HasField("segment_done")
            if any(scratch.iterdir()):
                break
    else:
        pytest.fail("there is no scratch file while it works")
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the deadline may come before
        await call.write(encoding_pb2.EncodeRequest(segment=segments[1]))
    if how == "cancel":
        call.cancel()
    else:
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_until_empty(scratch)
    described = await service.Describe(encoding_pb2.DescribeRequest(), timeout=60)
    assert described.engine.name == "libx264"


@pytest.mark.parametrize("service", [{"VISEMA_ENCODER_TIME_LIMIT_S": "1"}], indirect=True)
async def test_a_caller_that_sends_nothing_meets_the_time_limit(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    async def idle() -> None:
        call = service.Encode(timeout=60)
        await call.write(inputs.opening(await inputs.audio(1), 25))
        async for _ in call:
            pass

    assert await refusal(idle()) == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("service", [{"VISEMA_MAX_STREAMS": "1"}], indirect=True)
async def test_a_video_beyond_the_allowed_number_is_told_to_come_later(
    service: encoding_pb2_grpc.EncodingServiceAsyncStub, inputs: Inputs
) -> None:
    audio, segments = await inputs.audio(0.4), await inputs.segments(10)
    first = service.Encode(timeout=60)
    await first.write(inputs.opening(audio, 10))
    assert (await first.read()).HasField("accepted")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encode(service, inputs.opening(audio, 10), segments)
    assert from_rpc_error(caught.value).reason == "DEVICE_BUSY"
    assert from_rpc_error(caught.value).retry_after_s > 0
    first.cancel()
    replies: list[encoding_pb2.EncodeResponse] = []
    async with asyncio.timeout(60):
        while not replies:  # the slot is free once the server has seen the cancellation
            with contextlib.suppress(grpc.aio.AioRpcError):
                replies = await encode(service, inputs.opening(audio, 10), segments)
            await asyncio.sleep(0.01)
    assert events(replies)[-1] == "summary"


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
