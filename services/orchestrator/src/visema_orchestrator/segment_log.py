"""The segments that a stage has delivered so far: written once, read by any number of readers from any position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from visema.common.v1 import common_pb2
from visema_kit.errors import InternalError


class SegmentLog:
    """Segments of one stage in order, for `frame_count` frames.

    A reader that comes back after a fault starts where it wants; nothing is dropped. References are small: an hour of
    video is 3600 of them.
    """

    def __init__(self, stage: str, frame_count: int) -> None:
        self.stage = stage
        self.frame_count = frame_count
        self.segments: list[common_pb2.Segment] = []
        self.frames_done = 0
        self._grown = asyncio.Condition()

    @property
    def is_complete(self) -> bool:
        """Whether every frame is there."""
        return self.frames_done == self.frame_count

    async def append(self, segment: common_pb2.Segment) -> None:
        """Add the next segment. Raises: InternalError: it does not follow the last one or goes too far."""
        follows = segment.index == len(self.segments) and segment.first_frame == self.frames_done
        if not follows or segment.frame_count <= 0 or self.frames_done + segment.frame_count > self.frame_count:
            raise InternalError(
                f"stage {self.stage} sent segment {segment.index} with {segment.frame_count} frames from frame "
                f"{segment.first_frame}; expected segment {len(self.segments)} from frame {self.frames_done} "
                f"of {self.frame_count}"
            )
        async with self._grown:
            self.segments.append(segment)
            self.frames_done += segment.frame_count
            self._grown.notify_all()

    async def read(self, first_index: int) -> AsyncIterator[common_pb2.Segment]:
        """Segments from `first_index` to the end, each as soon as it is there."""
        index = first_index
        while True:
            async with self._grown:
                while len(self.segments) <= index and not self.is_complete:
                    await self._grown.wait()
            if index >= len(self.segments):
                return
            yield self.segments[index]
            index += 1
