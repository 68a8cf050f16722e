"""Bounds the work: a queue of limited length, and slots for the jobs that run. First come, first served.

The table `jobs` is the queue: a job with a free slot is claimed and started at once, without waiting for a poll.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from visema_kit.errors import QueueFull, StoreUnavailable
from visema_kit.logs import get_logger
from visema_kit.metrics import Metrics

from visema_orchestrator.batches import Batches
from visema_orchestrator.hub import EventHub
from visema_orchestrator.store import jobs
from visema_orchestrator.store.database import Database

SHORTEST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
FIRST_GUESS_S = 3.5  # length of a job before one has ended
GUESS_WEIGHT = 0.2  # of the newest job in the moving average
SHARED_POLL_S = 0.5  # another process may have queued a job that we can take
LONE_POLL_S = 5.0
REFUSAL_S, LONGEST_REFUSALS_S = 0.001, 0.1  # processor time of one refusal, and of all that anybody waits for

log = get_logger(__name__)


class Slots:
    """The jobs that run in this process, at most `capacity`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._running: dict[str, float] = {}  # job id: monotonic start
        self._waiting = 0
        self._left = asyncio.Condition()
        self.mean_job_s = FIRST_GUESS_S

    @property
    def free(self) -> int:
        """Slots for new jobs; recovered jobs that wait for one come first."""
        return max(self.capacity - len(self._running) - self._waiting, 0)

    @property
    def running(self) -> int:
        """Jobs that run."""
        return len(self._running)

    def take(self, job_id: str) -> None:
        """Give a slot to a job that was claimed."""
        self._running[job_id] = time.monotonic()

    async def enter(self, job_id: str) -> None:
        """Wait for a slot; a claimed job has one already."""
        if job_id in self._running:
            return
        self._waiting += 1
        try:
            async with self._left:
                await self._left.wait_for(lambda: len(self._running) < self.capacity)
                self.take(job_id)
        finally:
            self._waiting -= 1

    async def leave(self, job_id: str) -> None:
        """Free a job's slot."""
        started = self._running.pop(job_id, None)
        if started is not None:
            self.mean_job_s += GUESS_WEIGHT * (time.monotonic() - started - self.mean_job_s)
        async with self._left:
            self._left.notify_all()


class Dispatcher:
    """Admits jobs to the queue and starts them.

    Args: start: starts the workflow of a claimed job; returns once it is durable.
    """

    def __init__(
        self,
        database: Database,
        slots: Slots,
        hub: EventHub,
        metrics: Metrics,
        *,
        executor: str,
        queue_limit: int,
        start: Callable[[str], Awaitable[None]],
    ) -> None:
        self._database = database
        self._slots = slots
        self._hub = hub
        self._metrics = metrics
        self._executor = executor
        self._queue_limit = queue_limit
        self._start = start
        self._reserved: Counter[object] = Counter()  # the requests that hold a place, and how often each came
        self._standings = Batches(self._look_up)
        self._kicked = asyncio.Event()

    @property
    def limit(self) -> int:
        """Jobs that may be QUEUED: a job with a free slot stays so for a moment only."""
        return self._queue_limit + self._slots.free

    async def standing(self, asked: jobs.Asked) -> jobs.Standing:
        """How it stands with a request: however many come at once, they cost one or two looks into the database."""
        return await self._standings.ask(asked)

    @contextmanager
    def reserve(self, asked: jobs.Asked, queued: int) -> Iterator[None]:
        """Hold a place in the queue while a job's media are checked; the same request at the same time shares it.

        Raises: QueueFull: with the time after which a place is likely.
        """
        place = (asked.tenant, asked.request_id) if asked.request_id else object()
        if place not in self._reserved and queued + len(self._reserved) >= self.limit:
            raise self.queue_full(queued)
        self._reserved[place] += 1
        try:
            yield
        finally:
            self._reserved[place] -= 1
            if not self._reserved[place]:
                del self._reserved[place]

    async def let_refusals_go(self) -> None:
        """Wait while the others that came in the same moment hear that there is no place.

        The checks and the start of a job need the processors for longer than a refusal may take.
        """
        others = self._standings.crowd - 1
        if others > 0:
            await asyncio.sleep(min(others * REFUSAL_S, LONGEST_REFUSALS_S))

    async def _look_up(self, asked: Sequence[jobs.Asked]) -> Sequence[jobs.Standing]:
        return await self._database.read(jobs.standings, asked)

    def queue_full(self, queued: int) -> QueueFull:
        """The refusal, with a delay by the queue's length and the pace of jobs."""
        delay = self._slots.mean_job_s * (queued + 1) / self._slots.capacity / 2
        return QueueFull(
            f"the queue is full: {queued} jobs wait",
            metadata={"limit": str(self._queue_limit)},
            retry_after_s=min(max(delay, SHORTEST_RETRY_S), LONGEST_RETRY_S),
        )

    def kick(self) -> None:
        """Something changed: a job was queued or a slot is free."""
        self._kicked.set()

    async def run(self) -> None:
        """Start jobs for ever."""
        poll_s = SHARED_POLL_S if self._database.is_shared else LONE_POLL_S
        while True:
            self._kicked.clear()
            try:
                await self._fill_slots()
                self._metrics.queue_jobs.set(await self._database.read(jobs.count, jobs.QUEUED))
            except StoreUnavailable:
                log.warning("dispatch_failed", exc_info=True)
                await asyncio.sleep(SHARED_POLL_S)
            self._metrics.running_jobs.set(self._slots.running)
            try:
                async with asyncio.timeout(poll_s):
                    await self._kicked.wait()
            except TimeoutError:
                continue

    async def _fill_slots(self) -> None:
        while self._slots.free:
            event = await self._database.write(jobs.claim, self._executor)
            if event is None:
                return
            self._slots.take(event.job_id)
            self._hub.publish(event)
            queued_s = (event.job.start_time.ToMicroseconds() - event.job.create_time.ToMicroseconds()) / 1e6
            self._metrics.job_queue.observe(max(queued_s, 0.0))
            try:
                await self._start(event.job_id)
            except StoreUnavailable:
                await self._slots.leave(event.job_id)
                raise
