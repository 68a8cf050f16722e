"""What a lip-sync engine is. Engines know frames, tracks and samples; no messages, no storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt
from visema_kit.engines import Engine
from visema_media.track import FaceTrack

Frame = npt.NDArray[np.uint8]
"""BGR picture, uint8 (H, W, 3)."""

Samples = npt.NDArray[np.float32]
"""Mono speech, float32 (n,) in [-1, 1] at SPEECH_RATE_HZ."""

SPEECH_RATE_HZ = 16_000
USUAL_PIXELS = 512 * 512  # of a frame


@dataclass(frozen=True, slots=True)
class LipSyncSettings:
    """How the mouth moves.

    Attributes:
        mouth_strength: 0 still to 1.5 exaggerated; 1 is natural.
    """

    mouth_strength: float = 1.0


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """Some frames of a segment, with the whole segment around them.

    Attributes:
        frames: Of the whole segment, all of one size.
        track: Of the whole segment, one row per frame.
        first_frame: Position of `frames[0]` in the clip.
        wanted: Which of `frames` to work on, in steps of 1.
    """

    frames: Sequence[Frame]
    track: FaceTrack
    first_frame: int
    wanted: range

    def __post_init__(self) -> None:
        if len(self.track) != len(self.frames):
            raise ValueError(f"{len(self.track)} track rows for {len(self.frames)} frames")

    @classmethod
    def whole(cls, frames: Sequence[Frame], track: FaceTrack, first_frame: int) -> SegmentPart:
        """All frames of a segment."""
        return cls(frames, track, first_frame, range(len(frames)))

    @property
    def wanted_frames(self) -> Sequence[Frame]:
        """The frames to work on."""
        return self.frames[self.wanted.start : self.wanted.stop]

    def check_inside(self, frame_count: int) -> None:
        """Raises: ValueError: the segment does not lie inside a clip of `frame_count` frames."""
        end = self.first_frame + len(self.frames)
        if self.first_frame < 0 or end > frame_count:
            raise ValueError(f"frames {self.first_frame} to {end} of {frame_count}")


class LipSyncSession(Protocol):
    """One clip with one face. Pure per segment: what a frame becomes depends on its segment and the whole audio only,
    not on how the segment is divided into parts nor on what else is worked on in the same call.
    """

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know about this face, in words."""
        ...

    def apply(self, parts: Sequence[SegmentPart]) -> list[Frame]:
        """The wanted frames of all parts, in order, with the mouth moved.

        Input frames are not changed. A result may be the very same array as its input when nothing moves.
        Raises: ValueError: a segment lies outside the clip. ResourceExhausted: the device has no memory for a single
            frame. CancelledError (of `concurrent.futures`): after `cancel`.
        """
        ...

    def cancel(self) -> None:
        """Stop a running `apply` before its next frames, and every later one at once. Any thread."""
        ...


class LipSyncEngine(Engine, Protocol):
    """Makes sessions. Called from one device thread only."""

    def frames_per_call(self, frame_pixels: int) -> int:
        """Frames of so many pixels that `apply` should get at once, at least 1: well below a second of work, as
        cancellation is looked at between calls, and so are other jobs.
        """
        ...

    @property
    def crosses_segments(self) -> bool:
        """Whether a call that one segment does not fill should get frames of the next one, if that is there already:
        worth it where many frames at once cost less than one by one.
        """
        ...

    def open(  # noqa: PLR0917 - a face, a sound and how they meet: all are needed
        self,
        reference_frame: Frame,
        reference_track_row: FaceTrack,
        audio: Samples,
        frame_rate: Fraction,
        frame_count: int,
        settings: LipSyncSettings,
    ) -> LipSyncSession:
        """Begin a clip of `frame_count` frames.

        Args:
            reference_frame: How the mouth looks at rest.
            reference_track_row: Its track, one frame.
            audio: The whole speech.
        Raises: ValueError: the track lacks what the engine needs.
        """
        ...
