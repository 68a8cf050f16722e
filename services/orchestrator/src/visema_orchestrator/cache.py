"""A small cache whose values are made by coroutines; callers that ask at the same time share one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedCache(Generic[K, V]):
    """Keeps the values used last, up to `capacity` in units of `weigh`. Failures are not kept."""

    def __init__(self, capacity: int, weigh: Callable[[V], int]) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self._running: dict[K, asyncio.Task[V]] = {}
        self._weight = 0

    async def get(self, key: K, make: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The value of `key`, from `make()` when it is not here. Raises: whatever `make()` raises."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(task)  # a caller that goes away does not take the value from the others

    def _keep(self, key: K, task: asyncio.Task[V]) -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        value = task.result()
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._capacity and self._values:
            _, oldest = self._values.popitem(last=False)
            self._weight -= self._weigh(oldest)
