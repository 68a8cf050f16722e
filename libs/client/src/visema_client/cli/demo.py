"""`visema demo`: proves that this machine can do it, with a portrait and speech of its own."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visema_client.cli import options
from visema_client.cli.guard import guarded
from visema_client.cli.server import ServerChoice, with_server

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


@guarded
@with_server
def demo(
    *,
    portrait: Annotated[Path, typer.Option("--portrait", help="Another picture.", show_default=False)] = SAMPLES
    / "portrait.jpg",
    audio: Annotated[Path | None, typer.Option("--audio", help="Other speech.", show_default=False)] = None,
    text: Annotated[str | None, typer.Option("--text", help="What to say, instead of the sample speech.")] = None,
    voice: Annotated[str, typer.Option("--voice", help="Voice for --text; chosen by its language without.")] = "",
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("out"),
    as_json: options.AsJson = False,
    server: ServerChoice,
    engine: options.EngineOption = None,
    face: options.FaceOption = "largest",
    framing: options.FramingOption = None,
    seed: options.Seed = None,
    size: options.Size = None,
) -> None:
    """Make OUT/demo.mp4 with the sample portrait and speech, or your own, and show where the time went.

    Without --server a private stack is started, with every service and the gateway, and stopped afterwards.

    Also writes OUT/demo.json (the job's report) and OUT/demo.png (frames and mouths at a glance).
    """
    import json

    from visema_client.cli.contact_sheet import write_contact_sheet
    from visema_client.cli.making import VideoRequest, make_video
    from visema_client.cli.output import print_json, results
    from visema_client.cli.report import print_report
    from visema_client.cli.session import connected_or_private
    from visema_client.localstack import StackOptions
    from visema_client.settings import VideoSettings

    request = VideoRequest(
        portrait=portrait,
        audio=audio if audio or text else SAMPLES / "speech.wav",
        text=text,
        voice_id=voice,
        settings=VideoSettings(
            size_px=size,
            engine=engine,
            face=options.parse_face(face),
            framing=framing,
            seed=seed,
            title="VISEMA demo",
        ),
    )
    video, report, sheet = (folder / f"demo.{ending}" for ending in ("mp4", "json", "png"))
    request.check(video)
    with connected_or_private(server, StackOptions(gateway_port=0)) as client:
        made = make_video(client, request, video, quiet=as_json)
    content = made.as_json(report=str(report), contact_sheet=str(sheet))
    report.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_contact_sheet(video, sheet)
    if as_json:
        print_json(content)
        return
    print_report(made.job)
    for path, meaning in ((video, "the video"), (report, "the job's report"), (sheet, "frames and mouths")):
        results().print(f"  {path!s:<20} {meaning}", soft_wrap=True)
