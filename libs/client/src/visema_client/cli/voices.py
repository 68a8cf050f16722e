"""`visema voices`: what `--voice` may name."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

from typing import Annotated

import typer

from visema_client.cli import options
from visema_client.cli.guard import guarded
from visema_client.cli.server import ServerChoice, with_server


@guarded
@with_server
def voices(
    *,
    language: Annotated[
        str, typer.Option("--language", metavar="TAG", help="Only voices of this language, e.g. en or pt-BR.")
    ] = "",
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """List the voices for --text.

    Without --server those of a private stack on this machine.
    """
    from rich.table import Table

    from visema_client.cli.output import print_json, results
    from visema_client.cli.report import as_dict
    from visema_client.cli.session import connected_or_private

    with connected_or_private(server) as client:
        found = list(client.list_voices(language=language))
    if as_json:
        print_json({"voices": [as_dict(voice) for voice in found]})
        return
    table = Table("voice", "name", "languages", "licence")
    for voice in found:
        table.add_row(voice.voice_id, voice.display_name, " ".join(voice.languages), voice.license)
    results().print(table)
