"""Segments in, one MP4 with its pictures out. Knows the object store, no RPC.

While one segment is encoded the next is fetched and decoded, so two segments of frames are in memory at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from visema.common.v1 import common_pb2
from visema_kit import keys
from visema_kit.clock import StageClock
from visema_kit.errors import InvalidInput, MediaUnreadable
from visema_kit.executor import DeviceThread
from visema_kit.logs import get_logger
from visema_kit.objects import ObjectStore
from visema_media.audio import CANONICAL_RATE_HZ, Samples, read_wav, resample
from visema_media.segments import SegmentContent, read_segment

from visema_encoder import mp4
from visema_encoder.codecs import SOFTWARE
from visema_encoder.job import EncodeJob
from visema_encoder.options import VideoShape
from visema_encoder.scratch import video_folder
from visema_encoder.session import EncodingSession
from visema_encoder.stills import POSTER_TYPE, STILL_TYPE
from visema_encoder.workers import Workers

_SEGMENT_LIMIT_BYTES = 512 << 20
_PIECE_PIXELS = 8 * 512 * 512  # encoded between two looks at cancellation: well under a second for any preset
_COPY_BYTES = 1 << 20

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SegmentEncoded:
    """A segment is in the video. Attributes: index: its position; frames_done: frames of the video so far."""

    index: int
    frames_done: int


@dataclass(frozen=True, slots=True)
class VideoStored:
    """The finished video with its pictures, and the encoder that made it. Durations in seconds."""

    video: common_pb2.ObjectRef
    poster: common_pb2.ObjectRef
    stills: tuple[tuple[int, common_pb2.ObjectRef], ...]
    shape: VideoShape
    audio_duration: Fraction
    encoder: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A segment with its frames in memory."""

    segment: common_pb2.Segment
    content: SegmentContent


