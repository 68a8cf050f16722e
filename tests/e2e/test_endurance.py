"""Nothing grows with the number of jobs: no memory, no open files, nothing left behind."""

from __future__ import annotations

import asyncio
import io
import json
import time
import wave
from pathlib import Path

import minio
import pytest
from visema_client import AsyncVisema, VideoSettings
from visema_client.cli.demo import SAMPLES
from visema_client.localstack import LocalStack

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

AT_ONCE = 4  # before the first look, so that pools are as large as they get
JOBS = 12
GROWTH_FILES = JOBS // 2  # one leaked by each job would be twice that
GROWTH_MIB = 32.0  # far below the frames of twelve jobs
SMALL = VideoSettings(size_px=256)
PATIENCE_S = 60.0


def speech(seconds: float = 0.4) -> bytes:
    """The beginning of the sample's speech."""
    with wave.open(str(SAMPLES / "speech.wav"), "rb") as source:
        form, samples = source.getparams(), source.readframes(round(seconds * source.getframerate()))
    with wave.open(buffer := io.BytesIO(), "wb") as target:
        target.setparams(form)
        target.writeframes(samples)
    return buffer.getvalue()


def open_files(stack: LocalStack) -> dict[str, int]:
    return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in stack.pids.items() if name != "store"}


def resident_mib(stack: LocalStack) -> dict[str, float]:
    status = {name: Path(f"/proc/{pid}/status").read_text() for name, pid in stack.pids.items() if name != "store"}
    return {name: int(text.partition("VmRSS:")[2].split()[0]) / 1024 for name, text in status.items()}


def temporary_objects(stack: LocalStack) -> list[str]:
    keys = json.loads((stack.folder / "credentials.json").read_text())
    store = minio.Minio(stack.store_endpoint.removeprefix("http://"), **keys, secure=False, region="us-east-1")
    return [entry.object_name or "" for entry in store.list_objects("visema", "jobs/", recursive=True)]


def scratch_files(stack: LocalStack) -> list[Path]:
    return [path for path in (stack.folder / "tmp").rglob("*") if path.is_file()]


async def test_many_jobs_leave_no_memory_no_open_files_and_no_objects(running_stack: LocalStack) -> None:
    content = speech()
    async with AsyncVisema(running_stack.address) as client:

        async def make() -> None:
            await client.generate(SAMPLES / "portrait.jpg", content, settings=SMALL)

        await asyncio.gather(*(make() for _ in range(AT_ONCE)))
        files, memory = open_files(running_stack), resident_mib(running_stack)
        for _ in range(JOBS):
            await make()
    grown_files = {name: count - files[name] for name, count in open_files(running_stack).items()}
    grown_mib = {name: mib - memory[name] for name, mib in resident_mib(running_stack).items()}
    assert max(grown_files.values()) < GROWTH_FILES, grown_files
    assert max(grown_mib.values()) < GROWTH_MIB, grown_mib

    give_up = time.monotonic() + PATIENCE_S
    while temporary_objects(running_stack) or scratch_files(running_stack):  # they go right after a job's end
        assert time.monotonic() < give_up, (temporary_objects(running_stack), scratch_files(running_stack))
        await asyncio.sleep(0.05)
