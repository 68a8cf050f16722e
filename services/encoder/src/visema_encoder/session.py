"""One video being encoded: its file, its pictures, what went into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
from visema.common.v1 import common_pb2
from visema_kit.errors import InvalidInput
from visema_kit.logs import get_logger
from visema_media.audio import Samples
from visema_media.segments import SegmentContent

from visema_encoder.codecs import SOFTWARE
from visema_encoder.job import EncodeJob
from visema_encoder.mp4 import Mp4Writer
from visema_encoder.options import VideoShape, check_size
from visema_encoder.stills import Pictures

WARN_NO_HARDWARE = "No hardware encoder opens here; the software encoder was used."

log = get_logger(__name__)


class EncodingSession:
    """State of one job, from its first segment to the complete file. Its methods block and run in the job's thread."""

    def __init__(self, job: EncodeJob, samples: Samples, path: Path, encoder: str, thread_count: int) -> None:
        self.path = path
        self.encoder = encoder
        self.segments: list[tuple[str, int]] = []
        self.pictures = Pictures(job.options.still_frames)
        self._job = job
        self._samples = samples
        self._thread_count = thread_count
        self._writer: Mp4Writer | None = None

    @property
    def frames_done(self) -> int:
        """Frames in the video so far."""
        return self._writer.frames_written if self._writer else 0

    @property
    def writer(self) -> Mp4Writer:
        """Raises: InvalidInput: no segment came yet."""
        if self._writer is None:
            raise InvalidInput(f"None of the announced {self._job.frame_count} frames came.", field="open.frame_count")
        return self._writer

    def begin_segment(self, segment: common_pb2.Segment, content: SegmentContent, warn: Callable[[str], None]) -> None:
        """Check a segment; the first one decides the size and opens the file. Raises: InvalidInput: it does not fit."""
        content.check_fits(segment.index, segment.frame_count, self._job.frame_rate)
        if self._writer is None:
            self._writer = self._open(content, warn)
        self.pictures.add(content, segment.frame_count)
        self.segments.append((segment.object.sha256, segment.frame_count))

    def _open(self, content: SegmentContent, warn: Callable[[str], None]) -> Mp4Writer:
        _, height, width, _ = content.frames.shape
        check_size(width, height)
        shape = VideoShape(width, height, self._job.frame_rate, self._job.frame_count)
        if self.encoder != SOFTWARE:
            try:
                return self._open_with(self.encoder, shape)
            except av.FFmpegError as err:  # e.g. no session is free, or the device went away
                log.warning("hardware_encoder_failed", encoder=self.encoder, error=str(err))
                self.encoder = SOFTWARE
        if self._job.options.prefer_hardware:
            warn(WARN_NO_HARDWARE)
        return self._open_with(SOFTWARE, shape)

    def _open_with(self, encoder: str, shape: VideoShape) -> Mp4Writer:
        return Mp4Writer(
            self.path,
            shape,
            self._samples,
            self._job.options,
            self._job.metadata(encoder),
            encoder=encoder,
            thread_count=self._thread_count,
        )

    def finish(self) -> None:
        """Complete the file. Raises: InvalidInput: frames are missing."""
        self.writer.finish()

    def close(self) -> None:
        """Free the encoders, whether the file is complete or not."""
        if self._writer is not None:
            self._writer.close()
