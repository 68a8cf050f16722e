"""What the pipeline asks of an engine that animates portraits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from visema_kit.engines import Engine
from visema_media.framing import FramedPortrait
from visema_media.track import FaceTrack

from visema_liveportrait.motion_plan import MotionPlan


@dataclass(frozen=True, slots=True, eq=False)
class RenderedFrames:
    """Consecutive frames and the face in them.

    Attributes:
        frames: uint8 (N, H, W, 3), BGR.
        track: The face in the N frames, in pixels of the frames.
    """

    frames: npt.NDArray[np.uint8]
    track: FaceTrack


class PreparedPortrait(Protocol):
    """A portrait that an engine has made ready; may be rendered again and again."""

    def render(self, plan: MotionPlan, first: int, count: int) -> RenderedFrames:
        """Render frames `first` to `first + count` of `plan`.

        Pure: the same frame of the same plan gives the same pixels, whatever was rendered before.
        Called on the device thread only.
        """
        ...

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, for the cache's bound."""
        ...


class AnimationEngine(Engine, Protocol):
    """Makes portraits ready for animation."""

    def prepare(self, portrait: FramedPortrait) -> PreparedPortrait:
        """Analyse a framed portrait. Called on the device thread only.

        Raises: ResourceExhausted: the device has no memory for it.
        """
        ...
