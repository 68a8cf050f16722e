"""`visema models voices`: the neural voices of the speech service on this machine."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visema_client.cli.guard import guarded

app = typer.Typer(help="Import, check and remove neural voices; register recordings of voices.", no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Option(
        "--folder", envvar="VISEMA_CHECKPOINT_DIR", help="Checkpoint folder, the same that the services read."
    ),
]
VoiceName = Annotated[str, typer.Argument(metavar="VOICE", help="The voice as `voices list` shows it, or its name.")]


@app.command("list")
@guarded
def list_voices(*, folder: Folder) -> None:
    """Show which voices were imported, and under which licence."""
    from rich.table import Table
    from visema_kit.recordings_store import RecordingFolder
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import results

    table = Table("voice", "licence", "sha256", box=None)
    for name, entry in sorted(VoiceFolder(folder).record().items()):
        table.add_row(f"piper/{name}", entry.license, entry.network_sha256[:12])
    for name, recording in sorted(RecordingFolder(folder).record().items()):
        table.add_row(f"cloned/{name}", recording.license, recording.sha256[:12])
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
def register(
    source: Annotated[Path, typer.Argument(metavar="FILE.wav", help="3 to 60 seconds of one person's speech.")],
    *,
    folder: Folder,
    name: Annotated[str, typer.Option("--name", help="Name of the voice.")],
    language: Annotated[str, typer.Option("--language", help="BCP 47 tag of what is said, e.g. `en`.")],
    license_name: Annotated[str, typer.Option("--license", help="What the speaker agreed to.")],
) -> None:
    """Register a recording as a voice, for engines that speak like a recording. None comes with VISEMA."""
    from visema_kit.recordings_store import RecordingFolder

    from visema_client.cli.output import notes

    recording = RecordingFolder(folder).register(source, name, language, license_name)
    notes().print(f"cloned/{name}: {recording.seconds:g} s, registered; it speaks where an engine can use it")


@app.command()
@guarded
def verify(voice: VoiceName, *, folder: Folder) -> None:
    """Read a voice's files and compare their hashes with what was imported."""
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import notes

    name = voice.removeprefix("piper/")
    entry = VoiceFolder(folder).read(name).entry
    notes().print(f"piper/{name}: {entry.network_sha256[:12]}, {entry.license}")


@app.command()
@guarded
def remove(voice: VoiceName, *, folder: Folder) -> None:
    """Delete a voice, or a recording that is given as `cloned/NAME`, from this machine."""
    from visema_kit.recordings_store import RecordingFolder
    from visema_kit.voices_store import VoiceFolder

    from visema_client.cli.output import notes

    kind, _, name = voice.rpartition("/")
    stored = RecordingFolder(folder) if kind == "cloned" else VoiceFolder(folder)
    notes().print(f"removed {kind or 'piper'}/{name}" if stored.remove(name) else "nothing to remove")
