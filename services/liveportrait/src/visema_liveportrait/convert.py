"""Messages of `portrait.v1` to the domain and back, with the limits of every field."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

from visema.common.v1 import common_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.errors import InvalidInput
from visema_kit.keys import check_tenant_name
from visema_media.face import FaceLandmarks
from visema_media.framing import FaceFlaw, Framing

from visema_liveportrait.faces import FaceChoice
from visema_liveportrait.loops import AnimationRequest, Manifest
from visema_liveportrait.motion_settings import Expression, MotionSettings
from visema_liveportrait.pipeline import StoredSegment

SMALLEST_PX, LARGEST_PX = 256, 1024
SLOWEST_FPS, FASTEST_FPS = 1, 60

T = TypeVar("T")

_FRAMINGS: dict[int, Framing] = {
    portrait_pb2.FRAMING_UNSPECIFIED: Framing.BUST,
    portrait_pb2.FRAMING_FACE: Framing.FACE,
    portrait_pb2.FRAMING_BUST: Framing.BUST,
    portrait_pb2.FRAMING_FULL_PICTURE: Framing.FULL_PICTURE,
}
_EXPRESSIONS: dict[int, Expression] = {
    portrait_pb2.EXPRESSION_PRESET_UNSPECIFIED: Expression.NEUTRAL,
    portrait_pb2.EXPRESSION_PRESET_NEUTRAL: Expression.NEUTRAL,
    portrait_pb2.EXPRESSION_PRESET_WARM: Expression.WARM,
    portrait_pb2.EXPRESSION_PRESET_SERIOUS: Expression.SERIOUS,
    portrait_pb2.EXPRESSION_PRESET_HAPPY: Expression.HAPPY,
    portrait_pb2.EXPRESSION_PRESET_SAD: Expression.SAD,
    portrait_pb2.EXPRESSION_PRESET_SURPRISED: Expression.SURPRISED,
}


def to_request(message: portrait_pb2.AnimateRequest, max_video_s: float) -> AnimationRequest:
    """The request, every field within its limits.

    Raises: InvalidInput: the first field that is not.
    """
    size, rate = message.size_px, to_rate(message.frame_rate)
    if not SMALLEST_PX <= size <= LARGEST_PX or size % 2:
        raise InvalidInput(
            f"The size is {size} pixels; an even number from {SMALLEST_PX} to {LARGEST_PX} is possible.",
            field="size_px",
        )
    longest = int(max_video_s * rate)
    if not 1 <= message.frame_count <= longest:
        raise InvalidInput(
            f"{message.frame_count} frames are wanted; 1 to {longest} are possible.", field="frame_count"
        )
    motion = to_motion(message.motion)
    return AnimationRequest(
        tenant=check_tenant_name(message.context.tenant),
        work_id=message.context.work_id,
        portrait_sha256=message.portrait.sha256,
        speech_sha256=message.speech.sha256 if message.HasField("speech") and motion.follows_speech else None,
        face=to_face_choice(message.face),
        framing=_known(_FRAMINGS, message.framing, "framing"),
        motion=motion,
        size_px=size,
        frame_rate=rate,
        frame_count=message.frame_count,
        first_segment=message.first_segment_index,
    )


def to_rate(message: common_pb2.FrameRate) -> Fraction:
    """Frames per second. Raises: InvalidInput."""
    if message.numerator <= 0 or message.denominator <= 0:
        raise InvalidInput("The frame rate must be above 0.", field="frame_rate")
    rate = Fraction(message.numerator, message.denominator)
    if not SLOWEST_FPS <= rate <= FASTEST_FPS:
        raise InvalidInput(
            f"The frame rate is {float(rate):g}; {SLOWEST_FPS} to {FASTEST_FPS} are possible.", field="frame_rate"
        )
    return rate


def to_face_choice(message: portrait_pb2.FaceSelection) -> FaceChoice:
    """Which face is meant."""
    match message.WhichOneof("selection"):
        case "index":
            return FaceChoice(index=message.index)
        case "largest":
            return FaceChoice(largest=message.largest)
        case _:
            return FaceChoice()


def to_motion(message: portrait_pb2.MotionSettings) -> MotionSettings:
    """Motion settings; what is not set takes its default. Raises: InvalidInput: a value beyond its range."""
    given = {
        name: getattr(message, name)
        for name in (
            "blinks_per_minute",
            "blink_duration_ms",
            "head_motion",
            "breaths_per_minute",
            "breathing",
            "gaze_wander",
            "expression_strength",
            "seed",
            "loop",
            "speech_motion",
        )
        if message.HasField(name)
    }
    expression = _known(_EXPRESSIONS, message.expression, "motion.expression")
    try:
        return MotionSettings(expression=expression, **given)
    except ValueError as beyond:
        name = str(beyond).partition(" ")[0]
        raise InvalidInput(f"{beyond}.", field=f"motion.{name}") from beyond


def from_face(face: FaceLandmarks | Manifest) -> portrait_pb2.Face:
    """Box and turn of a face."""
    left, top, width, height = face.box_px
    return portrait_pb2.Face(
        box=portrait_pb2.FaceBox(left_px=left, top_px=top, width_px=width, height_px=height),
        yaw_degrees=face.yaw_degrees,
    )


def from_flaw(flaw: FaceFlaw) -> portrait_pb2.FaceFlaw.ValueType:
    """What makes a face harder to animate."""
    return portrait_pb2.FaceFlaw.Value(f"FACE_FLAW_{flaw.name}")


def from_segment(segment: StoredSegment) -> common_pb2.Segment:
    """A stored segment."""
    return common_pb2.Segment(
        index=segment.index, first_frame=segment.first_frame, frame_count=segment.frame_count, object=segment.ref
    )


def _known(table: dict[int, T], value: int, field: str) -> T:
    """An enum's meaning. Raises: InvalidInput: a number that this version does not know."""
    try:
        return table[value]
    except KeyError:
        raise InvalidInput(f"{value} is not a value of {field}.", field=field) from None
