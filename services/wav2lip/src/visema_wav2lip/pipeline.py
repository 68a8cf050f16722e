"""Segments in, segments with a talking mouth out. Knows the object store, no RPC.

Reading and decoding the next segment, computing this one, and encoding and storing the one before run at the same time.
What is in memory is bounded: one segment in each of these steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock
from visema_kit.errors import InvalidInput, NoFaceFound
from visema_kit.executor import DeviceThread
from visema_kit.logs import get_logger
from visema_kit.objects import ObjectStore
from visema_media.audio import mono_16k
from visema_media.segments import MEDIA_TYPE, SegmentCodec, SegmentContent, read_quality, read_segment, write_segment
from visema_media.track import FaceTrack

from visema_wav2lip.engines.protocol import Frame, LipSyncEngine, LipSyncSession, Samples
from visema_wav2lip.foreign import FoundFaces, has_face_track, track_faces
from visema_wav2lip.job import SyncJob
from visema_wav2lip.quality.meter import QualityMeter

_SEGMENT_LIMIT_BYTES = 512 << 20
_USUAL_PIXELS = 512 * 512  # frames that `frames_per_call` counts
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


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A segment on its way: with its frames, or with the result that exists."""

    segment: common_pb2.Segment
    key: str
    existing: common_pb2.ObjectRef | None
    content: SegmentContent | None
    faces: FoundFaces | None  # of a foreign video


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
        results: asyncio.Queue[asyncio.Task[SegmentSynced] | None] = asyncio.Queue(_STORED_AHEAD)
        producer = asyncio.create_task(run.produce(segments, results), name="lip-sync")
        try:
            while (task := await _next_result(results, producer)) is not None:
                synced = await task
                clock.segment_delivered(synced.segment.frame_count, reused=synced.reused)
                yield synced
            await producer
        finally:
            run.cancel()
            producer.cancel()
            await asyncio.gather(producer, return_exceptions=True)
            while not results.empty():
                if (task := results.get_nowait()) is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)


