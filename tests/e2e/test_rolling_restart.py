"""Every service is restarted while videos are made: whoever uses the SDK notices nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from support.real_stack import ORCHESTRATOR, PATIENCE_S, SERVICES, SPEECH, STAGES, RealStack, running_stack_of
from support.seaweed import S3Server
from visema_client import AsyncVisema, VideoSettings
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("processes")]

CLIENTS = 3  # one more than the orchestrator has slots: there is always one that waits


@pytest.fixture(scope="module")
def speaking(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """All services, the one for text included."""
    folder = tmp_path_factory.mktemp("speaking")
    with running_stack_of(RealStack(folder, s3_server, services=(*SERVICES, SPEECH))) as stack:
        yield stack


@pytest.mark.parametrize("name", [*STAGES, SPEECH, ORCHESTRATOR])
async def test_a_restart_under_load_is_seen_by_nobody(speaking: RealStack, name: str) -> None:
    """Videos of recorded speech; of texts, each another one, where the service for text is restarted."""
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
                None if name == SPEECH else SAMPLES / "speech.wav",
                text=f"This is video number {settings.seed}." if name == SPEECH else None,
                settings=settings,
                on_progress=lambda progress: begun.set() if progress.percent > 0 else None,
            )
            made.append(len(await video.read()))
            if last:
                return

    async with asyncio.timeout(PATIENCE_S), AsyncVisema(speaking.address) as client, asyncio.TaskGroup() as load:
        for number in range(CLIENTS):
            load.create_task(make_videos(client, number))
        await begun.wait()
        assert await speaking.terminate(name) == 0, speaking.log(name)
        speaking.start(name)
        await speaking.ready(name)
        restarted.set()
    assert len(made) >= 2 * CLIENTS
    assert all(made)
