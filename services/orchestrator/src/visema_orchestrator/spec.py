"""Checks a job's or avatar's wishes against their ranges and fills in the defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.errors import InvalidInput

DEFAULT_SIZE_PX = 512
SMALLEST_SIZE_PX, LARGEST_SIZE_PX = 256, 1024
FRAME_RATES: Sequence[int] = (24, 25, 30, 50)
DEFAULT_FRAME_RATE = 25
LONGEST_REQUEST_ID = 128
LONGEST_TITLE = 200
LONGEST_TEXT = 5000
LONGEST_NAME, LONGEST_DESCRIPTION = 200, 2000
MOST_STILLS = 32
PRESETS = frozenset(
    {"", "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"}
)
MOTION_RANGES: dict[str, tuple[float, float]] = {
    "blinks_per_minute": (0, 40),
    "blink_duration_ms": (120, 400),
    "head_motion": (0, 2),
    "breaths_per_minute": (4, 40),
    "breathing": (0, 2),
    "gaze_wander": (0, 2),
    "expression_strength": (0, 1),
    "speech_motion": (0, 2),
}


def to_fraction(rate: common_pb2.FrameRate) -> Fraction:
    """A checked frame rate as a number."""
    return Fraction(rate.numerator, rate.denominator)


def check_request_id(request_id: str) -> None:
    """Raises: InvalidInput."""
    if len(request_id) > LONGEST_REQUEST_ID:
        raise InvalidInput(f"a request id has at most {LONGEST_REQUEST_ID} characters", field="request_id")


def check_job_spec(spec: jobs_pb2.JobSpec) -> None:
    """Everything that can be seen without looking at media. Raises: InvalidInput."""
    if spec.WhichOneof("appearance") is None:
        raise InvalidInput("a portrait or an avatar is needed", field="spec.portrait")
    if spec.WhichOneof("speech") is None:
        raise InvalidInput("audio or text is needed", field="spec.audio")
    if spec.WhichOneof("appearance") == "avatar_id":
        for name, given in (("face", spec.HasField("face")), ("framing", bool(spec.framing))):
            if given:
                raise InvalidInput(f"{name} belongs to the avatar: not with avatar_id", field=f"spec.{name}")
    if spec.HasField("text"):
        _check_text(spec.text)
    _check_look(spec.face, spec.framing, spec.motion, spec.engine)
    if spec.HasField("size_px"):
        _check_size(spec.size_px)
    if spec.HasField("frame_rate"):
        _check_rate(spec.frame_rate)
    _check_range("spec.lip_sync.mouth_strength", _optional(spec.lip_sync, "mouth_strength"), 0, 1.5)
    _check_encoding(spec.encoding)
    if len(spec.title) > LONGEST_TITLE:
        raise InvalidInput(f"a title has at most {LONGEST_TITLE} characters", field="spec.title")


def check_avatar_spec(spec: avatars_pb2.AvatarSpec) -> None:
    """Everything that can be seen without looking at the picture. Raises: InvalidInput."""
    if len(spec.display_name) > LONGEST_NAME:
        raise InvalidInput(f"a name has at most {LONGEST_NAME} characters", field="spec.display_name")
    if len(spec.description) > LONGEST_DESCRIPTION:
        raise InvalidInput(f"a description has at most {LONGEST_DESCRIPTION} characters", field="spec.description")
    _check_look(spec.face, spec.framing, spec.motion, spec.engine)
    if spec.HasField("size_px"):
        _check_size(spec.size_px)
    if spec.HasField("frame_rate"):
        _check_rate(spec.frame_rate)


def with_avatar(spec: jobs_pb2.JobSpec, avatar: avatars_pb2.AvatarSpec) -> avatars_pb2.AvatarSpec:
    """How a job's person looks: the avatar's spec with what the job wants otherwise."""
    look = avatars_pb2.AvatarSpec()
    look.CopyFrom(avatar)
    for name in ("motion", "frame_rate"):
        if spec.HasField(name):
            getattr(look, name).CopyFrom(getattr(spec, name))
    if spec.HasField("size_px"):
        look.size_px = spec.size_px
    if spec.engine:
        look.engine = spec.engine
    return with_defaults(look)


def without_avatar(spec: jobs_pb2.JobSpec) -> avatars_pb2.AvatarSpec:
    """How a job's person looks when the job brings a portrait."""
    look = avatars_pb2.AvatarSpec(portrait=spec.portrait, framing=spec.framing, motion=spec.motion, engine=spec.engine)
    for name in ("face", "frame_rate"):
        if spec.HasField(name):
            getattr(look, name).CopyFrom(getattr(spec, name))
    if spec.HasField("size_px"):
        look.size_px = spec.size_px
    return with_defaults(look)


