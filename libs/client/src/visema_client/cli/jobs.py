"""`visema jobs`: look at jobs, follow, cancel and delete them."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from visema_client.cli import options
from visema_client.cli.guard import guarded
from visema_client.cli.server import ServerChoice, with_server

app = typer.Typer(help="Look at jobs, follow, cancel and delete them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


class State(enum.StrEnum):
    """How a job is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command("list")
@guarded
@with_server
def list_jobs(
    *,
    states: Annotated[list[State] | None, typer.Option("--state", help="Only jobs in this state; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 20,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    from rich.table import Table
    from visema.orchestrator.v1 import jobs_pb2

    from visema_client.cli.output import print_json, results
    from visema_client.cli.report import as_dict, seconds
    from visema_client.cli.session import connected
    from visema_client.progress import state_name

    numbers = [jobs_pb2.JobState.Value(f"JOB_STATE_{state.upper()}") for state in states or ()]
    with connected(server) as client:
        jobs = list(islice(client.list_jobs(states=numbers, page_size=min(limit, 200)), limit))
    if as_json:
        print_json({"jobs": [as_dict(job) for job in jobs]})
        return
    table = Table("job", "state", "created", "video", "took")
    for job in jobs:
        table.add_row(
            job.job_id,
            state_name(job.state),
            f"{job.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
            f"{seconds(job.result.video_duration):.2f} s" if job.HasField("result") else "",
            f"{seconds(job.report.processing_duration):.2f} s" if job.HasField("report") else "",
        )
    results().print(table)


@app.command()
@guarded
@with_server
def show(
    job_id: JobId,
    *,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """Show a job."""
    from visema_client.cli.output import print_json
    from visema_client.cli.report import as_dict, print_job
    from visema_client.cli.session import connected

    with connected(server) as client:
        job = client.get_job(job_id)
    if as_json:
        print_json({"job": as_dict(job)})
    else:
        print_job(job)


@app.command()
@guarded
@with_server
def watch(
    job_id: JobId,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the video.")] = None,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """Follow a job up to its end."""
    from visema_client.cli.bars import stage_bars
    from visema_client.cli.output import print_json
    from visema_client.cli.report import as_dict, print_report
    from visema_client.cli.session import connected

    with connected(server) as client:
        with stage_bars(shown=not as_json) as on_progress:
            video = client.wait_job(job_id, on_progress=on_progress)
        if output is not None:
            video.save(output)
    if as_json:
        print_json({"job": as_dict(video.job), **({"output": str(output)} if output else {})})
    else:
        print_report(video.job)


@app.command()
@guarded
@with_server
def cancel(
    job_id: JobId,
    *,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """Ask a job to stop."""
    from visema_client.cli.output import print_json
    from visema_client.cli.report import as_dict, print_job
    from visema_client.cli.session import connected

    with connected(server) as client:
        job = client.cancel_job(job_id)
    if as_json:
        print_json({"job": as_dict(job)})
    else:
        print_job(job)


@app.command()
@guarded
@with_server
def delete(
    job_id: JobId,
    *,
    as_json: options.AsJson = False,
    server: ServerChoice,
) -> None:
    """Delete an ended job with its video."""
    from visema_client.cli.output import print_json, results
    from visema_client.cli.session import connected

    with connected(server) as client:
        client.delete_job(job_id)
    if as_json:
        print_json({"deleted": job_id})
    else:
        results().print(f"deleted {job_id}")
