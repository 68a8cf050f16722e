"""One thread computes; callers take turns; nothing is lost or left over."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Iterator

import pytest
from visema_kit.errors import Unavailable
from visema_kit.executor import DeviceThread


@pytest.fixture
def device() -> Iterator[DeviceThread]:
    thread = DeviceThread("test")
    yield thread
    thread.close()


class Gate:
    """Work that holds the device until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def work(self) -> None:
        self.entered.set()
        assert self.opened.wait(60)


async def test_results_and_exceptions_come_back(device: DeviceThread) -> None:
    assert await device.run(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await device.run(divmod, 7, 0)
    assert await device.run(len, "still alive") == 11


async def test_everything_runs_in_the_same_daemon_thread(device: DeviceThread) -> None:
    threads = await asyncio.gather(*(device.run(threading.current_thread) for _ in range(5)))
    assert len(set(threads)) == 1
    assert threads[0].daemon
    assert threads[0] is not threading.current_thread()


async def test_the_event_loop_goes_on_while_the_device_computes(device: DeviceThread) -> None:
    gate = Gate()
    running = asyncio.create_task(device.run(gate.work))
    await asyncio.to_thread(gate.entered.wait)
    await asyncio.sleep(0)
    assert not running.done()
    gate.opened.set()
    await running


async def test_callers_take_turns(device: DeviceThread) -> None:
    gate, order = Gate(), []
    held = asyncio.create_task(device.run(gate.work))
    await asyncio.to_thread(gate.entered.wait)
    long = [asyncio.create_task(device.run(order.append, f"long-{n}", caller="long")) for n in range(3)]
    await asyncio.sleep(0)
    short = asyncio.create_task(device.run(order.append, "short", caller="short"))
    await asyncio.sleep(0)
    assert device.waiting == 4
    gate.opened.set()
    await asyncio.gather(held, *long, short)
    assert order == ["long-0", "short", "long-1", "long-2"]


async def test_work_that_waits_is_dropped_when_its_caller_is_cancelled(device: DeviceThread) -> None:
    gate, done = Gate(), []
    held = asyncio.create_task(device.run(gate.work))
    await asyncio.to_thread(gate.entered.wait)
    waiting = asyncio.create_task(device.run(done.append, "never"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.opened.set()
    await held
    assert await device.run(len, done) == 0


async def test_a_cancelled_caller_does_not_wait_for_what_runs(device: DeviceThread) -> None:
    gate = Gate()
    running = asyncio.create_task(device.run(gate.work))
    await asyncio.to_thread(gate.entered.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.opened.set()
    assert await device.run(len, "next") == 4


async def test_closing_drops_what_waits_and_refuses_what_comes() -> None:
    device, gate = DeviceThread("closing"), Gate()
    held = asyncio.create_task(device.run(gate.work))
    await asyncio.to_thread(gate.entered.wait)
    waiting = asyncio.create_task(device.run(len, "x"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(device.aclose())
    with pytest.raises(Unavailable):
        await waiting
    gate.opened.set()
    await closing
    await held
    with pytest.raises(Unavailable):
        await device.run(len, "x")


async def test_the_callers_context_is_seen_by_the_work(device: DeviceThread) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("job-1")
    assert await device.run(variable.get) == "job-1"


async def test_results_do_not_live_longer_than_their_caller_wants(device: DeviceThread) -> None:
    class Tensor:
        pass

    reference = weakref.ref(await device.run(Tensor))
    async with asyncio.timeout(60):
        while reference() is not None:  # the thread lets go a moment after the caller was woken
            await asyncio.sleep(0.01)
