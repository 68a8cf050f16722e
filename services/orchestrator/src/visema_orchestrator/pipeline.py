"""Chains Animate, Sync and Encode: every segment is passed on as soon as its reference arrives.

Three tasks run at once, one per stage. Between them stand two `SegmentLog`s, so a broken stream is opened again without
its neighbours noticing: stages 1 and 2 resume at the first missing segment, the encoder starts again from segment 0
with references that are known already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.errors import InternalError, StageUnavailable, VisemaError
from visema_kit.quality import add_quality

from visema_orchestrator.retry import RetryPolicy, StageAttempts
from visema_orchestrator.segment_log import SegmentLog
from visema_orchestrator.stages import ENCODER, LIVEPORTRAIT, WAV2LIP, Stages, StageStream
from visema_orchestrator.timeline import StageTimes

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")
Attempt = Callable[[], Coroutine[Any, Any, None]]
Progress = Callable[[str, int, int], None]  # stage, frames done, frames in all


@dataclass(frozen=True, slots=True)
class PipelineRequest:
    """What one video needs.

    Attributes:
        animate: Request to stage 1; `first_segment_index` is set by the pipeline.
        audio: The canonical WAV.
        words: Word timings of synthetic speech; empty for recordings.
        max_in_flight: Segments that a stage may get ahead.
    """

    animate: portrait_pb2.AnimateRequest
    audio: common_pb2.ObjectRef
    words: Sequence[lipsync_pb2.WordTiming]
    lip_sync: lipsync_pb2.LipSyncSettings
    encoding: encoding_pb2.EncodingSettings
    engine: common_pb2.EngineChoice.ValueType
    title: str
    max_in_flight: int


class Credit:
    """How many segments may be sent before the stage confirms one."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(0)

    def grant(self, count: int) -> None:
        """Allow `count` more segments."""
        for _ in range(count):
            self._free.release()

    async def take(self) -> None:
        """Wait until one segment may be sent."""
        await self._free.acquire()


