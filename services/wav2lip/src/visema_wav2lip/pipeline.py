"""Segments in, segments with a talking mouth out. Knows the object store, no RPC.

Reading and decoding the next segment, computing this one, and encoding and storing the one before run at the same time.
Where an engine works in batches, what a segment leaves of one goes to the segments behind it that are there already;
none is waited for. What is in memory is bounded: one segment in each step, or as many small ones as fill a batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt
from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock
from visema_kit.errors import InvalidInput
from visema_kit.executor import DeviceThread
from visema_kit.logs import get_logger
from visema_kit.objects import ObjectStore
from visema_media.audio import mono_16k
from visema_media.segments import MEDIA_TYPE, SegmentCodec, SegmentContent, read_quality, write_segment
from visema_media.track import FaceTrack

from visema_wav2lip.engines.protocol import USUAL_PIXELS, Frame, LipSyncEngine, LipSyncSession, Samples, SegmentPart
from visema_wav2lip.foreign import has_face_track
from visema_wav2lip.job import SyncJob
from visema_wav2lip.loading import SEGMENT_LIMIT_BYTES, LoadedSegment, SegmentLoader
from visema_wav2lip.quality.meter import QualityMeter
from visema_wav2lip.read_ahead import ReadAhead, next_of

_STORED_AHEAD = 1  # computed segments that wait for the store while the next is computed
WARN_NO_FACE = "Some frames show no face: they pass unchanged."

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Workers:
    """The threads of the service. The device computes; decoding and encoding go on beside it."""

    device: DeviceThread
    decoding: DeviceThread
    encoding: DeviceThread

    @classmethod
    def start(cls) -> Workers:
        """Start the threads."""
        return cls(DeviceThread("wav2lip"), DeviceThread("wav2lip-decode"), DeviceThread("wav2lip-encode"))

    async def aclose(self) -> None:
        """Stop the threads; waits for what runs."""
        for thread in (self.device, self.decoding, self.encoding):
            await thread.aclose()


@dataclass(frozen=True, slots=True)
class SegmentSynced:
    """A segment of the result. Attributes: quality: what was measured on it. reused: it existed already."""

    segment: common_pb2.Segment
    quality: common_pb2.QualityStatistics
    reused: bool


class LipSyncPipeline:
    """Synchronises jobs. One object serves all of them."""

    def __init__(self, store: ObjectStore, workers: Workers, codec: SegmentCodec) -> None:
        self._store = store
        self._workers = workers
        self._codec = codec

    async def load_audio(self, job: SyncJob, clock: StageClock) -> Samples:
        """The whole speech, mono at 16 kHz. Raises: MediaUnreadable: no 16-bit WAV. What the store raises."""
        with clock.storage():
            wav = await self._store.get(job.audio, job.tenant)
        clock.bytes_read(len(wav))
        return await clock.compute_on(self._workers.decoding, mono_16k, wav)

    async def sync(
        self,
        job: SyncJob,
        engine: LipSyncEngine,
        audio: Samples,
        segments: AsyncIterator[common_pb2.Segment],
        clock: StageClock,
    ) -> AsyncGenerator[SegmentSynced, None]:
        """Results in the order of `segments`, each as soon as it is stored.

        Leaving the generator early, also by cancellation, stops the work.

        Raises: InvalidInput: segments lie beyond the job's frames or do not fit it. NoFaceFound: the reference shows no
            face. What the store and `segments` raise.
        """
        run = _Run(self._store, self._workers, self._codec, job, engine, audio, clock)
        results: asyncio.Queue[asyncio.Task[SegmentSynced]] = asyncio.Queue(_STORED_AHEAD)
        producer = asyncio.create_task(run.produce(segments, results), name="lip-sync")
        try:
            while (task := await next_of(results, producer)) is not None:
                synced = await task
                clock.segment_delivered(synced.segment.frame_count, reused=synced.reused)
                yield synced
        finally:
            run.cancel()
            producer.cancel()
            await asyncio.gather(producer, return_exceptions=True)
            await run.leave_storing()


@dataclass(slots=True)
class _Begun:
    """A segment that is worked on: its first `len(done)` frames are done; `todo` is None when nothing is to be done."""

    loaded: LoadedSegment
    todo: SegmentPart | None
    seen: npt.NDArray[np.bool_] | None = None
    done: list[Frame] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Frames that are not done."""
        return 0 if self.todo is None else len(self.todo.frames) - len(self.done)

    def result(self) -> list[Frame] | None:
        """All frames with the mouth moved; None when the result exists."""
        content = self.loaded.content
        if content is None:
            return None
        if self.todo is None:
            return list(content.frames[: self.loaded.segment.frame_count])
        if self.seen is None:
            return self.done
        shown = zip(self.done, self.todo.frames, self.seen, strict=True)
        return [moved if seen else frame for moved, frame, seen in shown]


