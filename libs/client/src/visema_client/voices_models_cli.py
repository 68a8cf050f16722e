"""`visema models voices`: the neural voices of the speech service on this machine."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visema_client.cli.guard import guarded

app = typer.Typer(help="Import, check and remove neural voices of the Piper format.", no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Option(
        "--folder", envvar="VISEMA_CHECKPOINT_DIR", help="Checkpoint folder, the same that the services read."
    ),
]
VoiceName = Annotated[str, typer.Argument(metavar="VOICE", help="Name of the voice's file without .onnx.")]


@app.command("list")
@guarded
def list_voices(*, folder: Folder) -> None:
    """Show which voices were imported, and under which licence."""
    from rich.table import Table
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import results

    table = Table("voice", "licence", "sha256", box=None)
    for name, entry in sorted(VoiceFolder(folder).record().items()):
        table.add_row(name, entry.license, entry.network_sha256[:12])
    results().print(table)


@app.command("import")
@guarded
def import_voice(
    source: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The voice; FILE.onnx.json lies beside it.")],
    *,
    folder: Folder,
    license_name: Annotated[
        str, typer.Option("--license", help="Licence of the voice, from its model card; it is listed with the voice.")
    ],
    sha256: Annotated[str, typer.Option("--sha256", help="Hash of FILE.onnx as its publisher names it.")] = "",
) -> None:
    """Copy a voice into the checkpoint folder and remember its hashes and its licence."""
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import notes

    name = VoiceFolder(folder).import_voice(source, license_name, expected_sha256=sha256)
    notes().print(f"piper/{name}: ready for the speech service's next start")


@app.command()
@guarded
def verify(voice: VoiceName, *, folder: Folder) -> None:
    """Read a voice's files and compare their hashes with what was imported."""
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import notes

    entry = VoiceFolder(folder).read(voice).entry
    notes().print(f"piper/{voice}: {entry.network_sha256[:12]}, {entry.license}")


@app.command()
@guarded
def remove(voice: VoiceName, *, folder: Folder) -> None:
    """Delete a voice from this machine."""
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import notes

    removed = VoiceFolder(folder).remove(voice)
    notes().print(f"removed piper/{voice}" if removed else "nothing to remove")
