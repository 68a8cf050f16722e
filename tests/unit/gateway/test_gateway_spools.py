"""Received files: in memory while they are small, else on disk, and on to the orchestrator as they came."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from support.full_disk import full_disk
from support.gateway import serving
from visema_client.media import KnownFile
from visema_gateway.api.spools import IN_MEMORY_BYTES, Spools
from visema_kit.errors import ScratchFull


async def filled(spools: Spools, size_bytes: int) -> tuple[object, bytes]:
    spool = spools.open()
    content = os.urandom(size_bytes)
    for start in range(0, size_bytes, 50_000):
        spool.take(content[start : start + 50_000])
        await spools.settle()
    assert spool.size_bytes == size_bytes
    return await spool.received(), content


async def test_small_files_stay_in_memory_and_large_ones_are_hashed_while_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spools = Spools()
    small, content = await filled(spools, IN_MEMORY_BYTES)
    assert small == content
    assert list(tmp_path.iterdir()) == []
    for size_bytes in (IN_MEMORY_BYTES + 1, 3 * IN_MEMORY_BYTES):
        large, content = await filled(spools, size_bytes)
        assert isinstance(large, KnownFile)
        assert large.path.read_bytes() == content
        assert (large.size_bytes, large.sha256) == (size_bytes, hashlib.sha256(content).hexdigest())
    await spools.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_file_for_which_the_disk_has_no_room_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where room is left for a part of what is written last."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for size_bytes in (IN_MEMORY_BYTES + 50_000, 2 * IN_MEMORY_BYTES):
        spools = Spools()
        with full_disk(os.getpid(), IN_MEMORY_BYTES + 25_000), pytest.raises(ScratchFull, match="gateway's disk"):
            await filled(spools, size_bytes)
        await spools.close()
    assert list(tmp_path.iterdir()) == []


async def test_files_reach_the_orchestrator_as_they_came_and_leave_nothing_behind(
    web: httpx.AsyncClient,
    orchestrator: tuple[str, FakeOrchestrator],
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    script.uploads_together = 2
    picture, speech = os.urandom(2 * IN_MEMORY_BYTES), os.urandom(20_000)
    for files in ({"image": picture, "audio": speech}, {"audio": picture + speech, "image": speech}):
        reply = await web.post("/generate", files={name: (name, content) for name, content in files.items()})
        assert reply.status_code == 202, reply.text
        spec = list(orchestrator[1].jobs.values())[-1].spec
        assert orchestrator[1].objects[spec.portrait.key] == files["image"]
        assert orchestrator[1].objects[spec.audio.key] == files["audio"]
        script.calls.clear()
    assert list(folder.iterdir()) == []


async def test_a_file_that_is_too_large_names_its_field_and_the_limit(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, image_max_bytes=1000) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as web,
    ):
        reply = await web.post("/v1/avatars", files={"image": ("p.jpg", bytes(1001))})
    assert reply.status_code == 413
    assert (reply.json()["field"], reply.json()["metadata"]["max_bytes"]) == ("image", "1000")
