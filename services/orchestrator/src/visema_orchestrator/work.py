"""Work that runs in this process, so that it can be stopped: by a user, or because the process ends."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Cancelled(Exception):
    """Somebody cancelled this piece of work."""


class RunningWork:
    """Tasks by job or avatar.

    A user's cancellation becomes `Cancelled`, which the workflow records. The process's end stays CancelledError:
    nothing is recorded, and the work is recovered after the restart.

    A piece of work may be here twice for a while: a process that was taken for dead can be given its own job again
    before it has noticed that it had lost it.
    """

    def __init__(self) -> None:
        self._active: Counter[str] = Counter()
        self._tasks: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self._cancelled: set[str] = set()

    @contextmanager
    def active(self, work_id: str) -> Iterator[None]:
        """While the block runs, `cancel` stops this piece of work, also between two `run`s."""
        self._active[work_id] += 1
        try:
            yield
        finally:
            self._active[work_id] -= 1
            if not self._active[work_id]:
                del self._active[work_id]
                self._cancelled.discard(work_id)

    async def run(self, work_id: str, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`. Raises: Cancelled: `cancel` was called, now or before."""
        if work_id in self._cancelled:
            work.close()
            raise Cancelled
        task = asyncio.create_task(work)
        self._tasks[work_id].add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if work_id in self._cancelled:
                raise Cancelled from None
            raise
        finally:
            self._tasks[work_id].remove(task)
            if not self._tasks[work_id]:
                del self._tasks[work_id]

    def cancel(self, work_id: str) -> None:
        """Stop a piece of work that is active here; any other is left alone."""
        if work_id not in self._active:
            return
        self._cancelled.add(work_id)
        for task in self._tasks.get(work_id, ()):
            task.cancel()


async def run_beside(work: Coroutine[Any, Any, T], companion: Coroutine[Any, Any, None]) -> T:
    """The result of `work`; `companion` runs beside it, and only its failure ends it early."""
    tasks = (asyncio.create_task(work), asyncio.create_task(companion))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done():
            tasks[1].result()
        return await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