def _shares(begun: Iterable[_Begun], room: int) -> list[tuple[_Begun, SegmentPart]]:
    """The next `room` frames that are left, in order, as parts of their segments."""
    shares: list[tuple[_Begun, SegmentPart]] = []
    for work in begun:
        count = min(work.left, room)
        if work.todo is not None and count:
            shares.append((work, replace(work.todo, wanted=range(len(work.done), len(work.done) + count))))
            room -= count
    return shares


class _Run:
    """One job while it is worked on."""

    def __init__(  # noqa: PLR0917 - everything that one job needs
        self,
        store: ObjectStore,
        workers: Workers,
        codec: SegmentCodec,
        job: SyncJob,
        engine: LipSyncEngine,
        audio: Samples,
        clock: StageClock,
    ) -> None:
        self._store, self._workers, self._codec = store, workers, codec
        self._job, self._engine, self._audio, self._clock = job, engine, audio, clock
        self._loader = SegmentLoader(store, workers.decoding, job, engine.describe(), codec, clock)
        self._session: LipSyncSession | None = None
        self._storing: list[asyncio.Task[SegmentSynced]] = []  # all there were: what they hold when done is small

    def cancel(self) -> None:
        """Make the device leave what it computes; cancelling a task does not reach into the device's thread."""
        if self._session is not None:
            self._session.cancel()

    async def leave_storing(self) -> None:
        """Stop what is being stored, whether it was handed on or not."""
        for task in self._storing:
            task.cancel()
        await asyncio.gather(*self._storing, return_exceptions=True)

    async def produce(
        self, segments: AsyncIterator[common_pb2.Segment], results: asyncio.Queue[asyncio.Task[SegmentSynced]]
    ) -> None:
        """Load, compute and hand on to the store, beside each other."""
        loaded = self._loader.each(segments)
        most_pixels = self._engine.frames_per_call(USUAL_PIXELS) * USUAL_PIXELS if self._engine.crosses_segments else 0
        async with ReadAhead(loaded, most_pixels) as ahead:
            begun: deque[_Begun] = deque()
            while True:
                if not begun:
                    segment = await self._waited_for(ahead)
                    if segment is None:
                        break
                    begun.append(self._begin(segment))
                while begun[0].left:
                    await self._call(begun, ahead)
                first = begun.popleft()
                storing = asyncio.create_task(self._stored(first.loaded, first.result()), name="store-segment")
                self._storing.append(storing)
                await results.put(storing)
        if self._session is not None:  # an engine may have learnt them on the way
            for warning in self._session.warnings:
                self._clock.warn(warning)

    async def _waited_for(self, ahead: ReadAhead) -> LoadedSegment | None:
        with self._clock.wait():
            return await ahead.take()

    def _begin(self, loaded: LoadedSegment) -> _Begun:
        """Decide what is to be done for a segment."""
        if loaded.content is None:
            return _Begun(loaded, None)
        frames = list(loaded.content.frames[: loaded.segment.frame_count])
        track, seen = loaded.content.track.slice(0, len(frames)), None
        if not has_face_track(track):
            if loaded.faces is None:
                self._clock.warn(WARN_NO_FACE)
                return _Begun(loaded, None)
            track, seen = loaded.faces.track, loaded.faces.seen
            if not seen.all():
                self._clock.warn(WARN_NO_FACE)
        return _Begun(loaded, SegmentPart.whole(frames, track, loaded.segment.first_frame), seen)

    async def _call(self, begun: deque[_Begun], ahead: ReadAhead) -> None:
        """One turn of the device for the first segment; what it leaves of a batch goes to segments that are there."""
        session = await self._opened(begun[0].loaded)
        room = self._engine.frames_per_call(begun[0].loaded.frame_pixels)
        if self._engine.crosses_segments:
            while begun[-1].left and sum(work.left for work in begun) < room:
                segment = ahead.take_now()
                if segment is None:
                    break
                begun.append(self._begin(segment))
        shares = _shares(begun, room)
        parts = [part for _, part in shares]
        moved = iter(await self._clock.compute_on(self._workers.device, session.apply, parts))
        for work, part in shares:
            work.done += islice(moved, len(part.wanted))

    async def _opened(self, loaded: LoadedSegment) -> LipSyncSession:
        """The session, opened with the reference frame on first use. Raises: NoFaceFound."""
        if self._session is not None:
            return self._session
        frame, row = await self._loader.rest_mouth(loaded)
        self._session = await self._clock.compute_on(
            self._workers.device, self._open_session, np.ascontiguousarray(frame), row
        )
        return self._session

    def _open_session(self, frame: Frame, row: FaceTrack) -> LipSyncSession:
        job = self._job
        try:
            return self._engine.open(frame, row, self._audio, job.frame_rate, job.frame_count, job.settings)
        except ValueError as err:
            raise InvalidInput(f"The face track cannot be used: {err}.", field="segment.object") from err

    async def _stored(self, loaded: LoadedSegment, frames: Sequence[Frame] | None) -> SegmentSynced:
        """Encode and store; objects are immutable, so one that exists stays."""
        if loaded.existing is not None or loaded.content is None or frames is None:
            ref, quality = loaded.existing, await self._kept_quality(loaded.existing)
        else:
            data, quality = await self._clock.compute_on(
                self._workers.encoding, self._encoded, loaded, loaded.content, frames
            )
            with self._clock.storage():
                ref = await self._store.put(loaded.key, data, MEDIA_TYPE)
            self._clock.bytes_written(len(data))
        source = loaded.segment
        result = common_pb2.Segment(
            index=source.index, first_frame=source.first_frame, frame_count=source.frame_count, object=ref
        )
        return SegmentSynced(result, quality, reused=loaded.existing is not None)

    async def _kept_quality(self, existing: common_pb2.ObjectRef | None) -> common_pb2.QualityStatistics:
        """What was measured when a segment was made."""
        if existing is None:
            return common_pb2.QualityStatistics()
        with self._clock.storage():
            content = await self._store.get(existing, self._job.tenant, SEGMENT_LIMIT_BYTES)
        self._clock.bytes_read(len(content))
        kept = await self._clock.compute_on(self._workers.decoding, read_quality, content)
        return common_pb2.QualityStatistics.FromString(kept)

    def _encoded(
        self, loaded: LoadedSegment, content: SegmentContent, frames: Sequence[Frame]
    ) -> tuple[bytes, common_pb2.QualityStatistics]:
        """The segment's file, and what is measured on its frames. Runs on the encoding thread."""
        if loaded.faces is None:
            track, seen = content.track.slice(0, len(frames)), np.ones(len(frames), bool)
        else:
            track, seen = loaded.faces.track, loaded.faces.seen
        sources = list(content.frames[: len(frames)])
        quality = self._meter.measure(sources, frames, track, seen, loaded.segment.first_frame)
        measured = quality.SerializeToString(deterministic=True)
        return write_segment(np.stack(frames), track, self._job.frame_rate, self._codec, measured), quality

    @cached_property
    def _meter(self) -> QualityMeter:
        return QualityMeter(self._audio, self._job.frame_rate, self._job.frame_count)
