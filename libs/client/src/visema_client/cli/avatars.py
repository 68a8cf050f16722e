"""`visema avatars`: portraits whose animation is prepared ahead."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visema_client.cli import options
from visema_client.cli.guard import guarded
from visema_client.cli.server import ServerChoice, with_server

if TYPE_CHECKING:
    from visema.orchestrator.v1 import avatars_pb2

app = typer.Typer(help="Register portraits whose animation is prepared ahead.", no_args_is_help=True)

AvatarId = Annotated[str, typer.Argument(metavar="AVATAR", help="The avatar's id.")]


@app.command()
@guarded
@with_server
def create(
    portrait: Annotated[Path, typer.Argument(metavar="PORTRAIT", help="Picture file.")],
    *,
    name: Annotated[str, typer.Option("--name", help="Name for a person.")] = "",
    description: Annotated[str, typer.Option("--description", help="Description for a person.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the animation is prepared.")] = True,
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
    expression: options.ExpressionOption = None,
    expression_strength: options.ExpressionStrength = None,
    size: options.Size = None,
    fps: options.FrameRate = None,
) -> None:
    """Register a portrait and prepare its animation."""
    from visema_client.cli.output import notes
    from visema_client.cli.session import connected
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
        expression=expression,
        expression_strength=expression_strength,
        seed=seed,
    )
    with connected(server) as client:
        avatar = client.create_avatar(portrait, name=name, description=description, settings=settings)
        if wait:
            with notes().status(f"preparing {avatar.avatar_id}"):
                avatar = client.wait_avatar(avatar.avatar_id)
    _print_avatar(avatar, as_json=as_json)


@app.command("list")
@guarded
@with_server
def list_avatars(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 50,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """List avatars, newest first."""
    from itertools import islice

    from rich.table import Table

    from visema_client.cli.output import print_json, results
    from visema_client.cli.report import as_dict
    from visema_client.cli.session import connected
    from visema_client.progress import avatar_state_name

    with connected(server) as client:
        avatars = list(islice(client.list_avatars(page_size=min(limit, 200)), limit))
    if as_json:
        print_json({"avatars": [as_dict(avatar) for avatar in avatars]})
        return
    table = Table("avatar", "name", "state", "created")
    for avatar in avatars:
        table.add_row(
            avatar.avatar_id,
            avatar.spec.display_name,
            avatar_state_name(avatar.state),
            f"{avatar.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
        )
    results().print(table)


@app.command()
@guarded
@with_server
def show(
    avatar_id: AvatarId,
    *,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """Show an avatar."""
    from visema_client.cli.session import connected

    with connected(server) as client:
        avatar = client.get_avatar(avatar_id)
    _print_avatar(avatar, as_json=as_json)


@app.command()
@guarded
@with_server
def delete(
    avatar_id: AvatarId,
    *,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """Delete an avatar; its finished videos stay."""
    from visema_client.cli.output import print_json, results
    from visema_client.cli.session import connected

    with connected(server) as client:
        client.delete_avatar(avatar_id)
    if as_json:
        print_json({"deleted": avatar_id})
    else:
        results().print(f"deleted {avatar_id}")


def _print_avatar(avatar: avatars_pb2.Avatar, *, as_json: bool) -> None:
    from visema_client.cli.output import print_json, results
    from visema_client.cli.report import as_dict
    from visema_client.progress import avatar_state_name

    if as_json:
        print_json({"avatar": as_dict(avatar)})
        return
    console = results()
    console.print(f"{avatar.avatar_id}  {avatar_state_name(avatar.state)}  {avatar.spec.display_name}", markup=False)
    for warning in avatar.warnings:
        console.print(f"note: {warning}", markup=False)
    if avatar.HasField("error"):
        console.print(f"error: {avatar.error.message}", markup=False)
