"""JobService: protos to the store and the intake."""

# ruff: noqa: ARG002, N802  # gRPC gives the names and the arguments
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from visema.orchestrator.v1 import jobs_pb2, jobs_pb2_grpc
from visema_kit.auth import current_tenant
from visema_kit.errors import InvalidInput
from visema_kit.interceptors import time_left_s
from visema_kit.keys import key_prefix
from visema_kit.objects import ObjectStore

from visema_orchestrator.hub import EventHub
from visema_orchestrator.intake import Intake
from visema_orchestrator.store import jobs
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.store.jobs import timestamp
from visema_orchestrator.store.paging import read_page, write_token
from visema_orchestrator.work import RunningWork

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Makes talking videos."""

    database: Database
    objects: ObjectStore
    intake: Intake
    hub: EventHub
    work: RunningWork
    check_timeout_s: float
    download_lifetime_s: int
    result_lifetime_s: float

    async def CreateJob(self, request: jobs_pb2.CreateJobRequest, context: Context) -> jobs_pb2.CreateJobResponse:
        """Start a job."""
        timeout_s = min(self.check_timeout_s, time_left_s(context) or self.check_timeout_s)
        return jobs_pb2.CreateJobResponse(job=await self.intake.create_job(current_tenant(), request, timeout_s))

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.GetJobResponse:
        """Read a job; a finished one comes with an address for its video."""
        job = await self.database.read(jobs.get, current_tenant(), request.job_id)
        if job.HasField("result"):
            name = f"{job.spec.title or job.job_id}.mp4"
            job.result.download_url = await self.objects.presign_get(
                job.result.video, self.download_lifetime_s, filename=name
            )
            job.result.download_expire_time.CopyFrom(timestamp(now_us() + self.download_lifetime_s * 1_000_000))
        return jobs_pb2.GetJobResponse(job=job)

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        """List jobs, newest first."""
        tenant = current_tenant()
        states = sorted(set(request.states))
        if any(state not in jobs_pb2.JobState.values() or state == 0 for state in states):
            raise InvalidInput("no such job state", field="states")
        filter_text = f"jobs {tenant} {states} {request.avatar_id}"
        page = read_page(request.page_size, request.page_token, filter_text)
        found = await self.database.read(jobs.get_page, tenant, page, states, request.avatar_id)
        response = jobs_pb2.ListJobsResponse(jobs=found[: page.size])
        if len(found) > page.size:
            response.next_page_token = write_token(found[page.size - 1].job_id, filter_text)
        return response

    async def WatchJob(
        self, request: jobs_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        """Stream a job's events until it has ended: stored ones first, then live."""
        if request.after_sequence < 0:
            raise InvalidInput("the sequence number is negative", field="after_sequence")
        sequence = request.after_sequence
        with self.hub.subscribe(request.job_id) as channel:  # before reading, so that no event falls between
            tenant = current_tenant()
            job = await self.database.read(jobs.get, tenant, request.job_id)
            events = await self.database.read(jobs.events_after, tenant, request.job_id, sequence)
            if not events and job.state in jobs.ENDED:
                return  # everything was seen
            while True:
                for event in events:
                    sequence = event.sequence
                    yield jobs_pb2.WatchJobResponse(
                        sequence=sequence, event_time=timestamp(event.event_us), job=event.job
                    )
                    if event.is_last:
                        return
                events = await channel.after(sequence)

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.CancelJobResponse:
        """Ask a job to stop."""
        job, event = await self.database.write(
            jobs.request_cancel, current_tenant(), request.job_id, self._cancel_queued
        )
        if event is not None:
            self.hub.publish(event)
        elif job.state not in jobs.ENDED:
            self.work.cancel(job.job_id)
        return jobs_pb2.CancelJobResponse(job=job)

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Context) -> jobs_pb2.DeleteJobResponse:
        """Delete an ended job with its result."""
        tenant = current_tenant()
        await self.database.write(jobs.delete, tenant, request.job_id)
        await self.objects.delete_prefix(key_prefix("results", tenant, request.job_id))
        return jobs_pb2.DeleteJobResponse()

    def _cancel_queued(self, job: jobs_pb2.Job) -> None:
        end_us = now_us()
        job.state = jobs.CANCELLED
        job.end_time.CopyFrom(timestamp(end_us))
        job.expire_time.CopyFrom(timestamp(end_us + round(self.result_lifetime_s * 1e6)))