class Pipeline:
    """One video's way through the stages.

    Args:
        job_start_s: `time.monotonic()` from which the timeline counts.
        deadline_s: `time.monotonic()` at which the stages must have ended.
    """

    def __init__(
        self,
        stages: Stages,
        request: PipelineRequest,
        policy: RetryPolicy,
        *,
        job_start_s: float,
        deadline_s: float,
        on_progress: Progress,
        on_animated: Callable[[common_pb2.Segment], None],
    ) -> None:
        self._stages = stages
        self._request = request
        self._policy = policy
        self._deadline_s = deadline_s
        self._on_progress = on_progress
        self._on_animated = on_animated
        frame_count = request.animate.frame_count
        self.animated = SegmentLog(LIVEPORTRAIT, frame_count)
        self.synced = SegmentLog(WAV2LIP, frame_count)
        self.times = {name: StageTimes(name, job_start_s) for name in (LIVEPORTRAIT, WAV2LIP, ENCODER)}
        self.result: encoding_pb2.EncodeResult | None = None
        self.quality = common_pb2.QualityStatistics()  # of the synced segments, each counted once
        self.loop_frame_count = 0  # frames after which stage 1 repeats itself
        self._engines_known = asyncio.Event()

    async def run(self) -> encoding_pb2.EncodeResult:
        """Make the video. Raises: VisemaError: the first fault that could not be mended."""
        fault: VisemaError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat(LIVEPORTRAIT, self._animate, lambda: len(self.animated.segments)))
                group.create_task(self._repeat(WAV2LIP, self._sync, lambda: len(self.synced.segments)))
                group.create_task(self._repeat(ENCODER, self._encode, lambda: len(self.synced.segments)))
        except* VisemaError as faults:
            fault = first_fault(faults)
        if fault is not None:  # raised out here: Python 3.11.2 (Debian 12) wraps what such a clause raises
            raise fault
        if self.result is None or self.result.frame_count != self.animated.frame_count:
            raise InternalError("the encoder ended without the whole video")
        return self.result

    async def animate_only(self) -> None:
        """Run stage 1 alone: prepares a loop. Raises: VisemaError."""
        await self._repeat(LIVEPORTRAIT, self._animate, lambda: len(self.animated.segments))

    async def _repeat(self, stage: str, attempt: Attempt, progress: Callable[[], int]) -> None:
        attempts = StageAttempts(self._policy)
        times = self.times[stage]

        async def counted() -> None:
            times.retry_count = attempts.retry_count
            await attempt()

        await attempts.run(counted, progress)
        times.end()

    def _timeout_s(self) -> float:
        return max(self._deadline_s - time.monotonic(), 0.001)

    async def _animate(self) -> None:
        log, times = self.animated, self.times[LIVEPORTRAIT]
        if log.is_complete:
            return  # the stream broke between the last segment and the summary
        request = portrait_pb2.AnimateRequest()
        request.CopyFrom(self._request.animate)
        request.first_segment_index = len(log.segments)
        times.start()
        async with self._stages.animate(request, self._timeout_s()) as stream:
            async for reply in stream:
                match reply.WhichOneof("event"):
                    case "accepted":
                        self.loop_frame_count = reply.accepted.loop_frame_count
                        self._accepted(times, reply.accepted.engine)
                    case "segment":
                        await log.append(reply.segment)
                        self._on_animated(reply.segment)
                        self._delivered(times, log.frames_done)
                    case "summary":
                        times.report = reply.summary
        self._must_be_complete(log)

    async def _sync(self) -> None:
        log, times = self.synced, self.times[WAV2LIP]
        if log.is_complete:
            return
        times.start()
        async with self._stages.sync(self._timeout_s()) as stream:
            credit = Credit()
            opening = lipsync_pb2.SyncOpen(
                context=self._request.animate.context,
                audio=self._request.audio,
                frame_rate=self._request.animate.frame_rate,
                frame_count=log.frame_count,
                settings=self._request.lip_sync,
                max_in_flight=self._request.max_in_flight,
                engine=self._request.engine,
                words=self._request.words,
            )
            if log.segments:  # otherwise the first segment that is sent serves, and the stage can open before it exists
                opening.reference.CopyFrom(self.animated.segments[0])
            requests = _requests(
                lipsync_pb2.SyncRequest(open=opening),
                (lipsync_pb2.SyncRequest(segment=segment) async for segment in self.animated.read(len(log.segments))),
            )
            async with _sending(stream, requests, credit):
                async for reply in stream:
                    match reply.WhichOneof("event"):
                        case "accepted":
                            self._accepted(times, reply.accepted.engine)
                            credit.grant(max(reply.accepted.max_in_flight, 1))
                        case "segment_done":
                            await log.append(reply.segment_done)
                            add_quality(self.quality, reply.quality)
                            credit.grant(1)
                            self._delivered(times, log.frames_done)
                        case "summary":
                            times.report = reply.summary
        self._must_be_complete(log)

    async def _encode(self) -> None:
        times = self.times[ENCODER]
        await self._engines_known.wait()  # the file names them
        times.start()
        frames_done = 0
        result: encoding_pb2.EncodeResult | None = None
        async with self._stages.encode(self._timeout_s()) as stream:
            credit = Credit()
            opening = encoding_pb2.EncodeOpen(
                context=self._request.animate.context,
                audio=self._request.audio,
                frame_rate=self._request.animate.frame_rate,
                frame_count=self.synced.frame_count,
                settings=self._request.encoding,
                max_in_flight=self._request.max_in_flight,
                provenance=self._provenance(),
            )
            requests = _requests(
                encoding_pb2.EncodeRequest(open=opening),
                (encoding_pb2.EncodeRequest(segment=segment) async for segment in self.synced.read(0)),
            )
            async with _sending(stream, requests, credit):
                async for reply in stream:
                    match reply.WhichOneof("event"):
                        case "accepted":
                            self._accepted(times, reply.accepted.engine)
                            credit.grant(max(reply.accepted.max_in_flight, 1))
                        case "segment_done":
                            frames_done += self.synced.segments[reply.segment_done.index].frame_count
                            credit.grant(1)
                            self._delivered(times, frames_done)
                        case "result":
                            result = reply.result
                        case "summary":
                            times.report = reply.summary
        if result is None:
            raise StageUnavailable("the encoder ended without a result", metadata={"stage": ENCODER})
        self.result = result

    def _accepted(self, times: StageTimes, engine: common_pb2.EngineInfo) -> None:
        times.engine = engine
        if all(self.times[stage].engine is not None for stage in (LIVEPORTRAIT, WAV2LIP)):
            self._engines_known.set()

    def _provenance(self) -> encoding_pb2.Provenance:
        engines = [self.times[stage].engine for stage in (LIVEPORTRAIT, WAV2LIP)]
        motion = self._request.animate.motion
        return encoding_pb2.Provenance(
            engines=[f"{engine.name} {engine.version}" for engine in engines if engine is not None],
            seed=motion.seed if motion.HasField("seed") else 1,
            title=self._request.title,
        )

    def _delivered(self, times: StageTimes, frames_done: int) -> None:
        times.segment()
        self._on_progress(times.stage, frames_done, self.animated.frame_count)

    @staticmethod
    def _must_be_complete(log: SegmentLog) -> None:
        if not log.is_complete:
            raise StageUnavailable(
                f"stage {log.stage} ended after {log.frames_done} of {log.frame_count} frames",
                metadata={"stage": log.stage},
            )


def first_fault(faults: BaseExceptionGroup[VisemaError]) -> VisemaError:
    """The first error of a group, however deep."""
    first = faults.exceptions[0]
    return first_fault(first) if isinstance(first, BaseExceptionGroup) else first


async def _requests(opening: RequestT, segments: AsyncIterator[RequestT]) -> AsyncIterator[RequestT]:
    yield opening
    async for segment in segments:
        yield segment


@asynccontextmanager
async def _sending(
    stream: StageStream[RequestT, ReplyT], requests: AsyncIterator[RequestT], credit: Credit
) -> AsyncIterator[None]:
    """Send requests while the block reads the replies: the first at once, each other one for a credit."""

    async def send_all() -> None:
        await stream.send(await anext(requests))
        async for request in requests:
            await credit.take()
            if not await stream.send(request):
                return  # the replies tell why
        await stream.half_close()

    sender = asyncio.create_task(send_all())
    try:
        yield
    finally:
        sender.cancel()
        await asyncio.wait([sender])