def with_defaults(look: avatars_pb2.AvatarSpec) -> avatars_pb2.AvatarSpec:
    """A copy in which size and frame rate are set, the rate in lowest terms."""
    filled = avatars_pb2.AvatarSpec()
    filled.CopyFrom(look)
    if not filled.HasField("size_px"):
        filled.size_px = DEFAULT_SIZE_PX
    rate = to_fraction(filled.frame_rate) if filled.HasField("frame_rate") else Fraction(DEFAULT_FRAME_RATE)
    filled.frame_rate.CopyFrom(common_pb2.FrameRate(numerator=rate.numerator, denominator=rate.denominator))
    return filled


def animate_request(
    look: avatars_pb2.AvatarSpec,
    context: common_pb2.WorkContext,
    frame_count: int,
    speech: common_pb2.ObjectRef | None = None,
) -> portrait_pb2.AnimateRequest:
    """The request to stage 1 for somebody who looks like this and, where the motion is no loop, says this."""
    request = portrait_pb2.AnimateRequest(
        context=context,
        portrait=look.portrait,
        framing=look.framing,
        motion=look.motion,
        size_px=look.size_px,
        frame_rate=look.frame_rate,
        frame_count=frame_count,
        engine=look.engine,
    )
    if look.HasField("face"):
        request.face.CopyFrom(look.face)
    if speech is not None and look.motion.HasField("loop") and not look.motion.loop:
        request.speech.CopyFrom(speech)
    return request


def check_stills(spec: jobs_pb2.JobSpec, frame_count: int) -> None:
    """Raises: InvalidInput: a still is asked for beyond the end."""
    for frame in spec.encoding.still_frames:
        if frame >= frame_count:
            raise InvalidInput(
                f"still {frame} lies behind the last frame, {frame_count - 1}", field="spec.encoding.still_frames"
            )


def _check_text(text: jobs_pb2.SpeechText) -> None:
    if not text.text.strip() or len(text.text) > LONGEST_TEXT:
        raise InvalidInput(f"a text has 1 to {LONGEST_TEXT} characters", field="spec.text.text")
    _check_range("spec.text.speaking_rate", _optional(text, "speaking_rate"), 0.5, 2)


def _check_look(
    face: portrait_pb2.FaceSelection,
    framing: portrait_pb2.Framing.ValueType,
    motion: portrait_pb2.MotionSettings,
    engine: common_pb2.EngineChoice.ValueType,
) -> None:
    if face.index < 0:
        raise InvalidInput("a face's index is not negative", field="spec.face.index")
    _check_enum("spec.framing", framing, portrait_pb2.Framing.values())
    _check_enum("spec.motion.expression", motion.expression, portrait_pb2.ExpressionPreset.values())
    _check_enum("spec.engine", engine, common_pb2.EngineChoice.values())
    for name, (low, high) in MOTION_RANGES.items():
        _check_range(f"spec.motion.{name}", _optional(motion, name), low, high)


def _check_encoding(settings: encoding_pb2.EncodingSettings) -> None:
    field = "spec.encoding"
    if settings.HasField("crf"):
        _check_range(f"{field}.crf", settings.crf, 0, 51)
    if settings.HasField("bitrate_bps"):
        _check_range(f"{field}.bitrate_bps", settings.bitrate_bps, 50_000, 100_000_000)
    if settings.preset not in PRESETS:
        raise InvalidInput("no such preset of x264", field=f"{field}.preset")
    if settings.audio_bitrate_bps:
        _check_range(f"{field}.audio_bitrate_bps", settings.audio_bitrate_bps, 16_000, 512_000)
    if len(settings.still_frames) > MOST_STILLS or any(frame < 0 for frame in settings.still_frames):
        raise InvalidInput(f"at most {MOST_STILLS} stills, at frames from 0", field=f"{field}.still_frames")


def _check_size(size_px: int) -> None:
    if not SMALLEST_SIZE_PX <= size_px <= LARGEST_SIZE_PX or size_px % 2:
        raise InvalidInput(
            f"the size is an even number from {SMALLEST_SIZE_PX} to {LARGEST_SIZE_PX}", field="spec.size_px"
        )


def _check_rate(rate: common_pb2.FrameRate) -> None:
    if rate.denominator < 1 or rate.numerator < 1 or to_fraction(rate) not in FRAME_RATES:
        raise InvalidInput("the frame rate is 24, 25, 30 or 50", field="spec.frame_rate")


def _optional(
    message: portrait_pb2.MotionSettings | lipsync_pb2.LipSyncSettings | jobs_pb2.SpeechText, name: str
) -> float | None:
    """The value of an `optional` field; None when it is not set."""
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


def _check_range(field: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise InvalidInput(f"{field} lies outside {low:g} to {high:g}", field=field)


def _check_enum(field: str, value: int, known: Sequence[int]) -> None:
    if value not in known:
        raise InvalidInput(f"{field} has no value {value}", field=field)
