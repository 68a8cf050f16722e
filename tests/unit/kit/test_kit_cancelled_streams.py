"""Streams that clients cancel leave nothing behind in the server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from support.servicers import Rig, Script, running_rig

STREAMS = int(os.environ.get("VISEMA_CANCELLED_STREAMS", "500"))  # by hand: 10000
AT_ONCE = 25
SPARE_OBJECTS = 200  # caches of the interpreter; one object per stream would be 500
MEBIBYTE = 1024 * 1024
PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed


async def cancel_streams(rig: Rig, shape: str, count: int) -> None:
    """Open streams, read the first reply of each, leave."""

    async def cancel_one() -> None:
        async with aclosing(rig.replies(shape)) as replies:
            await anext(replies)

    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(cancel_one() for _ in range(AT_ONCE)))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def objects() -> Counter[str]:
    """Live objects by type."""
    gc.collect()
    return Counter(type(found).__name__ for found in gc.get_objects())


async def until_idle(rig: Rig, idle_tasks: int) -> None:
    """Wait until the server has heard of the last cancellation and has no more tasks than before."""
    rig.script.seen.clear()
    async with asyncio.timeout(PATIENCE_S):
        while len(asyncio.all_tasks()) > idle_tasks:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # gRPC lets go of ended calls in its own time


@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
async def test_cancelled_streams_leave_no_task_object_descriptor_or_memory(
    shape: str, record_property: Callable[[str, object], None]
) -> None:
    async with running_rig(Script(hang=True)) as rig:
        idle_tasks = len(asyncio.all_tasks())
        await cancel_streams(rig, shape, 4 * AT_ONCE)  # whatever is made once is made here
        await until_idle(rig, idle_tasks)
        before, resident, open_files = objects(), resident_bytes(), descriptors()
        await cancel_streams(rig, shape, STREAMS)
        await until_idle(rig, idle_tasks)
        grown: Counter[str] = Counter()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while (grown := objects() - before).total() >= SPARE_OBJECTS or descriptors() > open_files + 2:
                    await asyncio.sleep(0.2)
        assert rig.script.cancelled.is_set()
        assert grown.total() < SPARE_OBJECTS, grown.most_common(5)
        assert descriptors() <= open_files + 2
        grown_bytes = resident_bytes() - resident
        assert grown_bytes < 16 * MEBIBYTE
        record_property("grown_bytes", grown_bytes)
