"""The one thread that computes on a device. The event loop never does."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

from visema_kit.errors import Unavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_STOPPED: Final = "the device stops"


class DeviceThread:
    """One daemon thread for one device; callers take turns.

    Each caller (by default: each asyncio task) has its own queue and the thread serves the callers in rotation, one
    function each, so that a long video does not make a short one wait for its end. A function that waits is dropped
    when its caller is cancelled; one that runs goes on to its end, so callers hand over pieces of well under a second.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._queues: OrderedDict[Hashable, deque[tuple[Future[Any], Callable[[], Any]]]] = OrderedDict()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name=f"device-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Functions that wait for the device."""
        with self._changed:
            return sum(map(len, self._queues.values()))

    async def run(self, function: Callable[[*Ts], T], *args: *Ts, caller: Hashable | None = None) -> T:
        """Run `function(*args)` on the device thread and return its result or raise what it raises.

        Args: caller: whose turn is used; default: the current asyncio task.
        Raises: Unavailable: the thread stops.
        """
        turn = caller if caller is not None else asyncio.current_task()
        context = contextvars.copy_context()  # log context of the call
        return await asyncio.wrap_future(self._submit(turn, partial(context.run, function, *args)))

    def close(self, timeout_s: float | None = 10.0) -> None:
        """Take no more work, drop what waits and wait for what runs. Blocks: an event loop uses `aclose`."""
        with self._changed:
            self._stopping = True
            dropped = [future for queue in self._queues.values() for future, _ in queue]
            self._queues.clear()
            self._changed.notify_all()
        for future in dropped:
            if future.set_running_or_notify_cancel():
                future.set_exception(Unavailable(_STOPPED))
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    async def aclose(self, timeout_s: float | None = 10.0) -> None:
        """`close` without blocking the event loop."""
        await asyncio.to_thread(self.close, timeout_s)

    def _submit(self, caller: Hashable, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if self._stopping:
                raise Unavailable(_STOPPED)
            self._queues.setdefault(caller, deque()).append((future, function))
            self._changed.notify_all()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queues and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                future, function = self._next()
            if future.set_running_or_notify_cancel():
                _execute(future, function)
            del future, function  # frames and tensors must not live until the next call

    def _next(self) -> tuple[Future[Any], Callable[[], Any]]:
        """Take one function from the caller whose turn it is and put that caller at the end."""
        caller, queue = self._queues.popitem(last=False)
        entry = queue.popleft()
        if queue:
            self._queues[caller] = queue
        return entry


def _execute(future: Future[T], function: Callable[[], T]) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  # whatever it is belongs to the caller
        future.set_exception(error)
    else:
        future.set_result(result)
