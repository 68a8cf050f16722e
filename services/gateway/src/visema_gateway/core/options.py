"""What a video looks like, as a form or a JSON object says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from visema_client import VideoSettings

Quality = Literal["draft", "standard", "high"]

_QUALITIES: dict[Quality, tuple[int | None, str | None]] = {  # crf and x264's preset
    "draft": (28, "ultrafast"),
    "standard": (None, None),  # the encoder's own choice
    "high": (16, "medium"),
}

FRAME_RATES: Final = (24, 25, 30, 50)


def _known_frame_rate(rate: int) -> int:
    if rate not in FRAME_RATES:
        raise ValueError(f"must be one of {', '.join(map(str, FRAME_RATES))}")
    return rate


# Not a Literal of numbers: that would refuse the text in which forms bring them.
FrameRate = Annotated[int, AfterValidator(_known_frame_rate), Field(json_schema_extra={"enum": [*FRAME_RATES]})]


class AppearanceOptions(BaseModel):
    """What a portrait's animation looks like: an avatar's settings. What is left out is the server's choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: Annotated[int, Field(ge=256, le=1024, multiple_of=2)] | None = Field(
        default=None, description="Side of the square video in pixels. Default 512."
    )
    frame_rate: FrameRate | None = Field(default=None, description="Frames per second. Default 25.")
    engine: Literal["auto", "neural", "embedded"] | None = Field(default=None, description="Kind of engine.")
    framing: Literal["face", "bust", "full-picture"] | None = Field(
        default=None, description="Part of the picture that is shown. Default `bust`."
    )
    face: Literal["largest"] | Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Which face of several: `largest`, or its position from the left."
    )
    blinks_per_minute: Annotated[float, Field(ge=0, le=40)] | None = Field(default=None, description="Default 17.")
    head_motion: Annotated[float, Field(ge=0, le=2)] | None = Field(default=None, description="Strength. Default 1.")
    breathing: Annotated[float, Field(ge=0, le=2)] | None = Field(default=None, description="Strength. Default 1.")
    gaze_wander: Annotated[float, Field(ge=0, le=2)] | None = Field(default=None, description="Strength. Default 1.")
    expression: Literal["neutral", "warm", "serious", "happy", "sad", "surprised"] | None = Field(
        default=None, description="Expression that is held. Default `neutral`."
    )
    expression_strength: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Default 0.6.")
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = Field(
        default=None, description="The same seed gives the same motion. Default 1."
    )

    def settings(self) -> VideoSettings:
        """As the SDK wants it."""
        return VideoSettings(
            size_px=self.size_px,
            frame_rate=self.frame_rate,
            engine=self.engine,
            framing=self.framing,
            face=self.face,
            blinks_per_minute=self.blinks_per_minute,
            head_motion=self.head_motion,
            breathing=self.breathing,
            gaze_wander=self.gaze_wander,
            expression=self.expression,
            expression_strength=self.expression_strength,
            seed=self.seed,
        )


class VideoOptions(AppearanceOptions):
    """Settings of a video: how it looks, and how it is spoken and encoded."""

    quality: Quality | None = Field(
        default=None, description="`draft`, `standard` (the default) or `high`; or give `crf`."
    )
    mouth_strength: Annotated[float, Field(ge=0, le=1.5)] | None = Field(
        default=None, description="How far the mouth opens. Default 1."
    )
    speech_motion: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None,
        description="How much head, brows, blinks and breath follow the speech; 1 is natural. Above 0 the motion is "
        "made for this video alone instead of being taken from the portrait's loop, which takes longer. Default 0.",
    )
    crf: Annotated[int, Field(ge=0, le=51)] | None = Field(default=None, description="Constant quality. Default 18.")
    title: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="Title in the file.")

    @model_validator(mode="after")
    def _one_quality(self) -> VideoOptions:
        if self.quality is not None and self.crf is not None:
            raise ValueError("give either quality or crf")
        return self

    def settings(self) -> VideoSettings:
        """As the SDK wants it."""
        crf, preset = _QUALITIES[self.quality] if self.quality else (self.crf, None)
        return replace(
            super().settings(),
            mouth_strength=self.mouth_strength,
            speech_motion=self.speech_motion,
            crf=crf,
            preset=preset,
            title=self.title,
        )
