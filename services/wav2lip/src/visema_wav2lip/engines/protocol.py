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


@dataclass(frozen=True, slots=True)
class LipSyncSettings:
    """How the mouth moves.

    Attributes:
        mouth_strength: 0 still to 1.5 exaggerated; 1 is natural.
    """

    mouth_strength: float = 1.0


class LipSyncSession(Protocol):
    """One clip with one face. Pure per segment: the same frames at the same position give the same result."""

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know about this face, in words."""
        ...

    def apply(self, frames: Sequence[Frame], track: FaceTrack, first_frame: int) -> list[Frame]:
        """Frames with the mouth moved; `first_frame` is the position of `frames[0]` in the clip.

        Input frames are not changed. A result may be the very same array as its input when nothing moves.
        Raises: ValueError: track and frames differ in length, or frames lie outside the clip. ResourceExhausted:
            the device has no memory for a single frame. CancelledError (of `concurrent.futures`): after `cancel`.
        """
        ...

    def cancel(self) -> None:
        """Stop a running `apply` before its next frames, and every later one at once. Any thread."""
        ...


class LipSyncEngine(Engine, Protocol):
    """Makes sessions. Called from one device thread only."""

    @property
    def frames_per_call(self) -> int:
        """Frames of 512x512 pixels that `apply` should get at once: well below a second of work, as cancellation is
        looked at between calls, and so are other jobs.
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
