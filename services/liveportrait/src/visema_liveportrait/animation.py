"""Renders pieces of one animation: the part of the pipeline that runs on the device thread."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from visema_kit.errors import ResourceExhausted
from visema_media.framing import Framing, frame_portrait
from visema_media.track import FaceTrack

from visema_liveportrait.bounded_cache import BoundedCache
from visema_liveportrait.engines.protocol import AnimationEngine, PreparedPortrait, RenderedFrames
from visema_liveportrait.faces import AnalysedPortrait
from visema_liveportrait.motion_planner import MotionPlanner

PIECE_S = 0.25  # a cancelled call leaves the device within one piece
FIRST_PIECE_FRAMES = 1  # until its speed is known, an engine may need seconds for a frame


@dataclass(frozen=True, slots=True)
class PreparedKey:
    """What a prepared portrait depends on."""

    portrait_sha256: str
    face_index: int
    framing: Framing
    size_px: int
    engine: tuple[str, str, str]


class Preparer:
    """Prepares portraits and keeps them while there is room. Lives on the device thread."""

    def __init__(self, capacity_bytes: int) -> None:
        """Make it with an empty cache of so many bytes."""
        self._cache: BoundedCache[PreparedPortrait] = BoundedCache(capacity_bytes, lambda value: value.size_bytes)

    def holds(self, key: PreparedKey) -> bool:
        """Whether the portrait is ready; may be asked on any thread."""
        return key in self._cache

    def prepare(self, key: PreparedKey, engine: AnimationEngine, portrait: AnalysedPortrait) -> PreparedPortrait:
        """The portrait, made ready if it is not.

        Raises: ResourceExhausted: the device has no memory for it, also after all others were forgotten.
        """
        prepared = self._cache.get(key)
        if prepared is None:
            framed = frame_portrait(portrait.bgr, portrait.faces[key.face_index], key.framing, key.size_px)
            try:
                prepared = engine.prepare(framed)
            except ResourceExhausted:
                if not self.forget():
                    raise
                prepared = engine.prepare(framed)
            self._cache.put(key, prepared)
        return prepared

    def forget(self) -> int:
        """Let go of all portraits that no call uses at the moment. Returns: how many were kept."""
        return self._cache.clear()


class PieceRenderer:
    """Renders a segment in pieces that are short enough to stop between them, whatever the engine's speed."""

    def __init__(self, prepared: PreparedPortrait, planner: MotionPlanner, preparer: Preparer) -> None:
        """Render this portrait with this motion. Args: preparer: Keeps others, which go before a frame fails."""
        self._prepared = prepared
        self._planner = planner
        self._preparer = preparer
        self._seconds_per_frame: float | None = None

    def piece(self, first_frame: int, frame_count: int) -> RenderedFrames:
        """The next frames of a segment: at most `frame_count`, fewer when that would take too long.

        Raises: ResourceExhausted: the device has no memory for a frame, also after all other portraits were forgotten.
        """
        frames = min(frame_count, self._piece_frames())
        plan = self._planner.plan(first_frame, frames)
        start = time.perf_counter()
        try:
            rendered = self._prepared.render(plan, 0, frames)
        except ResourceExhausted:
            if not self._preparer.forget():
                raise
            rendered = self._prepared.render(plan, 0, frames)
        self._seconds_per_frame = (time.perf_counter() - start) / frames
        return rendered

    def _piece_frames(self) -> int:
        if self._seconds_per_frame is None:
            return FIRST_PIECE_FRAMES
        return max(1, int(PIECE_S / max(self._seconds_per_frame, 1e-6)))


def joined(pieces: list[RenderedFrames]) -> RenderedFrames:
    """Consecutive pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    tracks = [piece.track for piece in pieces]
    return RenderedFrames(
        np.concatenate([piece.frames for piece in pieces]),
        FaceTrack(
            tracks[0].landmark_ids,
            np.concatenate([track.points_px for track in tracks]),
            np.concatenate([track.boxes_px for track in tracks]),
        ),
    )
