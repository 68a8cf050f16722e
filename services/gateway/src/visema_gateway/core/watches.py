"""One watcher for each job, however many clients poll or stream it."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema
from visema_client.jobs import ENDED
from visema_kit.errors import InternalError, Unavailable, VisemaError
from visema_kit.logs import get_logger

from visema_gateway.core.callers import Caller, Clients
from visema_gateway.core.views import JobView, iso, job_view

EVENTS_KEPT: Final = 128
ENDED_KEPT: Final = 1000
ENDED_KEPT_BYTES: Final = 32 << 20
ENCODED_BYTES: Final = 8 << 20
ENDED_FRESH_S: Final = 30.0  # a result that another client deleted is offered no longer than this

Key = tuple[str, str]  # scope, job

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job.

    Attributes:
        sequence: Number within the job, rising.
        time: When it happened, ISO.
        job: The job after the event, without its spec, which is the same for all of them.
    """

    sequence: int
    time: str
    job: jobs_pb2.Job

    @property
    def is_last(self) -> bool:
        """Nothing follows."""
        return self.job.state in ENDED


class Encodings:
    """JSON of events: many streams want the same ones at once. Args: limit_bytes: beyond it the longest unused go."""

    def __init__(self, limit_bytes: int = ENCODED_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._kept: OrderedDict[int, tuple[Event, bytes]] = OrderedDict()  # by id(); kept events stay alive

    def of(self, event: Event, encode: Callable[[], bytes]) -> bytes:
        """The JSON of an event, made by `encode` where it is not kept."""
        kept = self._kept.get(id(event))
        if kept is not None:
            self._kept.move_to_end(id(event))
            return kept[1]
        body = encode()
        self._kept[id(event)] = (event, body)
        self._bytes += len(body)
        while self._bytes > self._limit_bytes and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= len(oldest)
        return body


@dataclass
class Watch:
    """What is known about one job.

    Attributes:
        job: The newest state, complete.
        events: What happened, oldest first. Where there is much of it every second event of the past is forgotten,
            never the first or the newest: each tells the whole state.
        over: Nothing more will come; `error` says why when the job had not ended.
        encodings: Where the JSON of its events is kept.
    """

    job: jobs_pb2.Job
    encodings: Encodings = field(default_factory=Encodings)
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

    @property
    def size_bytes(self) -> int:
        """About what it keeps in memory."""
        return self.job.ByteSize() + sum(event.job.ByteSize() for event in self.events)

    def after(self, sequence: int) -> list[Event]:
        """The events with a higher number."""
        return self.events[bisect_right(self.events, sequence, key=lambda event: event.sequence) :]

    def view(self, event: Event) -> JobView:
        """The whole job after an event."""
        job = jobs_pb2.Job()
        job.CopyFrom(event.job)
        job.spec.CopyFrom(self.job.spec)
        return job_view(job)

    def encoded(self, event: Event) -> bytes:
        """The whole job after an event as JSON."""
        return self.encodings.of(event, lambda: self.view(event).model_dump_json().encode())

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

    def start(self, client: AsyncVisema, when_over: Callable[[], None] = lambda: None) -> None:
        """Begin to follow the job. Args: when_over: called when nothing more will come."""
        self._task = asyncio.create_task(self._follow(client), name=f"watch-{self.job.job_id}")
        self._task.add_done_callback(lambda _: when_over())

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
                self._take(update)
                self._wake()
        except VisemaError as error:
            self.error = error
            log.warning("watch_ended", job_id=self.job.job_id, reason=error.reason)
        except Exception:  # nobody awaits this task, and those who wait for the job must be told
            self.error = InternalError("the job cannot be followed", metadata={"job_id": self.job.job_id})
            log.exception("watch_failed", job_id=self.job.job_id)
        finally:
            self._finish()

    def _take(self, update: jobs_pb2.WatchJobResponse) -> None:
        spec, self.job = self.job.spec, update.job
        past = jobs_pb2.Job()
        past.CopyFrom(update.job)
        past.ClearField("spec")
        self.job.spec.CopyFrom(spec)
        self.events.append(Event(update.sequence, iso(update.event_time) or "", past))
        if len(self.events) > EVENTS_KEPT:
            del self.events[1:-1:2]

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
    """Watches by caller's scope and job; of ended jobs the newest. Args: ended_bytes: what those may take."""

    def __init__(self, clients: Clients, ended_bytes: int = ENDED_KEPT_BYTES) -> None:
        self._clients = clients
        self._ended_bytes = ended_bytes
        self._encodings = Encodings()
        self._watches: dict[Key, Watch] = {}
        self._ended: OrderedDict[Key, int] = OrderedDict()  # bytes of each, the oldest first
        self._opening: dict[Key, asyncio.Task[Watch]] = {}
        self._closed = False

    @property
    def ended_bytes(self) -> int:
        """About what watches of ended jobs keep in memory."""
        return sum(self._ended.values())

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
        self._drop((caller.scope, job_id))

    async def close(self) -> None:
        """Stop all; streams end. What is asked from now on is answered, and not followed."""
        self._closed = True
        watches = list(self._watches.values())
        self._watches.clear()
        self._ended.clear()
        for watch in watches:
            await watch.stop()

    async def _open(self, caller: Caller, job_id: str) -> Watch:
        key = (caller.scope, job_id)
        try:
            job = await self._clients.calls(caller).get_job(job_id)
        except VisemaError:
            self._drop(key)
            raise
        known = self._watches.get(key)
        if known is not None and known.ended and known.error is None:
            known.asked_s = time.monotonic()  # it is still there
            return known
        watch = Watch(job, self._encodings)
        if self._closed:
            await watch.stop()
            return watch
        self._drop(key)
        self._watches[key] = watch
        watch.start(self._clients.streams(caller), lambda: self._keep(key, watch))
        return watch

    def _stale(self, watch: Watch) -> bool:
        if not watch.over:
            return False
        return watch.error is not None or time.monotonic() - watch.asked_s > ENDED_FRESH_S

    def _keep(self, key: Key, watch: Watch) -> None:
        """Keep the watch of a job that has ended, and forget the oldest ones beyond the limits."""
        if self._watches.get(key) is not watch:
            return
        self._ended[key] = watch.size_bytes
        total = self.ended_bytes
        while len(self._ended) > ENDED_KEPT or (total > self._ended_bytes and len(self._ended) > 1):
            oldest = next(iter(self._ended))
            total -= self._ended[oldest]
            self._drop(oldest)

    def _drop(self, key: Key) -> None:
        self._watches.pop(key, None)
        self._ended.pop(key, None)
