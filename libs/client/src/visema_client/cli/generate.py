"""`visema generate`: a portrait and speech become a video."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visema_client.cli import options
from visema_client.cli.guard import guarded
from visema_client.cli.server import ServerChoice, with_server

AVATAR_PREFIX = "avatar:"


@guarded
@with_server
def generate(
    portrait: Annotated[
        str, typer.Argument(metavar="PORTRAIT", help="Picture file, or avatar:ID for a registered avatar.")
    ],
    audio: Annotated[
        Path | None, typer.Argument(metavar="AUDIO", help="Speech file; or give --text.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The MP4 file to write.")] = Path("out.mp4"),
    *,
    text: Annotated[str | None, typer.Option("--text", help="What to say, instead of AUDIO.")] = None,
    voice: Annotated[
        str, typer.Option("--voice", help="Voice for --text (see `visema voices`); chosen by its language without.")
    ] = "",
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=1, metavar="SECONDS", help="Longest time to wait.")
    ] = None,
    as_json: options.AsJson = False,
    server: ServerChoice,
    engine: options.EngineOption = None,
    face: options.FaceOption = None,
    framing: options.FramingOption = None,
    seed: options.Seed = None,
    blinks: options.Blinks = None,
    head_motion: options.HeadMotion = None,
    breathing: options.Breathing = None,
    gaze: options.Gaze = None,
    speech_motion: options.SpeechMotion = None,
    expression: options.ExpressionOption = None,
    expression_strength: options.ExpressionStrength = None,
    mouth: options.MouthStrength = None,
    size: options.Size = None,
    fps: options.FrameRate = None,
    crf: options.Crf = None,
    bitrate: options.Bitrate = None,
    preset: options.Preset = None,
    hardware: options.Hardware = False,
    fragmented: options.Fragmented = False,
    title: options.Title = None,
) -> None:
    """Make a talking video from a portrait and speech.

    Without --server a private stack is started on this machine and stopped afterwards.
    """
    from visema_client.cli.making import VideoRequest, make_video
    from visema_client.cli.output import print_json
    from visema_client.cli.report import print_report
    from visema_client.cli.session import connected_or_private
    from visema_client.settings import VideoSettings

    settings = VideoSettings(
        size_px=size,
        frame_rate=fps,
        engine=engine,
        framing=framing,
        face=options.parse_face(face),
        blinks_per_minute=blinks,
        head_motion=head_motion,
        breathing=breathing,
        gaze_wander=gaze,
        speech_motion=speech_motion,
        expression=expression,
        expression_strength=expression_strength,
        seed=seed,
        mouth_strength=mouth,
        crf=crf,
        bitrate_bps=bitrate,
        preset=preset,
        prefer_hardware=hardware,
        fragmented=fragmented,
        title=title,
    )
    avatar_id = portrait.removeprefix(AVATAR_PREFIX) if portrait.startswith(AVATAR_PREFIX) else None
    request = VideoRequest(
        portrait=None if avatar_id else Path(portrait),
        audio=audio,
        avatar_id=avatar_id,
        text=text,
        voice_id=voice,
        settings=settings,
        timeout_s=timeout_s,
    )
    request.check(output)
    with connected_or_private(server) as client:
        made = make_video(client, request, output, quiet=as_json)
    if as_json:
        print_json(made.as_json())
    else:
        print_report(made.job)
