"""`visema bench`: how fast this machine makes videos, in the figures that the targets are set in."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

import io
import statistics
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visema_client.cli import options
from visema_client.cli.demo import SAMPLES
from visema_client.cli.guard import guarded
from visema_client.cli.server import ServerChoice, with_server

if TYPE_CHECKING:
    from visema.orchestrator.v1 import jobs_pb2

    from visema_client.sync import Visema

FIRST_SEED = 1_000_000  # far from the seeds that people use, so that nothing is stored yet
LONGER = 6  # times the speech, for the cost of one more second


@dataclass(frozen=True, slots=True)
class Run:
    """One video.

    Attributes:
        video_s: Length of the video.
        wall_s: From the call to the readable result, as the client sees it.
        processing_s: The same as the server sees it, without uploads.
        largest_compute_s: Computing time of the busiest stage.
        storage_share: Part of all stages' busy time that went to object storage.
    """

    video_s: float
    wall_s: float
    processing_s: float
    largest_compute_s: float
    storage_share: float


@guarded
@with_server
def bench(
    *,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Videos of each kind; the median counts.")] = 5,
    portrait: Annotated[Path, typer.Option("--portrait", help="Another picture.", show_default=False)] = SAMPLES
    / "portrait.jpg",
    audio: Annotated[Path, typer.Option("--audio", help="Other speech.", show_default=False)] = SAMPLES / "speech.wav",
    as_json: options.AsJson = False,
    server: ServerChoice,
    engine: options.EngineOption = None,
    size: options.Size = None,
) -> None:
    """Make the same video again and again, unprepared and prepared, and print the medians.

    Speech in a WAV file is also taken six times over: the difference tells what one more second costs.
    """
    from visema_client.cli.output import print_json
    from visema_client.cli.session import connected_or_private
    from visema_client.settings import VideoSettings

    def make(client: Visema, seed: int, speech: Path | bytes = audio) -> Run:
        settings = VideoSettings(size_px=size, engine=engine, face="largest", seed=seed)
        started_s = time.monotonic()
        job = client.generate(portrait, speech, settings=settings).job
        return measured(job, time.monotonic() - started_s)

    with connected_or_private(server) as client:
        make(client, FIRST_SEED)  # warms caches; not counted
        unprepared = [make(client, FIRST_SEED + 1 + number) for number in range(rounds)]
        prepared = [make(client, FIRST_SEED) for _ in range(rounds)]
        long_speech = repeated(audio, LONGER)
        unprepared_long = [
            make(client, FIRST_SEED - 1 - number, long_speech) for number in range(rounds if long_speech else 0)
        ]
        prepared_long = [make(client, FIRST_SEED, long_speech) for _ in range(rounds if long_speech else 0)]
    results = {
        "unprepared": medians(unprepared) | per_second(unprepared, unprepared_long),
        "prepared": medians(prepared) | per_second(prepared, prepared_long),
    }
    if as_json:
        print_json(results)
    else:
        print_table(results, rounds)


def repeated(audio: Path, times: int) -> bytes:
    """The sound of a PCM WAV file several times over; empty for another kind of file."""
    content = io.BytesIO()
    try:
        with wave.open(str(audio)) as source, wave.open(content, "wb") as target:
            target.setparams(source.getparams())
            target.writeframes(source.readframes(source.getnframes()) * times)
    except (wave.Error, EOFError):
        return b""
    return content.getvalue()


def per_second(short: list[Run], long: list[Run]) -> dict[str, float]:
    """Seconds that one more second of video costs, of the medians; nothing where nothing long was made."""
    if not long:
        return {}
    more_s = statistics.median(run.wall_s for run in long) - statistics.median(run.wall_s for run in short)
    return {"wall_s_per_more_second": round(more_s / (long[0].video_s - short[0].video_s), 3)}


def measured(job: jobs_pb2.Job, wall_s: float) -> Run:
    """The figures of one finished job."""
    from visema_client.cli.report import seconds

    reports = [stage.report for stage in job.report.stages]
    compute_s = [seconds(report.compute_duration) for report in reports]
    storage_s = sum(seconds(report.storage_duration) for report in reports)
    return Run(
        video_s=seconds(job.result.video_duration),
        wall_s=wall_s,
        processing_s=seconds(job.report.processing_duration),
        largest_compute_s=max(compute_s),
        storage_share=storage_s / max(sum(compute_s) + storage_s, 1e-9),
    )


def medians(runs: list[Run]) -> dict[str, float]:
    """Median of each figure, and of the processing time over the busiest stage's computing time."""
    over = [run.processing_s / max(run.largest_compute_s, 1e-9) for run in runs]
    return {
        "wall_s": round(statistics.median(run.wall_s for run in runs), 3),
        "processing_s": round(statistics.median(run.processing_s for run in runs), 3),
        "largest_compute_s": round(statistics.median(run.largest_compute_s for run in runs), 3),
        "over_largest_compute": round(statistics.median(over), 2),
        "storage_share": round(statistics.median(run.storage_share for run in runs), 3),
    }


def print_table(results: dict[str, dict[str, float]], rounds: int) -> None:
    """Print the medians, one column a kind."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from visema_client.cli.output import results as console

    table = Table(title=f"medians of {rounds}", box=SIMPLE_HEAD)
    table.add_column("figure")
    for kind in results:
        table.add_column(kind, justify="right")
    for figure in next(iter(results.values())):
        table.add_row(figure, *(str(figures[figure]) for figures in results.values()))
    console().print(table)
