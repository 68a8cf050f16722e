"""Servers that stop at once, many of them: what grpc.aio frees must not be used again."""

from __future__ import annotations

import asyncio
import sys

from visema_kit.server import ServiceSpec, serve
from visema_kit.settings import ServiceSettings

STOPS = 400  # two stops with a grace beside each other crashed the process in a hundred or so


async def start_and_stop(times: int) -> None:
    own = {"s3_endpoint": "http://127.0.0.1:1", "s3_access_key": "a", "s3_secret_key": "b"}
    settings = ServiceSettings(listen="127.0.0.1:0", metrics_listen="off", grace_s=0, **own)
    for _ in range(times):
        async with serve(ServiceSpec("brief", ["test.Brief"], lambda _: None, settings)):
            pass


async def test_a_process_survives_the_end_of_its_servers() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


if __name__ == "__main__":
    asyncio.run(start_and_stop(STOPS))
