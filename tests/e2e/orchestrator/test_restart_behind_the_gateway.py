"""History, avatars and videos outlive a restart of orchestrator and gateway: what a person finds is the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from harness import orchestrator_here, speech_wav
from support.gateway import serving

PICTURE = b"\xff\xd8\xff a picture"


@asynccontextmanager
async def both(variables: dict[str, str], folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Orchestrator and gateway over the databases of `folder`."""
    async with (
        orchestrator_here(variables) as address,
        serving(address, folder) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as web,
    ):
        yield web


async def seen(web: httpx.AsyncClient) -> dict[str, object]:
    """Avatars, their history, jobs, and the bytes of the picture and the video."""
    avatars = (await web.get("/avatar")).json()
    number = avatars[0]["id"]
    animations = (await web.get(f"/avatar/{number}/animations")).json()
    jobs = (await web.get("/v1/jobs")).json()["jobs"]
    return {
        "avatars": [(avatar["id"], avatar["name"], avatar["createdAt"]) for avatar in avatars],
        "animations": [(entry["id"], entry["avatarId"], entry["status"]) for entry in animations],
        "jobs": [(job["id"], job["state"], job["created_at"], job["ended_at"]) for job in jobs],
        "picture": (await web.get(f"/avatar/{number}/image")).content,
        "video": (await web.get(f"/avatar/animations/{animations[0]['id']}/video")).content,
    }


async def test_history_avatars_and_videos_survive_a_restart(variables: dict[str, str], tmp_path: Path) -> None:
    async with both(variables, tmp_path) as web:
        made = await web.post("/avatar/upload", files={"image": ("p.jpg", PICTURE)}, data={"name": "Anna"})
        number = made.raise_for_status().json()["id"]
        speech = {"audio": ("a.wav", speech_wav(1.0))}
        (await web.post("/avatar/animate", files=speech, data={"avatarId": number})).raise_for_status()
        job_id = (await web.get("/v1/jobs")).json()["jobs"][0]["id"]
        (await web.get(f"/v1/jobs/{job_id}/events")).raise_for_status()  # ends with the job
        before = await seen(web)
    assert before["animations"] == [(1, number, "completed")]
    assert before["picture"] == PICTURE
    assert before["video"]
    async with both(variables, tmp_path) as web:
        assert await seen(web) == before
