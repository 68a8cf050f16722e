"""Segments on their way in: found in the store, checked, decoded, and their faces found where no track says them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import numpy as np
from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock
from visema_kit.engines import EngineDescription
from visema_kit.errors import InvalidInput, NoFaceFound
from visema_kit.executor import DeviceThread
from visema_kit.objects import ObjectStore
from visema_media.segments import SegmentCodec, SegmentContent, read_segment
from visema_media.track import FaceTrack

from visema_wav2lip.engines.protocol import Frame
from visema_wav2lip.foreign import FoundFaces, has_face_track, track_faces
from visema_wav2lip.job import SyncJob

SEGMENT_LIMIT_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class LoadedSegment:
    """A segment with its frames, or with the result that exists.

    Attributes:
        segment: As it was sent.
        key: Of the result.
        existing: The result, if it is there; then nothing is decoded.
        content: The segment's file.
        faces: Of a foreign video, where a frame shows one.
    """

    segment: common_pb2.Segment
    key: str
    existing: common_pb2.ObjectRef | None
    content: SegmentContent | None
    faces: FoundFaces | None

    @property
    def frame_pixels(self) -> int:
        """Pixels of a frame in memory."""
        return 0 if self.content is None else self.content.frames[0, ..., 0].size

    @property
    def pixel_count(self) -> int:
        """Pixels of all frames in memory."""
        return 0 if self.content is None else self.content.frames[..., 0].size


class SegmentLoader:
    """Loads the segments of one job, in order."""

    def __init__(  # noqa: PLR0917 - everything that loading needs
        self,
        store: ObjectStore,
        decoding: DeviceThread,
        job: SyncJob,
        engine: EngineDescription,
        codec: SegmentCodec,
        clock: StageClock,
    ) -> None:
        """For results that `engine` makes and `codec` stores. Args: decoding: where files are decoded."""
        self._store, self._decoding, self._clock = store, decoding, clock
        self._job, self._engine, self._codec = job, engine, codec
        self._reference = job.reference
        self._frame_shape: tuple[int, ...] = ()
        self._last_box: tuple[float, float, float, float] | None = None

    async def each(self, segments: AsyncIterator[common_pb2.Segment]) -> AsyncGenerator[LoadedSegment, None]:
        """All of them, loaded. Raises: InvalidInput: one does not fit the job. What the store and `segments` raise."""
        async for segment in segments:
            yield await self._load(segment)

    async def rest_mouth(self, loaded: LoadedSegment) -> tuple[Frame, FaceTrack]:
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
                faces = await self._clock.compute_on(self._decoding, track_faces, [content.frames[0]], None)
            if faces is not None and faces.seen.any():
                first = int(np.argmax(faces.seen))
                return content.frames[first], faces.track.slice(first, 1)
        raise NoFaceFound("No frame of the reference shows a face.", field="open.reference")

    async def _load(self, segment: common_pb2.Segment) -> LoadedSegment:
        self._check_position(segment)
        if self._reference is None:
            self._reference = segment
        key = self._job.segment_key(segment, self._reference, self._engine, self._codec)
        reading = asyncio.create_task(self._fetched(segment), name="fetch-segment")  # mostly there is no result yet
        try:
            with self._clock.storage():
                existing = await self._store.stat(key)
                if existing is not None:
                    return LoadedSegment(segment, key, existing, None, None)
                data = await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        content = await self._decoded(data)
        self._check_content(segment, content)
        faces = None
        if not has_face_track(content.track):
            faces = await self._clock.compute_on(
                self._decoding, track_faces, list(content.frames[: segment.frame_count]), self._last_box
            )
            if faces is not None:
                left, top, width, height = faces.track.boxes_px[-1].tolist()
                self._last_box = (left, top, width, height)
        return LoadedSegment(segment, key, None, content, faces)

    async def _read(self, segment: common_pb2.Segment) -> SegmentContent:
        with self._clock.storage():
            data = await self._fetched(segment)
        return await self._decoded(data)

    async def _fetched(self, segment: common_pb2.Segment) -> bytes:
        data = await self._store.get(segment.object, self._job.tenant, SEGMENT_LIMIT_BYTES)
        self._clock.bytes_read(len(data))
        return data

    async def _decoded(self, data: bytes) -> SegmentContent:
        return await self._clock.compute_on(self._decoding, read_segment, data)

    def _check_position(self, segment: common_pb2.Segment) -> None:
        end = segment.first_frame + segment.frame_count
        if segment.first_frame < 0 or end > self._job.frame_count:
            raise InvalidInput(
                f"Segment {segment.index} reaches to frame {end} of {self._job.frame_count}.",
                field="segment.first_frame",
            )

    def _check_content(self, segment: common_pb2.Segment, content: SegmentContent) -> None:
        content.check_fits(segment.index, segment.frame_count, self._job.frame_rate)
        self._frame_shape = self._frame_shape or content.frames.shape[1:]
        if content.frames.shape[1:] != self._frame_shape:
            raise InvalidInput(f"Segment {segment.index} has frames of another size.", field="segment.object")
