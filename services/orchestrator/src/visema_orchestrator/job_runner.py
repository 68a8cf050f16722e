"""The three steps of a job: prepare the audio, stream the pipeline, publish the outcome.

Each can run again after a crash: what it writes is the same, and what exists is used. A step ends a job by returning an
outcome, a `Job` with state, error, result and report; it raises only when this process must stop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message
from visema.common.v1 import common_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_kit.errors import DeadlineExceeded, JobNotFound, StoreUnavailable, VisemaError
from visema_kit.keys import job_key, job_prefix, key_prefix
from visema_kit.logs import get_logger
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore
from visema_kit.quality import quality_report
from visema_kit.status import error_to_proto, from_status

from visema_orchestrator import spec as wishes
from visema_orchestrator.checks import MediaChecks
from visema_orchestrator.hub import EventHub
from visema_orchestrator.pipeline import Pipeline, PipelineRequest
from visema_orchestrator.progress import JobLost, ProgressWriter
from visema_orchestrator.report import (
    STAGE_WEIGHTS,
    critical_path_s,
    engine_label,
    make_report,
    make_result,
    set_progress,
)
from visema_orchestrator.retry import RetryPolicy, StageAttempts
from visema_orchestrator.settings import OrchestratorSettings
from visema_orchestrator.speech import speak
from visema_orchestrator.stages import Stages
from visema_orchestrator.store import avatars, jobs, media
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.store.jobs import timestamp
from visema_orchestrator.work import Cancelled, RunningWork, run_beside

SUCCEEDED, FAILED = jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED
STORE_PATIENCE = RetryPolicy(patience_s=3600.0)  # an outcome that exists must be written

T = TypeVar("T")

log = get_logger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What the first step leaves to the second; stored by DBOS, so plain text."""

    audio: common_pb2.ObjectRef
    frame_count: int
    warnings: list[str]
    words: list[lipsync_pb2.WordTiming]
    speech: jobs_pb2.StageTimeline | None

    def to_json(self) -> str:
        """Inverse of `from_json`."""
        return json.dumps(
            {
                "audio": _encode(self.audio),
                "frame_count": self.frame_count,
                "warnings": self.warnings,
                "words": [_encode(word) for word in self.words],
                "speech": _encode(self.speech) if self.speech else None,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Prepared:
        """Inverse of `to_json`."""
        fields = json.loads(text)
        speech = fields["speech"]
        return cls(
            common_pb2.ObjectRef.FromString(base64.b64decode(fields["audio"])),
            fields["frame_count"],
            fields["warnings"],
            [lipsync_pb2.WordTiming.FromString(base64.b64decode(word)) for word in fields["words"]],
            jobs_pb2.StageTimeline.FromString(base64.b64decode(speech)) if speech else None,
        )


@dataclass(frozen=True)
class StepResult:
    """Either what the next step needs, or how the job ended. Both empty: it has ended elsewhere."""

    prepared: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class _Run:
    """A job while a step works on it. `job_start_s` is its start on the monotonic clock of this process."""

    tenant: str
    job: jobs_pb2.Job
    look: avatars_pb2.AvatarSpec
    job_start_s: float
    deadline_s: float

    @property
    def context(self) -> common_pb2.WorkContext:
        return common_pb2.WorkContext(tenant=self.tenant, work_id=self.job.job_id)


@dataclass(frozen=True)
class JobRunner:
    """Runs the steps of jobs in this process."""

    settings: OrchestratorSettings
    executor: str
    database: Database
    objects: ObjectStore
    stages: Stages
    checks: MediaChecks
    hub: EventHub
    metrics: Metrics
    work: RunningWork

    async def adopt(self, job_id: str) -> bool:
        """Own a job that starts or is recovered here. Returns: False when there is nothing left to do."""
        row = await self.database.write(jobs.adopt, job_id, self.executor)
        if row is not None and row.cancel_requested:
            self.work.cancel(job_id)
        return row is not None

    async def prepare(self, job_id: str) -> StepResult:
        """Bring the speech into the form that the stages read."""
        return await self._step(job_id, self._prepare)

    async def stream(self, job_id: str, prepared: str) -> StepResult:
        """Run the stages."""

        async def run_pipeline(run: _Run) -> StepResult:
            return await self._stream(run, Prepared.from_json(prepared))

        return await self._step(job_id, run_pipeline)

    async def publish(self, job_id: str, outcome: str) -> None:
        """Make the outcome known and delete what was temporary."""
        ended = jobs_pb2.Job.FromString(base64.b64decode(outcome))
        try:
            tenant = await self._patiently(lambda: self.database.read(jobs.tenant_of, job_id))
        except JobNotFound:
            return  # ended before a crash and deleted by its owner since

        def finish(job: jobs_pb2.Job) -> None:
            end_us = now_us()
            job.MergeFrom(ended)
            job.end_time.CopyFrom(timestamp(end_us))
            job.expire_time.CopyFrom(timestamp(end_us + round(self.settings.result_lifetime_s * 1e6)))
            if job.state == SUCCEEDED:
                frames = job.result.frame_count
                set_progress(job, dict.fromkeys(STAGE_WEIGHTS, (frames, frames)))

        event = await self._patiently(
            lambda: self.database.write(jobs.change, job_id, self.executor, finish, is_progress=False)
        )
        if event is not None:
            self.hub.publish(event)
            self._measure(event.job)
        else:
            await self._leave_to_new_owner(job_id)
        await self._delete_temporary(tenant, job_id)

    async def _delete_temporary(self, tenant: str, job_id: str) -> None:
        try:
            await self._patiently(
                lambda: self.objects.delete_prefix(job_prefix(tenant, job_id)), self.settings.retry_policy
            )
        except VisemaError:
            log.warning("temporary_objects_left", job_id=job_id, exc_info=True)  # the store's 1-day rule takes them

    async def _step(self, job_id: str, work: Callable[[_Run], Awaitable[StepResult]]) -> StepResult:
        """Run a step's work under its time limit, and turn every end into a result."""

        async def limited() -> StepResult:
            run = await self._load(job_id)
            try:
                async with asyncio.timeout(self.settings.job_timeout_s):
                    return await work(run)
            except JobLost:
                log.warning("job_lost", job_id=job_id)
                await self._leave_to_new_owner(job_id)
                await self._delete_temporary(run.tenant, job_id)  # what the stages stored for us after it had ended
                return StepResult()
            except TimeoutError as error:
                raise DeadlineExceeded(
                    f"the job took longer than {self.settings.job_timeout_s:g} s",
                    metadata={"limit_s": f"{self.settings.job_timeout_s:g}"},
                ) from error

        try:
            return await self.work.run(job_id, limited())
        except Cancelled:
            return _ended(jobs_pb2.Job(state=jobs.CANCELLED))
        except VisemaError as error:
            log.warning("job_failed", job_id=job_id, reason=error.reason, message=error.message)
            return _ended(jobs_pb2.Job(state=FAILED, error=error_to_proto(error)))
        except Exception as error:  # the job's outermost frame: nobody above would tell the user
            log.exception("job_crashed", job_id=job_id)
            return _ended(jobs_pb2.Job(state=FAILED, error=error_to_proto(error)))

    async def _leave_to_new_owner(self, job_id: str) -> None:
        """Do nothing for a job that has ended.

        Raises: CancelledError: another process works on it by now, and needs its temporary objects and its workflow. So
            DBOS records no end of this step, nor of the workflow: the other one could not resume it.
        """
        if not await self._patiently(lambda: self.database.read(jobs.has_ended, job_id)):
            raise asyncio.CancelledError

    async def _load(self, job_id: str) -> _Run:
        tenant = await self.database.read(jobs.tenant_of, job_id)
        job = await self.database.read(jobs.get, tenant, job_id)
        if job.spec.HasField("avatar_id"):
            avatar = await self.database.read(avatars.get, tenant, job.spec.avatar_id)
            look = wishes.with_avatar(job.spec, avatar.spec)
        else:
            look = wishes.without_avatar(job.spec)
        running_s = max(now_us() - job.start_time.ToMicroseconds(), 0) / 1e6
        now_s = time.monotonic()
        return _Run(tenant, job, look, now_s - running_s, now_s + self.settings.job_timeout_s)

    async def _prepare(self, run: _Run) -> StepResult:
        source, words, timeline = run.job.spec.audio, [], None
        if run.job.spec.HasField("text"):
            spoken = await speak(
                self.stages,
                self.settings.retry_policy,
                run.context,
                run.job.spec.text,
                job_start_s=run.job_start_s,
                deadline_s=run.deadline_s,
            )
            if spoken.audio is None:
                raise StoreUnavailable("the speech is not there")
            await self._keep_speech(run.tenant, spoken.audio.key)
            source, words, timeline = spoken.audio, spoken.words, spoken.times.to_proto()
        result: list[Prepared] = []

        async def store_audio() -> None:
            audio = await self.checks.audio(source, run.tenant, "spec.audio")
            key = job_key(run.tenant, run.job.job_id, "speech.wav")
            stored = await self.objects.put(key, audio.wav, "audio/wav")
            frame_count = audio.frame_count(wishes.to_fraction(run.look.frame_rate))
            wishes.check_stills(run.job.spec, frame_count)
            result.append(Prepared(stored, frame_count, list(audio.warnings), words, timeline))

        await StageAttempts(self.settings.retry_policy).run(store_audio, lambda: len(result))
        return StepResult(prepared=result[0].to_json())

    async def _keep_speech(self, tenant: str, audio_key: str) -> None:
        """Note that a spoken text was used now: the sweeper deletes what nobody has asked for in a long time."""
        if audio_key.startswith(key_prefix("media", tenant)):
            folder = audio_key.rpartition("/")[0] + "/"  # the sound and what the speech service knows about it
            await self._patiently(lambda: self.database.write(media.touch, tenant, media.MEDIA, folder))

    async def _stream(self, run: _Run, prepared: Prepared) -> StepResult:
        writer = ProgressWriter(self.database, self.hub, self.executor, run.tenant, run.job.job_id)
        spec = run.job.spec
        request = PipelineRequest(
            animate=wishes.animate_request(run.look, run.context, prepared.frame_count, prepared.audio),
            audio=prepared.audio,
            words=prepared.words,
            lip_sync=spec.lip_sync,
            encoding=spec.encoding,
            engine=run.look.engine,
            title=spec.title,
            max_in_flight=self.settings.max_in_flight,
        )
        pipeline = Pipeline(
            self.stages,
            request,
            self.settings.retry_policy,
            job_start_s=run.job_start_s,
            deadline_s=run.deadline_s,
            on_progress=writer.update,
            on_animated=lambda segment: writer.uses_loop(segment.object.key),
        )
        try:
            encoded = await run_beside(pipeline.run(), writer.run())
        except VisemaError as error:
            log.warning("job_failed", job_id=run.job.job_id, reason=error.reason, message=error.message)
            report = _report(run, prepared, pipeline, video_s=0.0)
            return _ended(jobs_pb2.Job(state=FAILED, error=error_to_proto(error), report=report))
        report = _report(run, prepared, pipeline, video_s=encoded.video_duration.ToMicroseconds() / 1e6)
        return _ended(jobs_pb2.Job(state=SUCCEEDED, result=make_result(encoded), report=report))

    async def _patiently(self, work: Callable[[], Awaitable[T]], policy: RetryPolicy = STORE_PATIENCE) -> T:
        """Repeat while database or object store do not answer."""
        result: list[T] = []

        async def attempt() -> None:
            result.append(await work())

        await StageAttempts(policy).run(attempt, lambda: len(result))
        return result[0]

    def _measure(self, job: jobs_pb2.Job) -> None:
        seconds = (job.end_time.ToMicroseconds() - job.start_time.ToMicroseconds()) / 1e6
        outcome = {SUCCEEDED: "succeeded", FAILED: "failed"}.get(job.state, "cancelled")
        self.metrics.observe_job(
            duration_s=seconds,
            video_s=job.result.video_duration.ToMicroseconds() / 1e6,
            prepared=job.report.prepared,
            engine=engine_label(job.report),
            outcome=outcome,
            reason=from_status(job.error).reason if job.state == FAILED else "",
            critical_path_s=critical_path_s(job.report, seconds),
            quality_score=job.report.quality.score if job.report.HasField("quality") else None,
        )
        log.info(
            "job_ended",
            job_id=job.job_id,
            outcome=outcome,
            seconds=seconds,
            frames=job.result.frame_count,
            prepared=job.report.prepared,
            degraded=job.report.degraded,
        )


def _report(run: _Run, prepared: Prepared, pipeline: Pipeline, video_s: float) -> jobs_pb2.JobReport:
    timelines = [prepared.speech] if prepared.speech else []
    timelines += [times.to_proto() for times in pipeline.times.values()]
    return make_report(
        timelines,
        queue_s=(run.job.start_time.ToMicroseconds() - run.job.create_time.ToMicroseconds()) / 1e6,
        processing_s=time.monotonic() - run.job_start_s,
        video_s=video_s,
        warnings=prepared.warnings,
        quality=quality_report(pipeline.quality, wishes.to_fraction(run.look.frame_rate)) if video_s else None,
    )


def _encode(message: Message) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


def _ended(job: jobs_pb2.Job) -> StepResult:
    return StepResult(outcome=_encode(job))
