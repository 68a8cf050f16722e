"""Stage 1: a portrait in, segments of its animation out. Knows the object store, no RPC.

An idle loop is stored once under input-addressed keys and serves every later or longer request; only the segments that
a request needs and nobody has rendered are rendered. Rendering one segment overlaps with encoding and storing the one
before; what is on its way is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock
from visema_kit.errors import DeviceBusy, ImageTooLarge, InvalidInput, ObjectMismatch, ObjectNotFound
from visema_kit.executor import DeviceThread
from visema_kit.keys import check_tenant
from visema_kit.metrics import Metrics
from visema_media.audio import CANONICAL_RATE_HZ, mono_16k
from visema_media.limits import MediaLimits
from visema_media.segments import MEDIA_TYPE, SegmentCodec, write_segment

from visema_liveportrait.animation import PieceRenderer, PreparedKey, Preparer, joined
from visema_liveportrait.bounded_cache import BoundedCache
from visema_liveportrait.engines.protocol import AnimationEngine, RenderedFrames
from visema_liveportrait.faces import AnalysedPortrait, analyse_portrait, select_face, warnings_for
from visema_liveportrait.loops import MANIFEST_TYPE, AnimationRequest, KeyMaker, Layout, Manifest, make_keys
from visema_liveportrait.motion_planner import MotionPlanner, loop_frame_count
from visema_liveportrait.speech_cues import SpeechCues, read_cues

ANALYSED_PIXELS = 80_000_000  # of pictures kept in memory, 240 MB
MANIFEST_LIMIT_BYTES = 64 * 1024
CANONICAL_BYTES_PER_S = 2 * 2 * CANONICAL_RATE_HZ  # of the largest speech that other stages write: stereo
SPEECH_SLACK_S = 1.0  # a speech may be so much longer than its video
SEGMENTS_AHEAD = 2  # rendered and not yet stored
LOOP_CACHE, PORTRAIT_CACHE = "loop-segment", "prepared-portrait"


class Store(Protocol):
    """What the pipeline needs of the object store."""

    bucket: str

    async def get(self, ref: common_pb2.ObjectRef, tenant: str, max_bytes: int) -> bytes:
        """The whole content, checked."""
        ...

    async def put(self, key: str, data: bytes, media_type: str) -> common_pb2.ObjectRef:
        """Store an object."""
        ...

    async def stat(self, key: str) -> common_pb2.ObjectRef | None:
        """A reference without reading, or None."""
        ...


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What does not change while the service runs."""

    limits: MediaLimits
    codec: SegmentCodec
    loop_s: float
    segment_s: float
    prepared_cache_bytes: int


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment that is in the store.

    Attributes:
        index: Position in the video's segments.
        first_frame: Position of its first frame in the video.
        frame_count: Frames of the video that it provides.
        ref: The object; may hold more frames.
        reused: It existed already.
    """

    index: int
    first_frame: int
    frame_count: int
    ref: common_pb2.ObjectRef
    reused: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """An animation that can be delivered.

    Attributes:
        request: What was asked for.
        engine: What computes.
        keys: Names of the objects.
        manifest: About the portrait and its face.
        portrait: Reference to the portrait.
        cues: Of the speech that the motion follows; None when it follows none.
        stored: Stored segments by their index, as far as the request needs them.
    """

    request: AnimationRequest
    engine: AnimationEngine
    keys: KeyMaker
    manifest: Manifest
    portrait: common_pb2.ObjectRef
    cues: SpeechCues | None
    stored: dict[int, common_pb2.ObjectRef]

    @property
    def layout(self) -> Layout:
        """How it is cut."""
        return self.keys.layout

    @property
    def renders(self) -> bool:
        """Some of its segments are not stored yet."""
        request = self.request
        segments = range(request.first_segment, self.layout.segment_count(request.frame_count))
        return not {self.layout.stored_index(index) for index in segments} <= self.stored.keys()

    def segment(self, index: int, ref: common_pb2.ObjectRef, *, reused: bool) -> StoredSegment:
        """Stored object `ref` as segment `index` of the video."""
        first_frame = index * self.layout.segment_frames
        frame_count = self.layout.frames_at(index, self.request.frame_count)
        return StoredSegment(index, first_frame, frame_count, ref, reused)


class Pipeline:
    """Inspects and animates portraits."""

    def __init__(self, config: PipelineConfig, store: Store, device: DeviceThread, metrics: Metrics) -> None:
        """Wire it up; starts nothing."""
        self._config = config
        self._store = store
        self.device = device
        self._metrics = metrics
        self._analysed: BoundedCache[AnalysedPortrait] = BoundedCache(
            ANALYSED_PIXELS, lambda portrait: portrait.bgr.shape[0] * portrait.bgr.shape[1]
        )
        self._preparer = Preparer(config.prepared_cache_bytes)
        self._in_the_making: dict[str, asyncio.Future[common_pb2.ObjectRef | None]] = {}

    async def inspect(self, portrait: common_pb2.ObjectRef, tenant: str) -> AnalysedPortrait:
        """The portrait and its faces.

        Raises: NoFaceFound, ImageTooLarge, MediaUnreadable, MediaNotAllowed, and what reading the object raises.
        """
        with StageClock("liveportrait", common_pb2.EngineInfo()) as clock:
            return await self._analyse(portrait, tenant, clock)

    async def open(
        self,
        request: AnimationRequest,
        portrait: common_pb2.ObjectRef,
        speech: common_pb2.ObjectRef,
        engine: AnimationEngine,
        clock: StageClock,
    ) -> Opened:
        """Check a request and find out what exists already; renders nothing. Reads the speech that the motion follows.

        Raises: as `inspect`, and SeveralFaces. InvalidInput: there is no such segment. ObjectNotFound, ObjectMismatch,
            ForeignObject: a reference is wrong. MediaUnreadable, MediaTooLarge: the speech cannot be used.
        """
        layout = self._layout(request)
        segments = layout.segment_count(request.frame_count)
        if not 0 <= request.first_segment < segments:
            raise InvalidInput(
                f"The animation has {segments} segments; there is none with index {request.first_segment}.",
                field="first_segment_index",
            )
        cues = await self._cues(request, speech, clock)
        keys = make_keys(request, layout, engine.describe(), self._config.codec)
        needed = sorted({layout.stored_index(index) for index in range(request.first_segment, segments)})
        with clock.storage():
            manifest_ref, *refs = await asyncio.gather(
                self._store.stat(keys.manifest()), *(self._store.stat(keys.segment(index)) for index in needed)
            )
        manifest = await self._stored_manifest(manifest_ref, request.tenant, clock)
        if manifest is None:
            manifest = await self._new_manifest(request, keys, portrait, clock)
        else:
            await self._check_portrait(portrait, request.tenant, clock)
        stored = {index: ref for index, ref in zip(needed, refs, strict=True) if ref is not None}
        return Opened(request, engine, keys, manifest, portrait, cues, stored)

    async def segments(self, opened: Opened, clock: StageClock) -> AsyncGenerator[StoredSegment, None]:
        """Deliver segments in order, each as soon as it is stored. Close the generator to stop the work."""
        request = opened.request
        ready: asyncio.Queue[asyncio.Future[StoredSegment] | None] = asyncio.Queue()
        room = asyncio.Semaphore(SEGMENTS_AHEAD)
        begun: set[asyncio.Future[StoredSegment]] = set()
        renderer = _LazyRenderer(self, opened, clock)

        async def produce() -> None:
            try:
                for index in range(request.first_segment, opened.layout.segment_count(request.frame_count)):
                    await room.acquire()
                    segment = await self._begin_segment(opened, index, renderer, clock)
                    begun.add(segment)
                    ready.put_nowait(segment)
            finally:
                ready.put_nowait(None)

        producer = asyncio.create_task(produce())
        try:
            while (future := await ready.get()) is not None:
                segment = await future
                begun.discard(future)
                room.release()
                yield segment
            await producer
        finally:
            producer.cancel()
            await asyncio.gather(producer, return_exceptions=True)  # it may begin one more
            for future in begun:
                future.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def make_room(self, engine: AnimationEngine) -> None:
        """Raises: DeviceBusy: the device has no memory for a call, also after the portraits that it keeps are gone."""
        try:
            engine.check_room()
        except DeviceBusy:
            if not await self.device.run(self._preparer.forget):
                raise
            engine.check_room()

    async def prepare(self, opened: Opened, clock: StageClock) -> PieceRenderer:
        """Make the portrait ready for rendering."""
        request, engine = opened.request, opened.engine
        analysed = await self._analyse(opened.portrait, request.tenant, clock)
        key = PreparedKey(
            request.portrait_sha256,
            select_face(analysed, request.face),
            request.framing,
            request.size_px,
            engine.describe().identity(),
        )
        self._count(PORTRAIT_CACHE, hit=self._preparer.holds(key))
        prepared = await clock.compute_on(self.device, self._preparer.prepare, key, engine, analysed)
        loop_frames = opened.layout.loop_frames or None
        planner = await clock.compute_on(
            self.device, MotionPlanner, request.motion, request.frame_rate, loop_frames, opened.cues
        )
        return PieceRenderer(prepared, planner, self._preparer)

    async def _begin_segment(
        self, opened: Opened, index: int, renderer: _LazyRenderer, clock: StageClock
    ) -> asyncio.Future[StoredSegment]:
        """Find a segment or render it; what is returned is done once the segment is in the store."""
        place = opened.layout.stored_index(index)
        key = opened.keys.segment(place)
        ref = opened.stored.get(place)
        while ref is None and (making := self._in_the_making.get(key)) is not None:
            with clock.wait():
                ref = await asyncio.shield(making)  # another call renders it, or stores it at this moment
        if ref is not None:
            opened.stored[place] = ref
            self._count(LOOP_CACHE, hit=True)
            found: asyncio.Future[StoredSegment] = asyncio.get_running_loop().create_future()
            found.set_result(opened.segment(index, ref, reused=True))
            return found
        self._count(LOOP_CACHE, hit=False)
        making = self._in_the_making[key] = asyncio.get_running_loop().create_future()
        try:
            rendered = await renderer.render(place)
            storing = asyncio.create_task(self._store_segment(opened, index, rendered, clock))
        except BaseException:
            self._made(key, making, None)
            raise
        storing.add_done_callback(
            lambda done: self._made(key, making, None if done.cancelled() or done.exception() else done.result().ref)
        )
        return storing

    def _made(
        self, key: str, making: asyncio.Future[common_pb2.ObjectRef | None], ref: common_pb2.ObjectRef | None
    ) -> None:
        """Tell those who wait; without a reference one of them renders it."""
        del self._in_the_making[key]
        if not making.done():
            making.set_result(ref)

    async def _store_segment(
        self, opened: Opened, index: int, rendered: RenderedFrames, clock: StageClock
    ) -> StoredSegment:
        with clock.compute():
            content = await asyncio.to_thread(
                write_segment, rendered.frames, rendered.track, opened.request.frame_rate, self._config.codec
            )
        place = opened.layout.stored_index(index)
        with clock.storage():
            ref = await self._store.put(opened.keys.segment(place), content, MEDIA_TYPE)
        clock.bytes_written(len(content))
        opened.stored[place] = ref
        return opened.segment(index, ref, reused=False)

    def _layout(self, request: AnimationRequest) -> Layout:
        """Cut in segments of about the configured length; a loop shorter than one segment is one segment."""
        rate, config = request.frame_rate, self._config
        segment_frames = max(1, round(min(config.segment_s, config.loop_s) * rate))
        if not request.motion.loop:
            return Layout(segment_frames, 0)
        return Layout(segment_frames, loop_frame_count(request.motion, rate, config.loop_s, segment_frames))

    async def _check_portrait(self, portrait: common_pb2.ObjectRef, tenant: str, clock: StageClock) -> None:
        """Refuse a reference that is not the tenant's or does not say what is stored, without reading the object."""
        check_tenant(portrait, tenant, self._store.bucket)
        if portrait.size_bytes > self._config.limits.image_bytes:
            raise ImageTooLarge(
                f"The picture has {portrait.size_bytes} bytes; at most {self._config.limits.image_bytes} are accepted.",
                metadata={"limit_bytes": str(self._config.limits.image_bytes)},
                field="portrait",
            )
        with clock.storage():
            stored = await self._store.stat(portrait.key)
        if stored is None:
            raise ObjectNotFound("the portrait does not exist", metadata={"key": portrait.key[:200]}, field="portrait")
        if (stored.sha256, stored.size_bytes) != (portrait.sha256, portrait.size_bytes):
            raise ObjectMismatch("the portrait has another size or hash than the reference says", field="portrait")

    async def _analyse(self, portrait: common_pb2.ObjectRef, tenant: str, clock: StageClock) -> AnalysedPortrait:
        await self._check_portrait(portrait, tenant, clock)
        analysed = self._analysed.get(portrait.sha256)
        if analysed is None:
            with clock.storage():
                content = await self._store.get(portrait, tenant, self._config.limits.image_bytes)
            clock.bytes_read(len(content))
            analysed = await clock.compute_on(self.device, analyse_portrait, content, self._config.limits)
            self._analysed.put(portrait.sha256, analysed)
        return analysed

    async def _cues(
        self, request: AnimationRequest, speech: common_pb2.ObjectRef, clock: StageClock
    ) -> SpeechCues | None:
        """The rhythm of the speech that the motion follows."""
        if request.speech_sha256 is None:
            return None
        longest_s = float(request.frame_count / request.frame_rate) + SPEECH_SLACK_S
        with clock.storage():
            wav = await self._store.get(speech, request.tenant, round(longest_s * CANONICAL_BYTES_PER_S))
        clock.bytes_read(len(wav))
        with clock.compute():
            return await asyncio.to_thread(lambda: read_cues(mono_16k(wav)))

    async def _stored_manifest(
        self, ref: common_pb2.ObjectRef | None, tenant: str, clock: StageClock
    ) -> Manifest | None:
        if ref is None:
            return None
        with clock.storage():
            content = await self._store.get(ref, tenant, MANIFEST_LIMIT_BYTES)
        clock.bytes_read(len(content))
        return Manifest.from_bytes(content)

    async def _new_manifest(
        self, request: AnimationRequest, keys: KeyMaker, portrait: common_pb2.ObjectRef, clock: StageClock
    ) -> Manifest:
        analysed = await self._analyse(portrait, request.tenant, clock)
        index = select_face(analysed, request.face)
        face = analysed.faces[index]
        manifest = Manifest(face.box_px, face.yaw_degrees, warnings_for(analysed, index))
        content = manifest.to_bytes()
        with clock.storage():
            await self._store.put(keys.manifest(), content, MANIFEST_TYPE)
        clock.bytes_written(len(content))
        return manifest

    def _count(self, cache: str, *, hit: bool) -> None:
        self._metrics.cache_requests.labels(cache, "hit" if hit else "miss").inc()


class _LazyRenderer:
    """Renders segments of one call; the portrait is made ready with the first one."""

    def __init__(self, pipeline: Pipeline, opened: Opened, clock: StageClock) -> None:
        self._pipeline, self._opened, self._clock = pipeline, opened, clock
        self._renderer: PieceRenderer | None = None

    async def render(self, place: int) -> RenderedFrames:
        """All frames of the stored segment `place`, in pieces between which the call can be cancelled."""
        if self._renderer is None:
            self._renderer = await self._pipeline.prepare(self._opened, self._clock)
        layout = self._opened.layout
        position = place * layout.segment_frames
        end = position + layout.stored_frames(place, self._opened.request.frame_count)
        pieces = []
        while position < end:
            piece = await self._clock.compute_on(self._pipeline.device, self._renderer.piece, position, end - position)
            pieces.append(piece)
            position += len(piece.frames)
        return joined(pieces)
