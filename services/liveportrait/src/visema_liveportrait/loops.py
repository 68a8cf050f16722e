"""What a stored animation is called and what is known about it without opening its segments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction

from visema_kit.digest import digest_of
from visema_kit.engines import EngineDescription
from visema_kit.keys import job_key, loop_key
from visema_media.framing import Framing
from visema_media.segments import SegmentCodec

from visema_liveportrait.faces import FaceChoice
from visema_liveportrait.motion_settings import MotionSettings

FORMAT = 1  # of keys and manifests; a change makes all stored loops new
ENDLESS_FORMAT = 2  # of motion that is no loop; a change leaves stored loops alone
MANIFEST_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class AnimationRequest:
    """Everything that an animation's pixels depend on, besides the engine.

    Attributes:
        tenant: Owner of every object.
        work_id: Job or avatar; names temporary objects.
        portrait_sha256: Of the portrait's bytes.
        speech_sha256: Of the audio that the motion follows; None when it follows none.
        face: Which face.
        framing: Which part of the picture.
        motion: How it moves.
        size_px: Long side of the video.
        frame_rate: Frames per second.
        frame_count: Frames wanted.
        first_segment: Index of the first segment wanted.
    """

    tenant: str
    work_id: str
    portrait_sha256: str
    speech_sha256: str | None
    face: FaceChoice
    framing: Framing
    motion: MotionSettings
    size_px: int
    frame_rate: Fraction
    frame_count: int
    first_segment: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How an animation is cut.

    Attributes:
        segment_frames: Frames of a full segment.
        loop_frames: Frames after which it repeats, a whole number of segments; 0 when it never does.
    """

    segment_frames: int
    loop_frames: int

    def segment_count(self, frame_count: int) -> int:
        """Segments of a video."""
        return -(-frame_count // self.segment_frames)

    def stored_index(self, index: int) -> int:
        """Which stored segment is shown at position `index`."""
        return index % (self.loop_frames // self.segment_frames) if self.loop_frames else index

    def frames_at(self, index: int, frame_count: int) -> int:
        """Frames of the video in segment `index`; the last one may be shorter."""
        return min(self.segment_frames, frame_count - index * self.segment_frames)

    def stored_frames(self, index: int, frame_count: int) -> int:
        """Frames of the stored object: loop segments are always full, for the next request."""
        return self.segment_frames if self.loop_frames else self.frames_at(index, frame_count)


@dataclass(frozen=True, slots=True)
class KeyMaker:
    """Object keys of one animation; input-addressed, so the same request finds what an earlier one stored."""

    request: AnimationRequest
    layout: Layout
    digest: str

    def manifest(self) -> str:
        """Where the manifest is."""
        return self._key("loop.json")

    def segment(self, index: int) -> str:
        """Where stored segment `index` is."""
        frames = self.layout.stored_frames(index, self.request.frame_count)
        return self._key(f"{index:06d}-{frames}.mkv")

    def _key(self, name: str) -> str:
        if self.layout.loop_frames:
            return loop_key(self.request.tenant, self.digest, name)
        return job_key(self.request.tenant, self.request.work_id, "animation", self.digest, name)


def make_keys(request: AnimationRequest, layout: Layout, engine: EngineDescription, codec: SegmentCodec) -> KeyMaker:
    """Name an animation by everything its content depends on."""
    motion = request.motion
    digest = digest_of(
        "animation",
        FORMAT,
        request.portrait_sha256,
        [request.face.index, request.face.largest],
        request.framing,
        [motion.blinks_per_minute, motion.blink_duration_ms, motion.head_motion],
        [motion.breaths_per_minute, motion.breathing, motion.gaze_wander],
        [motion.expression, motion.expression_strength, motion.seed, motion.loop],
        request.size_px,
        request.frame_rate,
        [layout.segment_frames, layout.loop_frames],
        list(engine.identity()),
        codec,
        *([] if motion.loop else [ENDLESS_FORMAT, request.speech_sha256, motion.speech_motion]),
    )
    return KeyMaker(request, layout, digest)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a later request wants to know about a stored animation.

    Attributes:
        box_px: Left, top, width, height of the chosen face in the portrait.
        yaw_degrees: Turn of the face.
        warnings: About the portrait.
    """

    box_px: tuple[float, float, float, float]
    yaw_degrees: float
    warnings: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {"box_px": self.box_px, "yaw_degrees": self.yaw_degrees, "warnings": self.warnings}, sort_keys=True
        ).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Inverse of `to_bytes`. Raises: ValueError, KeyError: not a manifest."""
        values = json.loads(content)
        left, top, width, height = (float(value) for value in values["box_px"])
        return cls((left, top, width, height), float(values["yaw_degrees"]), tuple(values["warnings"]))
