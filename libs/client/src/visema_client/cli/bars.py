"""One progress bar a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from visema_client.cli.output import notes
from visema_client.progress import Progress as JobProgress
from visema_client.progress import ProgressCallback


@contextmanager
def stage_bars(*, shown: bool) -> Iterator[ProgressCallback]:
    """A callback that draws bars on the terminal; it draws nothing where stderr is none or `shown` is false."""
    console = notes()
    bars = Progress(
        TextColumn("{task.description:<13}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
    )
    tasks: dict[str, TaskID] = {}

    def update(progress: JobProgress) -> None:
        if not progress.stages and "queued" not in tasks:
            tasks["queued"] = bars.add_task(progress.state, total=None)
        for stage in progress.stages:
            if "queued" in tasks:
                bars.remove_task(tasks.pop("queued"))
            if stage.stage not in tasks:
                tasks[stage.stage] = bars.add_task(stage.stage, total=stage.frames_total or None)
            bars.update(tasks[stage.stage], completed=stage.frames_done, total=stage.frames_total or None)

    with bars:
        yield update