async def _next_result(
    results: asyncio.Queue[asyncio.Task[SegmentSynced] | None],
    producer: asyncio.Task[None],
) -> asyncio.Task[SegmentSynced] | None:
    """The next result, or what the producer raises when it fails while nothing waits."""
    getting = asyncio.create_task(results.get())
    try:
        await asyncio.wait({getting, producer}, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        await producer
        return await getting
    finally:
        getting.cancel()


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
        self._reference = job.reference
        self._session: LipSyncSession | None = None
        self._frame_shape: tuple[int, ...] = ()
        self._last_box: tuple[float, float, float, float] | None = None

    def cancel(self) -> None:
        """Make the device leave what it computes; cancelling a task does not reach into the device's thread."""
        if self._session is not None:
            self._session.cancel()

    async def produce(
        self,
        segments: AsyncIterator[common_pb2.Segment],
        results: asyncio.Queue[asyncio.Task[SegmentSynced] | None],
    ) -> None:
        """Load, compute and hand on to the store, each step one segment ahead of the next."""
        ahead = asyncio.create_task(self._load_next(segments), name="load-segment")
        storing: asyncio.Task[SegmentSynced] | None = None
        try:
            while True:
                with self._clock.wait():
                    loaded = await ahead
                if loaded is None:
                    break
                ahead = asyncio.create_task(self._load_next(segments), name="load-segment")
                frames = await self._compute(loaded)
                storing = asyncio.create_task(self._stored(loaded, frames), name="store-segment")
                await results.put(storing)
                storing = None
            if self._session is not None:  # an engine may have learnt them on the way
                for warning in self._session.warnings:
                    self._clock.warn(warning)
            await results.put(None)
        finally:
            ahead.cancel()
            waiting = [ahead]
            if storing is not None:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _load_next(self, segments: AsyncIterator[common_pb2.Segment]) -> _Loaded | None:
        segment = await anext(segments, None)
        if segment is None:
            return None
        self._check_position(segment)
        if self._reference is None:
            self._reference = segment
        key = self._job.segment_key(segment, self._reference, self._engine.describe(), self._codec)
        with self._clock.storage():
            existing = await self._store.stat(key)
        if existing is not None:
            return _Loaded(segment, key, existing, None, None)
        content = await self._read(segment)
        self._check_content(segment, content)
        faces = None
        if not has_face_track(content.track):
            faces = await self._clock.compute_on(
                self._workers.decoding, track_faces, list(content.frames[: segment.frame_count]), self._last_box
            )
            if faces is not None:
                left, top, width, height = faces.track.boxes_px[-1].tolist()
                self._last_box = (left, top, width, height)
        return _Loaded(segment, key, None, content, faces)

    async def _read(self, segment: common_pb2.Segment) -> SegmentContent:
        with self._clock.storage():
            content = await self._store.get(segment.object, self._job.tenant, _SEGMENT_LIMIT_BYTES)
        self._clock.bytes_read(len(content))
        return await self._clock.compute_on(self._workers.decoding, read_segment, content)

    async def _compute(self, loaded: _Loaded) -> list[Frame] | None:
        """The segment's frames with the mouth moved; None when the result exists."""
        if loaded.content is None:
            return None
        frames = list(loaded.content.frames[: loaded.segment.frame_count])
        track, seen = loaded.content.track.slice(0, len(frames)), None
        if not has_face_track(track):
            if loaded.faces is None:
                self._clock.warn(WARN_NO_FACE)
                return frames
            track, seen = loaded.faces.track, loaded.faces.seen
            if not seen.all():
                self._clock.warn(WARN_NO_FACE)
        session = await self._opened(loaded)
        pixels = frames[0].shape[0] * frames[0].shape[1]
        piece = max(1, self._engine.frames_per_call * _USUAL_PIXELS // pixels)
        done: list[Frame] = []
        for first in range(0, len(frames), piece):
            part = frames[first : first + piece]
            done += await self._clock.compute_on(
                self._workers.device,
                session.apply,
                part,
                track.slice(first, len(part)),
                loaded.segment.first_frame + first,
            )
        if seen is None:
            return done
        return [moved if shown else frame for moved, frame, shown in zip(done, frames, seen, strict=True)]

    async def _opened(self, loaded: _Loaded) -> LipSyncSession:
        """The session, opened with the reference frame on first use. Raises: NoFaceFound."""
        if self._session is not None:
            return self._session
        frame, row = await self._rest_mouth(loaded)
        self._session = await self._clock.compute_on(
            self._workers.device, self._open_session, np.ascontiguousarray(frame), row
        )
        return self._session

    async def _rest_mouth(self, loaded: _Loaded) -> tuple[Frame, FaceTrack]:
        """The frame that shows the mouth at rest, with its track of one frame: the reference segment's first one.

        In a foreign video it is the first frame with a face, looked for in the reference and then in this segment.
        Raises: NoFaceFound.
        """
        candidates = [(loaded.content, loaded.faces)]
        if self._reference is not None and self._reference.object.sha256 != loaded.segment.object.sha256:
            candidates.insert(0, (await self._read(self._reference), None))
        for content, found in candidates:
            if content is None:
                continue
            if has_face_track(content.track):
                return content.frames[0], content.track.slice(0, 1)
            faces = found
            if faces is None:
                faces = await self._clock.compute_on(self._workers.decoding, track_faces, [content.frames[0]], None)
            if faces is not None and faces.seen.any():
                first = int(np.argmax(faces.seen))
                return content.frames[first], faces.track.slice(first, 1)
        raise NoFaceFound("No frame of the reference shows a face.", field="open.reference")

    def _open_session(self, frame: Frame, row: FaceTrack) -> LipSyncSession:
        job = self._job
        try:
            return self._engine.open(frame, row, self._audio, job.frame_rate, job.frame_count, job.settings)
        except ValueError as err:
            raise InvalidInput(f"The face track cannot be used: {err}.", field="segment.object") from err

    async def _stored(self, loaded: _Loaded, frames: Sequence[Frame] | None) -> SegmentSynced:
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
            content = await self._store.get(existing, self._job.tenant, _SEGMENT_LIMIT_BYTES)
        self._clock.bytes_read(len(content))
        kept = await self._clock.compute_on(self._workers.decoding, read_quality, content)
        return common_pb2.QualityStatistics.FromString(kept)

    def _encoded(
        self, loaded: _Loaded, content: SegmentContent, frames: Sequence[Frame]
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

    def _check_position(self, segment: common_pb2.Segment) -> None:
        end = segment.first_frame + segment.frame_count
        if segment.first_frame < 0 or end > self._job.frame_count:
            raise InvalidInput(
                f"Segment {segment.index} reaches to frame {end} of {self._job.frame_count}.",
                field="segment.first_frame",
            )

    def _check_content(self, segment: common_pb2.Segment, content: SegmentContent) -> None:
        if len(content.frames) < segment.frame_count:
            raise InvalidInput(
                f"Segment {segment.index} holds {len(content.frames)} of {segment.frame_count} frames.",
                field="segment.frame_count",
            )
        if content.frame_rate != self._job.frame_rate:
            raise InvalidInput(
                f"Segment {segment.index} has {content.frame_rate} frames per second, the job {self._job.frame_rate}.",
                field="segment.object",
            )
        self._frame_shape = self._frame_shape or content.frames.shape[1:]
        if content.frames.shape[1:] != self._frame_shape:
            raise InvalidInput(f"Segment {segment.index} has frames of another size.", field="segment.object")
