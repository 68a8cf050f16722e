"""Every service is restarted while videos are made: whoever uses the SDK notices nothing."""

from __future__ import annotations

import asyncio

import pytest
from support.real_stack import ORCHESTRATOR, PATIENCE_S, STAGES, RealStack
from visema_client import AsyncVisema, VideoSettings
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("processes")]

CLIENTS = 3  # one more than the orchestrator has slots: there is always one that waits


@pytest.mark.parametrize("name", [*STAGES, ORCHESTRATOR])
async def test_a_restart_under_load_is_seen_by_nobody(services: RealStack, name: str) -> None:
    restarted = asyncio.Event()
    begun = asyncio.Event()
    made: list[int] = []

    async def make_videos(client: AsyncVisema, number: int) -> None:
        """One after the other, until the restart is over and one more is made."""
        while True:
            last = restarted.is_set()
            settings = VideoSettings(size_px=256, seed=100 * len(made) + number)
            video = await client.generate(
                SAMPLES / "portrait.jpg",
                SAMPLES / "speech.wav",
                settings=settings,
                on_progress=lambda progress: begun.set() if progress.percent > 0 else None,
            )
            made.append(len(await video.read()))
            if last:
                return

    async with asyncio.timeout(PATIENCE_S), AsyncVisema(services.address) as client, asyncio.TaskGroup() as load:
        for number in range(CLIENTS):
            load.create_task(make_videos(client, number))
        await begun.wait()
        assert await services.terminate(name) == 0, services.log(name)
        services.start(name)
        await services.ready(name)
        restarted.set()
    assert len(made) >= 2 * CLIENTS
    assert all(made)
