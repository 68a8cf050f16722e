"""Jobs: create, follow, wait, list."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from visema.orchestrator.v1 import jobs_pb2
from visema_kit.errors import DeadlineExceeded, JobNotFound, VisemaError
from visema_kit.status import from_status

from visema_client.connection import Connection
from visema_client.errors import JobCancelled, ServerUnreachable
from visema_client.progress import Progress, ProgressCallback

ENDED: Final = frozenset(
    {jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED},
)
PAGE_SIZE: Final = 50


def new_request_id() -> str:
    """A name for a request that makes repeating it harmless."""
    return str(uuid.uuid4())


async def create(connection: Connection, spec: jobs_pb2.JobSpec, request_id: str | None) -> jobs_pb2.Job:
    """Start a job. Raises: VisemaError."""
    request = jobs_pb2.CreateJobRequest(request_id=request_id or new_request_id(), spec=spec)
    reply: jobs_pb2.CreateJobResponse = await connection.call(connection.jobs.CreateJob, request)
    return reply.job


async def get(connection: Connection, job_id: str) -> jobs_pb2.Job:
    """Read a job. Raises: JobNotFound, VisemaError."""
    reply: jobs_pb2.GetJobResponse = await connection.call(
        connection.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=job_id)
    )
    return reply.job


async def cancel(connection: Connection, job_id: str) -> jobs_pb2.Job:
    """Ask a job to stop. Raises: JobNotFound, VisemaError."""
    reply: jobs_pb2.CancelJobResponse = await connection.call(
        connection.jobs.CancelJob, jobs_pb2.CancelJobRequest(job_id=job_id)
    )
    return reply.job


async def delete(connection: Connection, job_id: str) -> None:
    """Delete an ended job with its result. Raises: JobNotFound, JobNotEnded, VisemaError."""
    request = jobs_pb2.DeleteJobRequest(job_id=job_id)
    await connection.delete(connection.jobs.DeleteJob, request, gone=JobNotFound)


async def page(
    connection: Connection,
    *,
    states: Sequence[jobs_pb2.JobState.ValueType],
    avatar_id: str,
    page_size: int,
    page_token: str,
) -> tuple[Sequence[jobs_pb2.Job], str]:
    """Some jobs, newest first, and the token of the page after them, empty on the last. Raises: VisemaError."""
    request = jobs_pb2.ListJobsRequest(page_size=page_size, page_token=page_token, states=states, avatar_id=avatar_id)
    reply: jobs_pb2.ListJobsResponse = await connection.call(connection.jobs.ListJobs, request)
    return reply.jobs, reply.next_page_token


async def iterate(
    connection: Connection, *, states: Sequence[jobs_pb2.JobState.ValueType], avatar_id: str, page_size: int
) -> AsyncGenerator[jobs_pb2.Job, None]:
    """All jobs, newest first, page after page. Raises: VisemaError."""
    token = ""
    while True:
        found, token = await page(connection, states=states, avatar_id=avatar_id, page_size=page_size, page_token=token)
        for job in found:
            yield job
        if not token:
            return


async def watch(
    connection: Connection, job_id: str, *, after_sequence: int
) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
    """A job's events up to its end. A broken stream is opened again after the last event that was seen.

    Raises: JobNotFound, VisemaError.
    """
    attempts = connection.attempts()
    while True:
        request = jobs_pb2.WatchJobRequest(job_id=job_id, after_sequence=after_sequence)
        try:
            async with connection.stream(connection.jobs.WatchJob, request) as events:
                async for event in events:
                    attempts.succeeded()
                    after_sequence = event.sequence
                    yield event
                    if event.job.state in ENDED:
                        return
            if (await get(connection, job_id)).state in ENDED:
                return  # nothing happened after `after_sequence`
            raise ServerUnreachable("the server closed the job's events before the job ended")
        except DeadlineExceeded:
            continue  # of this one stream
        except VisemaError as error:
            await attempts.failed(error)


async def wait(connection: Connection, job_id: str, on_progress: ProgressCallback | None) -> jobs_pb2.Job:
    """Follow a job up to its end and read it, with its download address.

    Raises: VisemaError: why the job failed, or why it cannot be followed. JobCancelled.
    """
    async for event in watch(connection, job_id, after_sequence=0):
        if on_progress is not None:
            on_progress(Progress.of(event.job))
    job = await get(connection, job_id)
    raise_failure(job)
    return job


def raise_failure(job: jobs_pb2.Job) -> None:
    """Raises: VisemaError: why an ended job has no video. JobCancelled."""
    if job.state == jobs_pb2.JOB_STATE_FAILED:
        raise from_status(job.error)
    if job.state == jobs_pb2.JOB_STATE_CANCELLED:
        raise JobCancelled(f"job {job.job_id} was cancelled", metadata={"job_id": job.job_id})
