"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

PICTURE_PANEL = "Picture and motion"
VIDEO_PANEL = "Video file"


Engine = Literal["auto", "neural", "embedded"]
Framing = Literal["face", "bust", "full-picture"]
Expression = Literal["neutral", "warm", "serious", "happy", "sad", "surprised"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]

EngineOption = Annotated[
    Engine | None, typer.Option("--engine", help="Kind of engines.", rich_help_panel=PICTURE_PANEL)
]
FaceOption = Annotated[
    str | None,
    typer.Option(
        "--face",
        metavar="largest|N",
        help="Which face: the largest, or its position from the left, from 0.",
        rich_help_panel=PICTURE_PANEL,
    ),
]
FramingOption = Annotated[
    Framing | None, typer.Option("--framing", help="Part of the picture.", rich_help_panel=PICTURE_PANEL)
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Seed of everything random.", rich_help_panel=PICTURE_PANEL),
]
Blinks = Annotated[
    float | None,
    typer.Option("--blinks", min=0, max=40, help="Blinks per minute (17).", rich_help_panel=PICTURE_PANEL),
]
HeadMotion = Annotated[
    float | None,
    typer.Option("--head-motion", min=0, max=2, help="Strength of head motion (1).", rich_help_panel=PICTURE_PANEL),
]
Breathing = Annotated[
    float | None,
    typer.Option("--breathing", min=0, max=2, help="Strength of breathing (1).", rich_help_panel=PICTURE_PANEL),
]
Gaze = Annotated[
    float | None,
    typer.Option("--gaze", min=0, max=2, help="How much the gaze wanders (1).", rich_help_panel=PICTURE_PANEL),
]
SpeechMotion = Annotated[
    float | None,
    typer.Option(
        "--speech-motion",
        min=0,
        max=2,
        help="How much the head follows the speech (0); 1 is natural. Takes a little longer.",
        rich_help_panel=PICTURE_PANEL,
    ),
]
ExpressionOption = Annotated[
    Expression | None, typer.Option("--expression", help="Expression to hold.", rich_help_panel=PICTURE_PANEL)
]
ExpressionStrength = Annotated[
    float | None,
    typer.Option("--expression-strength", min=0, max=1, help="Its strength (0.6).", rich_help_panel=PICTURE_PANEL),
]
MouthStrength = Annotated[
    float | None,
    typer.Option("--mouth", min=0, max=1.5, help="Strength of the mouth's motion (1).", rich_help_panel=PICTURE_PANEL),
]
Size = Annotated[
    int | None,
    typer.Option("--size", min=256, max=1024, help="Side of the video in pixels (512).", rich_help_panel=VIDEO_PANEL),
]
FrameRate = Annotated[
    int | None,
    typer.Option("--fps", help="Frames per second: 24, 25, 30 or 50 (25).", rich_help_panel=VIDEO_PANEL),
]
Crf = Annotated[
    int | None,
    typer.Option("--crf", min=0, max=51, help="Constant quality; lower is better (18).", rich_help_panel=VIDEO_PANEL),
]
Bitrate = Annotated[
    int | None,
    typer.Option("--bitrate", min=50_000, help="Bits per second, instead of --crf.", rich_help_panel=VIDEO_PANEL),
]
Hardware = Annotated[
    bool, typer.Option("--hardware", help="Use a hardware encoder where one opens.", rich_help_panel=VIDEO_PANEL)
]
Fragmented = Annotated[
    bool,
    typer.Option("--fragmented", help="Fragmented MP4, to play while it loads.", rich_help_panel=VIDEO_PANEL),
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="Speed preset of x264 (veryfast).", rich_help_panel=VIDEO_PANEL)
]
Title = Annotated[
    str | None, typer.Option("--title", help="Title in the file's metadata.", rich_help_panel=VIDEO_PANEL)
]


def parse_face(face: str | None) -> Literal["largest"] | int | None:
    """`largest`, a position, or None. Raises: typer.BadParameter: anything else."""
    if face is None:
        return None
    if face == "largest":
        return "largest"
    if face.isdecimal():
        return int(face)
    raise typer.BadParameter("must be `largest` or a number from 0", param_hint="--face")
