"""What a video looks like, as plain values with the server's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2

Engine = Literal["auto", "neural", "embedded"]
FramingName = Literal["face", "bust", "full-picture"]
ExpressionName = Literal["neutral", "warm", "serious", "happy", "sad", "surprised"]

_ENGINES = {
    "auto": common_pb2.ENGINE_CHOICE_AUTO,
    "neural": common_pb2.ENGINE_CHOICE_NEURAL,
    "embedded": common_pb2.ENGINE_CHOICE_EMBEDDED,
}
_FRAMINGS = {
    "face": portrait_pb2.FRAMING_FACE,
    "bust": portrait_pb2.FRAMING_BUST,
    "full-picture": portrait_pb2.FRAMING_FULL_PICTURE,
}
_EXPRESSIONS = {
    "neutral": portrait_pb2.EXPRESSION_PRESET_NEUTRAL,
    "warm": portrait_pb2.EXPRESSION_PRESET_WARM,
    "serious": portrait_pb2.EXPRESSION_PRESET_SERIOUS,
    "happy": portrait_pb2.EXPRESSION_PRESET_HAPPY,
    "sad": portrait_pb2.EXPRESSION_PRESET_SAD,
    "surprised": portrait_pb2.EXPRESSION_PRESET_SURPRISED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """Settings of a video or an avatar. None leaves the choice to the server; the protos describe ranges and defaults.

    Attributes:
        size_px: Side of the square video, 256 to 1024, even. Default 512.
        frame_rate: 24, 25, 30 or 50 frames per second. Default 25.
        engine: `auto` takes neural where its checkpoints are present, else embedded, and says so.
        framing: Which part of the picture is shown. Default `bust`.
        face: `largest`, or the position from the left, when the picture shows several faces.
        blinks_per_minute: 0 to 40. Default 17.
        blink_duration_ms: 120 to 400. Default 270.
        head_motion: Strength 0 to 2. Default 1.
        breaths_per_minute: 4 to 40. Default 16.
        breathing: Strength 0 to 2. Default 1.
        gaze_wander: Strength 0 to 2. Default 1.
        expression: Expression to hold. Default `neutral`.
        expression_strength: 0 to 1. Default 0.6.
        seed: Seed of everything random. Default 1.
        loop: Repeat a seamless loop, which is kept for the portrait's next videos. Default true, except where
            `speech_motion` is above 0.
        speech_motion: How much head, brows, blinks and breath follow the speech: 0 to 2; a loop follows none.
            Default 1 where `loop` is false.
        mouth_strength: 0 to 1.5. Default 1.
        crf: Constant quality, 0 to 51. Default 18.
        bitrate_bps: Average bit rate instead of constant quality.
        preset: Speed preset of x264. Default `veryfast`.
        prefer_hardware: Use a hardware encoder where one opens.
        audio_bitrate_bps: Default 128000.
        fragmented: Fragmented MP4 instead of faststart.
        still_frames: Frames to store as PNG stills.
        title: Title in the file's metadata.

    Raises: ValueError: both `crf` and `bitrate_bps` are given.
    """

    size_px: int | None = None
    frame_rate: int | Fraction | None = None
    engine: Engine | None = None
    framing: FramingName | None = None
    face: Literal["largest"] | int | None = None
    blinks_per_minute: float | None = None
    blink_duration_ms: float | None = None
    head_motion: float | None = None
    breaths_per_minute: float | None = None
    breathing: float | None = None
    gaze_wander: float | None = None
    expression: ExpressionName | None = None
    expression_strength: float | None = None
    seed: int | None = None
    loop: bool | None = None
    speech_motion: float | None = None
    mouth_strength: float | None = None
    crf: int | None = None
    bitrate_bps: int | None = None
    preset: str | None = None
    prefer_hardware: bool | None = None
    audio_bitrate_bps: int | None = None
    fragmented: bool | None = None
    still_frames: Sequence[int] = ()
    title: str | None = None

    def __post_init__(self) -> None:
        if self.crf is not None and self.bitrate_bps is not None:
            raise ValueError("give either crf or bitrate_bps")

    def job_spec(self) -> jobs_pb2.JobSpec:
        """The settings as a job's spec, without appearance and speech."""
        return jobs_pb2.JobSpec(
            face=self._face(),
            framing=_FRAMINGS[self.framing] if self.framing else portrait_pb2.FRAMING_UNSPECIFIED,
            motion=self._motion(),
            lip_sync=self._lip_sync(),
            encoding=self._encoding(),
            size_px=self.size_px,
            frame_rate=self._frame_rate(),
            engine=_ENGINES[self.engine] if self.engine else common_pb2.ENGINE_CHOICE_UNSPECIFIED,
            title=self.title or "",
        )

    def avatar_spec(self, portrait: common_pb2.ObjectRef, *, name: str, description: str) -> avatars_pb2.AvatarSpec:
        """The settings as an avatar's spec; those of mouth and encoding belong to its jobs."""
        return avatars_pb2.AvatarSpec(
            display_name=name,
            description=description,
            portrait=portrait,
            face=self._face(),
            framing=_FRAMINGS[self.framing] if self.framing else portrait_pb2.FRAMING_UNSPECIFIED,
            motion=self._motion(),
            size_px=self.size_px,
            frame_rate=self._frame_rate(),
            engine=_ENGINES[self.engine] if self.engine else common_pb2.ENGINE_CHOICE_UNSPECIFIED,
        )

    def _face(self) -> portrait_pb2.FaceSelection | None:
        if self.face is None:
            return None
        if self.face == "largest":
            return portrait_pb2.FaceSelection(largest=True)
        return portrait_pb2.FaceSelection(index=self.face)

    def _frame_rate(self) -> common_pb2.FrameRate | None:
        if self.frame_rate is None:
            return None
        rate = Fraction(self.frame_rate)
        return common_pb2.FrameRate(numerator=rate.numerator, denominator=rate.denominator)

    def _motion(self) -> portrait_pb2.MotionSettings | None:
        motion = portrait_pb2.MotionSettings(
            blinks_per_minute=self.blinks_per_minute,
            blink_duration_ms=self.blink_duration_ms,
            head_motion=self.head_motion,
            breaths_per_minute=self.breaths_per_minute,
            breathing=self.breathing,
            gaze_wander=self.gaze_wander,
            expression=_EXPRESSIONS[self.expression] if self.expression else portrait_pb2.EXPRESSION_PRESET_UNSPECIFIED,
            expression_strength=self.expression_strength,
            seed=self.seed,
            loop=False if self.loop is None and self.speech_motion else self.loop,
            speech_motion=self.speech_motion,
        )
        return motion if motion.ListFields() else None  # a job of an avatar keeps the avatar's motion

    def _lip_sync(self) -> lipsync_pb2.LipSyncSettings | None:
        if self.mouth_strength is None:
            return None
        return lipsync_pb2.LipSyncSettings(mouth_strength=self.mouth_strength)

    def _encoding(self) -> encoding_pb2.EncodingSettings | None:
        encoding = encoding_pb2.EncodingSettings(
            preset=self.preset or "",
            prefer_hardware=bool(self.prefer_hardware),
            audio_bitrate_bps=self.audio_bitrate_bps or 0,
            fragmented=bool(self.fragmented),
            still_frames=self.still_frames,
        )
        if self.crf is not None:
            encoding.crf = self.crf
        if self.bitrate_bps is not None:
            encoding.bitrate_bps = self.bitrate_bps
        return encoding if encoding.ListFields() else None