class EncodingPipeline:
    """Encodes jobs. One object serves all of them; what a job needs lives in its own session."""

    def __init__(
        self, store: ObjectStore, workers: Workers, encoders: tuple[str, ...], scratch: Path, threads_per_video: int
    ) -> None:
        """Args: encoders: H.264 encoders that open here; scratch: writable folder for files that are being written."""
        self._store = store
        self._workers = workers
        self._encoders = encoders
        self._scratch = scratch
        self._threads_per_video = threads_per_video

    def encoder_for(self, job: EncodeJob) -> str:
        """The encoder that will be tried first."""
        hardware = [name for name in self._encoders if name != SOFTWARE]
        return hardware[0] if job.options.prefer_hardware and hardware else SOFTWARE

    async def load_audio(self, job: EncodeJob, clock: StageClock) -> Samples:
        """The speech at 48 kHz: float32 (channels, n).

        Raises: MediaUnreadable: no 16-bit WAV of one or two channels. What the store raises.
        """
        with clock.storage():
            wav = await self._store.get(job.audio, job.tenant)
        clock.bytes_read(len(wav))
        samples = await clock.compute_on(self._workers.decoding, _speech_samples, wav)
        surplus = Fraction(samples.shape[1], CANONICAL_RATE_HZ) - job.frame_count / job.frame_rate
        if abs(surplus) >= 1 / job.frame_rate:
            change = "cut" if surplus > 0 else "filled with silence"
            clock.warn(f"The audio was {change} by {abs(float(surplus)):.3f} s to the length of the video.")
        return samples

    async def encode(
        self, job: EncodeJob, samples: Samples, segments: AsyncIterator[common_pb2.Segment], clock: StageClock
    ) -> AsyncGenerator[SegmentEncoded | VideoStored, None]:
        """Encode segments as they come: one SegmentEncoded each, VideoStored at the end.

        Leaving the generator early, also by cancellation, stops the work and removes the scratch file.

        Raises: InvalidInput: other than `job.frame_count` frames, or segments that do not fit the job or each other.
            ScratchFull: the file does not fit on the disk. What the store and `segments` raise.
        """
        with (
            video_folder(self._scratch) as folder,
            self._workers.lease() as thread,
        ):
            session = EncodingSession(
                job, samples, folder / "video.mp4", self.encoder_for(job), self._threads_per_video
            )
            try:
                async with aclosing(self._loaded(job, segments, clock)) as loaded_segments:
                    async for loaded in loaded_segments:
                        await self._encode_segment(session, loaded, thread, clock)
                        clock.segment_delivered(loaded.segment.frame_count)
                        yield SegmentEncoded(loaded.segment.index, session.frames_done)
                await clock.compute_on(thread, session.finish)
                yield await self._stored(job, session, clock)
            finally:
                # The thread may still be encoding a piece: the file must not vanish below it.
                await asyncio.shield(asyncio.ensure_future(thread.run(session.close)))

    async def _loaded(
        self, job: EncodeJob, segments: AsyncIterator[common_pb2.Segment], clock: StageClock
    ) -> AsyncGenerator[_Loaded, None]:
        """Segments with their frames, one read ahead. Raises: InvalidInput: they are not the job's frames in order."""
        frames_seen = 0

        async def load_next() -> _Loaded | None:
            nonlocal frames_seen
            segment = await anext(segments, None)
            if segment is None:
                return None
            _check_position(segment, frames_seen, job.frame_count)
            frames_seen += segment.frame_count
            with clock.storage():
                content = await self._store.get(segment.object, job.tenant, _SEGMENT_LIMIT_BYTES)
            clock.bytes_read(len(content))
            return _Loaded(segment, await clock.compute_on(self._workers.decoding, read_segment, content))

        ahead = asyncio.create_task(load_next(), name="load-segment")
        try:
            while True:
                with clock.wait():
                    loaded = await ahead
                if loaded is None:
                    return
                ahead = asyncio.create_task(load_next(), name="load-segment")
                yield loaded
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _encode_segment(
        self, session: EncodingSession, loaded: _Loaded, thread: DeviceThread, clock: StageClock
    ) -> None:
        segment, content = loaded.segment, loaded.content
        await clock.compute_on(thread, session.begin_segment, segment, content, clock.warn)
        _, height, width, _ = content.frames.shape
        piece = max(1, _PIECE_PIXELS // (height * width))
        for first in range(0, segment.frame_count, piece):
            frames = content.frames[first : min(first + piece, segment.frame_count)]
            await clock.compute_on(thread, session.writer.write, frames)

    async def _stored(self, job: EncodeJob, session: EncodingSession, clock: StageClock) -> VideoStored:
        """Store what does not exist yet; the video last, so that where it exists everything does."""
        digest = job.digest(session.encoder, session.segments)
        pictures = session.pictures

        def key(name: str) -> str:
            return keys.result_key(job.tenant, job.work_id, name)

        with clock.storage():
            poster = await self._put(key(f"poster-{digest}.jpg"), pictures.poster_jpeg, POSTER_TYPE, clock)
            stills = [
                (frame, await self._put(key(f"still-{digest}-{frame}.png"), png, STILL_TYPE, clock))
                for frame, png in sorted(pictures.still_pngs.items())
            ]
            video_key = key(f"video-{digest}.mp4")
            video = await self._store.stat(video_key)
            if video is None:
                size_bytes = session.path.stat().st_size
                chunks = _file_chunks(session.path)
                video = await self._store.put_stream(video_key, chunks, mp4.MEDIA_TYPE, max_bytes=size_bytes)
                clock.bytes_written(size_bytes)
            else:
                log.info("result_reused", key=video_key)
        writer = session.writer
        return VideoStored(video, poster, tuple(stills), writer.shape, writer.audio_duration, session.encoder)

    async def _put(self, key: str, content: bytes, media_type: str, clock: StageClock) -> common_pb2.ObjectRef:
        """Objects are immutable: where the key exists its object stays, although encoders may differ in a byte."""
        existing = await self._store.stat(key)
        if existing is not None:
            return existing
        clock.bytes_written(len(content))
        return await self._store.put(key, content, media_type)


def _speech_samples(wav: bytes) -> Samples:
    samples, rate_hz = read_wav(wav)
    if len(samples) > 2:  # noqa: PLR2004
        raise MediaUnreadable(f"The audio has {len(samples)} channels; one or two are encoded.", field="open.audio")
    return resample(samples, rate_hz, CANONICAL_RATE_HZ)


def _check_position(segment: common_pb2.Segment, frames_seen: int, frame_count: int) -> None:
    if segment.first_frame != frames_seen:
        raise InvalidInput(
            f"Segment {segment.index} begins at frame {segment.first_frame}; frame {frames_seen} is next.",
            field="segment.first_frame",
        )
    if frames_seen + segment.frame_count > frame_count:
        raise InvalidInput(
            f"{frames_seen + segment.frame_count} frames came where {frame_count} were announced.",
            field="segment.frame_count",
        )


async def _file_chunks(path: Path) -> AsyncIterator[bytes]:
    """Read a file without blocking the event loop."""
    with path.open("rb") as file:  # opening a local scratch file is quick
        while chunk := await asyncio.to_thread(file.read, _COPY_BYTES):
            yield chunk
