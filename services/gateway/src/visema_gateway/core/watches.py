"""One watcher for each job, however many clients poll or stream it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema
from visema_client.jobs import ENDED
from visema_kit.errors import InternalError, Unavailable, VisemaError
from visema_kit.logs import get_logger

from visema_gateway.core.callers import Caller, Clients
from visema_gateway.core.views import iso, job_view

ENDED_KEPT: Final = 1000
ENDED_FRESH_S: Final = 30.0  # a result that another client deleted is offered no longer than this

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job, encoded once for all streams.

    Attributes:
        sequence: Number within the job, rising.
        time: When it happened, ISO.
        is_last: Nothing follows.
        data: The job after the event, as JSON.
    """

    sequence: int
    time: str
    is_last: bool
    data: bytes


@dataclass
class Watch:
    """What is known about one job.

    Attributes:
        job: The newest state, complete.
        events: All events that the orchestrator still has, and those that came since.
        over: Nothing more will come; `error` says why when the job had not ended.
    """

    job: jobs_pb2.Job
    events: list[Event] = field(default_factory=list)
    over: bool = False
    error: VisemaError | None = None
    asked_s: float = field(default_factory=time.monotonic)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _answer: tuple[float, jobs_pb2.Job, bytes] | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.job.state in ENDED

    def kept_answer(self, fresh_s: float) -> bytes | None:
        """An answer that was made for this very state, of a running job at most `fresh_s` ago; None: make one."""
        if self._answer is None:
            return None
        made_s, job, body = self._answer
        return body if job is self.job and (self.ended or time.monotonic() - made_s <= fresh_s) else None

    def keep_answer(self, body: bytes) -> None:
        """Keep an answer for those who ask next."""
        self._answer = (time.monotonic(), self.job, body)

    async def changes(self, patience_s: float | None = None) -> bool:
        """Wait until there are new events or nothing more will come. Returns: False when the patience ran out."""
        try:
            async with asyncio.timeout(patience_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """Wait until the job has ended. Raises: VisemaError: it cannot be followed any more."""
        while not self.over:
            await self.changes()
        if self.error is not None:
            raise self.error

    def start(self, client: AsyncVisema) -> None:
        """Begin to follow the job."""
        self._task = asyncio.create_task(self._follow(client), name=f"watch-{self.job.job_id}")

    async def stop(self) -> None:
        """Follow no longer; streams end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._finish()

    async def _follow(self, client: AsyncVisema) -> None:
        try:
            async for update in client.watch_job(self.job.job_id):
                job = update.job
                job.spec.CopyFrom(self.job.spec)
                self.job = job
                data = job_view(job).model_dump_json().encode()
                self.events.append(Event(update.sequence, iso(update.event_time) or "", job.state in ENDED, data))
                self._wake()
        except VisemaError as error:
            self.error = error
            log.warning("watch_ended", job_id=self.job.job_id, reason=error.reason)
        except Exception:  # nobody awaits this task, and those who wait for the job must be told
            self.error = InternalError("the job cannot be followed", metadata={"job_id": self.job.job_id})
            log.exception("watch_failed", job_id=self.job.job_id)
        finally:
            self._finish()

    def _finish(self) -> None:
        """However it came: nobody waits for what will not come any more."""
        if self.error is None and not self.ended:
            self.error = Unavailable("the job is not followed any more", metadata={"job_id": self.job.job_id})
        self._wake(over=True)

    def _wake(self, *, over: bool = False) -> None:
        self.over = self.over or over
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Watches:
    """Watches by caller's scope and job."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._watches: OrderedDict[tuple[str, str], Watch] = OrderedDict()
        self._opening: dict[tuple[str, str], asyncio.Task[Watch]] = {}
        self._closed = False

    async def of(self, caller: Caller, job_id: str) -> Watch:
        """The watch of a job; many callers at once cost one look. Raises: JobNotFound, VisemaError."""
        key = (caller.scope, job_id)
        known = self._watches.get(key)
        if known is not None and not self._stale(known):
            return known
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.create_task(self._open(caller, job_id))
            self._opening[key] = opening
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        return await asyncio.shield(opening)

    def forget(self, caller: Caller, job_id: str) -> None:
        """The job was deleted."""
        self._watches.pop((caller.scope, job_id), None)

    async def close(self) -> None:
        """Stop all; streams end. What is asked from now on is answered, and not followed."""
        self._closed = True
        watches = list(self._watches.values())
        self._watches.clear()
        for watch in watches:
            await watch.stop()

    async def _open(self, caller: Caller, job_id: str) -> Watch:
        key = (caller.scope, job_id)
        try:
            job = await self._clients.calls(caller).get_job(job_id)
        except VisemaError:
            self._watches.pop(key, None)
            raise
        watch = self._watches.get(key)
        if watch is not None and watch.ended and watch.error is None:
            watch.asked_s = time.monotonic()  # it is still there
            return watch
        watch = Watch(job)
        if self._closed:
            await watch.stop()
            return watch
        watch.start(self._clients.streams(caller))
        self._watches[key] = watch
        self._trim()
        return watch

    def _stale(self, watch: Watch) -> bool:
        if not watch.over:
            return False
        return watch.error is not None or time.monotonic() - watch.asked_s > ENDED_FRESH_S

    def _trim(self) -> None:
        """Forget ended jobs beyond the limit, the oldest first."""
        surplus = len(self._watches) - ENDED_KEPT
        for key in [key for key, watch in self._watches.items() if watch.over][: max(0, surplus)]:
            del self._watches[key]
