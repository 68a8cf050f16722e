"""Durable execution with DBOS: one workflow for each job and each avatar, recovered after a crash.

Facts of dbos 3.4 that this module relies on:
- a workflow of a process that died is resumed by a process with the same executor id and application version, or by any
  other after `resume_workflow`; both go through DBOS' own queue, which is polled once a second;
- a coroutine that is cancelled leaves its workflow PENDING, so shutting down needs nothing but cancelling, and a job
  that another process has taken over is left by CancelledError;
- a record that its database refuses (a full disk) ends the workflow's task with the database's error; nobody resumes it
  before the next start, so such work is noted as stranded and started anew;
- each step costs about a millisecond on SQLite with a write-ahead log, which is why we bring the engine.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy.exc import DBAPIError
from visema_kit.database import open_engine
from visema_kit.errors import StoreUnavailable
from visema_kit.logs import get_logger
from visema_kit.tracing import TraceContext, Tracing

from visema_orchestrator.admission import Slots
from visema_orchestrator.avatar_runner import AvatarRunner
from visema_orchestrator.job_runner import JobRunner, StepResult

WORKFLOW_VERSION = "1"  # raise it when the steps of a workflow change: other versions' workflows are not resumed
MOST_RECOVERIES = 20  # a job that takes its process down each time is given up
FORGET_AT_ONCE = 500
PUBLISH_GRACE_S = 3.0
THREADS = 8
GONE = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})

log = get_logger(__name__)


@dataclass
class Workflows:
    """Starts and recovers the workflows of this process. DBOS is one per process, so this is too.

    Attributes:
        stranded: Jobs and avatars that a fault of a database left without a running workflow.
    """

    url: str
    executor: str
    runner: JobRunner
    avatars: AvatarRunner
    slots: Slots
    tracing: Tracing
    on_slot_free: Callable[[], None] = lambda: None
    stranded: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _publishing: set[asyncio.Task[Any]] = field(default_factory=set)

    def launch(self) -> None:
        """Open DBOS' tables and recover what this executor left. Call on the loop that shall run the workflows."""
        logging.getLogger("dbos").handlers = [logging.NullHandler()]  # it would write lines of its own form to stderr
        logging.getLogger("dbos").propagate = True
        config: DBOSConfig = {
            "name": "visema",
            "system_database_url": self.url,
            "system_database_engine": open_engine(self.url),
            "application_version": WORKFLOW_VERSION,
            "executor_id": self.executor,
            "max_executor_threads": THREADS,
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        DBOS(config=config)
        self._register()
        DBOS.launch()

    def _register(self) -> None:
        runner, slots = self.runner, self.slots

        @DBOS.step(name="prepare")
        async def prepare(job_id: str) -> dict[str, str]:
            return _to_dict(await runner.prepare(job_id))

        @DBOS.step(name="stream")
        async def stream(job_id: str, prepared: str) -> dict[str, str]:
            return _to_dict(await runner.stream(job_id, prepared))

        @DBOS.step(name="publish")
        async def publish(job_id: str, outcome: str) -> None:
            await runner.publish(job_id, outcome)

        @DBOS.workflow(name="job", max_recovery_attempts=MOST_RECOVERIES)
        async def job(job_id: str) -> None:
            self._note_task(job_id)
            try:
                with runner.work.active(job_id), self.tracing.span("job", trace_of(job_id)):
                    # Owned before it waits: should this process end meanwhile, others know whose job it was.
                    if not await runner.adopt(job_id):
                        return
                    await slots.enter(job_id)
                    result = await prepare(job_id)
                    if result["prepared"]:
                        result = await stream(job_id, result["prepared"])
                    if result["outcome"]:
                        with self._not_to_stop():
                            await publish(job_id, result["outcome"])
            finally:
                await slots.leave(job_id)
                self.on_slot_free()

        @DBOS.step(name="prepare_avatar")
        async def prepare_avatar(avatar_id: str) -> None:
            await self.avatars.prepare(avatar_id)

        @DBOS.workflow(name="avatar", max_recovery_attempts=MOST_RECOVERIES)
        async def avatar(avatar_id: str) -> None:
            self._note_task(avatar_id)
            with self.tracing.span("avatar", trace_of(avatar_id)):
                await prepare_avatar(avatar_id)

        self._job, self._avatar = job, avatar

    async def start_job(self, job_id: str) -> None:
        """Start a claimed job's workflow; durable when this returns. Raises: StoreUnavailable: it is stranded."""
        await self._start(self._job, job_id)

    async def start_avatar(self, avatar_id: str) -> None:
        """Start an avatar's preparation; durable when this returns. Raises: StoreUnavailable: it is stranded."""
        await self._start(self._avatar, avatar_id)

    async def resume(self, workflow_id: str) -> None:
        """Let any live process run a workflow whose process died. Raises: StoreUnavailable: it is stranded."""
        with self._stranded_by_faults(workflow_id):
            await DBOS.resume_workflow_async(workflow_id)

    @staticmethod
    async def status(workflow_id: str) -> str | None:
        """State of a workflow as DBOS names it; None when it was never started. Raises: StoreUnavailable."""
        with _typed_faults():
            status = await DBOS.get_workflow_status_async(workflow_id)
        return None if status is None else status.status

    async def forget_stranded(self, workflow_id: str) -> None:
        """Delete what DBOS knows of stranded work, so that it can start anew. Raises: StoreUnavailable."""
        with _typed_faults():
            await DBOS.delete_workflows_async([workflow_id])
        self.stranded.discard(workflow_id)

    @staticmethod
    async def forget_ended(before: datetime) -> None:
        """Delete DBOS' records of workflows that ended before some time: our own tables tell how jobs ended.

        Raises: StoreUnavailable.
        """
        with _typed_faults():
            ended = await DBOS.list_workflows_async(
                status=sorted(GONE),
                completed_before=before.isoformat(),
                limit=FORGET_AT_ONCE,
                load_input=False,
                load_output=False,
            )
            if ended:
                await DBOS.delete_workflows_async([workflow.workflow_id for workflow in ended])

    async def close(self) -> None:
        """Stop at once what computes, let what publishes come to its end, and stop DBOS.

        Workflows that were stopped stay PENDING and are recovered at the next launch.
        """
        for task in self._tasks - self._publishing:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=PUBLISH_GRACE_S)
            for task in late:
                task.cancel()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as closer:  # DBOS made its own pool the loop's default, and closes it
            await loop.run_in_executor(closer, partial(DBOS.destroy, destroy_registry=True))
        loop.set_default_executor(ThreadPoolExecutor(THREADS))

    @contextmanager
    def _not_to_stop(self) -> Iterator[None]:
        task = asyncio.current_task()
        if task is not None:
            self._publishing.add(task)
        try:
            yield
        finally:
            self._publishing.discard(task)

    def _note_task(self, work_id: str) -> None:
        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and isinstance(task.exception(), DBAPIError | StoreUnavailable):
                log.warning("workflow_stranded", work_id=work_id)
                self.stranded.add(work_id)

        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(ended)

    async def _start(self, workflow: Callable[[str], Coroutine[Any, Any, None]], work_id: str) -> None:
        async def start() -> None:
            with self._stranded_by_faults(work_id), SetWorkflowID(work_id):
                await DBOS.start_workflow_async(workflow, work_id)

        # A context of its own: the workflow outlives the call that asked for it.
        await asyncio.shield(asyncio.create_task(start(), context=contextvars.Context()))

    @contextmanager
    def _stranded_by_faults(self, work_id: str) -> Iterator[None]:
        """Raises: StoreUnavailable: DBOS' database has a fault, and the work is noted as stranded."""
        try:
            with _typed_faults():
                yield
        except StoreUnavailable:
            self.stranded.add(work_id)
            raise


@contextmanager
def _typed_faults() -> Iterator[None]:
    """Raises: StoreUnavailable: instead of what SQLAlchemy raises for a fault of DBOS' database."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable("the workflows' database does not answer", retry_after_s=1.0) from error


def trace_of(work_id: str) -> TraceContext:
    """The trace of a job or an avatar: its id, so that every process that works on it says the same."""
    return TraceContext(trace_id=work_id, span_id=work_id[:16])


def _to_dict(result: StepResult) -> dict[str, str]:
    return {"prepared": result.prepared, "outcome": result.outcome}
