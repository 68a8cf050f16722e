"""`visema models`: the weights of the neural engines on this machine."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from visema_client import voices_models_cli
from visema_client.cli.guard import guarded

if TYPE_CHECKING:
    from visema_kit.checkpoints import CheckpointFile, ModelWeights

app = typer.Typer(help="Fetch, check and remove the weights of the neural engines.", no_args_is_help=True)
app.add_typer(voices_models_cli.app, name="voices")

Folder = Annotated[
    Path,
    typer.Option(
        "--folder", envvar="VISEMA_CHECKPOINT_DIR", help="Checkpoint folder, the same that the services read."
    ),
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="liveportrait, wav2lip or wav2lip-plain.")]
Accepted = Annotated[
    str,
    typer.Option(
        "--accept-licenses", envvar="VISEMA_ACCEPT_LICENSES", help="Licences that you accept, with commas between them."
    ),
]


def _accept(model: ModelWeights, accepted: str) -> None:
    from visema_kit.checkpoints import check_license

    check_license(model, frozenset(name.strip() for name in accepted.split(",") if name.strip()))


@app.command("list")
@guarded
def list_models(*, folder: Folder) -> None:
    """Show which models there are, and which of them are here."""
    from rich.table import Table
    from visema_kit.checkpoints import MODELS
    from visema_kit.checkpoints_store import CheckpointFolder

    from visema_client.cli.output import results

    here = CheckpointFolder(folder)
    table = Table("model", "files", "size", "licence", "here", box=None)
    for model in MODELS:
        size_mib = sum(file.size_bytes for file in model.files) / 1024**2
        size = f"{size_mib:.0f} MiB" if size_mib else "about 415 MiB"
        table.add_row(model.name, str(len(model.files)), size, model.license_name, "yes" if here.has(model) else "no")
    results().print(table)


@app.command()
@guarded
def pull(
    model_name: ModelName,
    *,
    folder: Folder,
    mirror: Annotated[
        str, typer.Option("--mirror", envvar="VISEMA_CHECKPOINT_MIRROR", help="URL of a copy of the published files.")
    ] = "",
    offline: Annotated[
        Path | None, typer.Option("--from", help="Directory that holds the published files; nothing is downloaded.")
    ] = None,
    accept_licenses: Accepted = "",
    keep_source: Annotated[
        bool, typer.Option("--keep-source/--drop-source", help="Keep the published files beside the converted ones.")
    ] = False,
) -> None:
    """Fetch a model's weights, check them and convert them. A download that broke off goes on."""
    from visema_kit.checkpoints import model_named
    from visema_kit.checkpoints_download import fetch
    from visema_kit.checkpoints_store import CheckpointFolder

    from visema_client.cli.output import notes

    model = model_named(model_name)
    _accept(model, accept_licenses)
    store = CheckpointFolder(folder)
    for file in model.files:
        with _Bar(file) as bar:
            source = fetch(file, folder, mirror=mirror, offline=offline, progress=bar.show)
        for network in store.import_file(source, file):
            notes().print(f"{network}: ready")
        if not keep_source:
            source.unlink()


@app.command()
@guarded
def verify(model_name: ModelName, *, folder: Folder) -> None:
    """Read a model's weights and compare their hashes with what was imported."""
    from visema_kit.checkpoints import model_named
    from visema_kit.checkpoints_store import CheckpointFolder

    from visema_client.cli.output import notes

    store = CheckpointFolder(folder)
    for file in model_named(model_name).files:
        for part in file.parts:
            entry = store.verify(part.network)
            origin = "published" if entry.published else "vouched for by the operator"
            notes().print(f"{part.network}: {entry.sha256[:12]}, {origin}")


@app.command("import")
@guarded
def import_files(
    model_name: ModelName,
    sources: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published files, under their own names.")],
    *,
    folder: Folder,
    sha256: Annotated[
        str,
        typer.Option("--sha256", help="Hash of weights of your own in the published format; one file at a time."),
    ] = "",
    accept_licenses: Accepted = "",
) -> None:
    """Check files that are on this machine already and convert them."""
    from visema_kit.checkpoints import model_named
    from visema_kit.checkpoints_store import CheckpointFolder

    from visema_client.cli.output import notes

    model = model_named(model_name)
    _accept(model, accept_licenses)
    if sha256 and len(sources) > 1:
        raise typer.BadParameter("--sha256 belongs to one file")
    folder.mkdir(parents=True, exist_ok=True)
    store = CheckpointFolder(folder)
    for source in sources:
        for network in store.import_file(source, _file_of(model, source), vouched_sha256=sha256):
            notes().print(f"{network}: ready")


@app.command()
@guarded
def remove(model_name: ModelName, *, folder: Folder) -> None:
    """Delete a model's weights from this machine."""
    from visema_kit.checkpoints import model_named
    from visema_kit.checkpoints_store import CheckpointFolder

    from visema_client.cli.output import notes

    removed = CheckpointFolder(folder).remove(model_named(model_name))
    notes().print(f"removed {', '.join(removed)}" if removed else "nothing to remove")


def _file_of(model: ModelWeights, source: Path) -> CheckpointFile:
    """The published file that `source` is a copy of, by its name (any suffix)."""
    for file in model.files:
        if Path(file.name).stem == source.stem:
            return file
    names = ", ".join(Path(file.name).name for file in model.files)
    raise typer.BadParameter(f"{source.name} is none of {model.name}'s files: {names}")


class _Bar:
    """Progress of one download on the terminal."""

    def __init__(self, file: CheckpointFile) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        from visema_client.cli.output import notes

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=notes(), transient=True)
        self._task = self._progress.add_task(Path(file.name).name, total=file.size_bytes or None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, there: int, total: int) -> None:
        """How far the download is."""
        self._progress.update(self._task, completed=there, total=total or None)
