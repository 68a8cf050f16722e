"""Runs an orchestrator in this process or as one of its own, and talks to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import minio
import numpy as np
from stage_fakes import FakeStages
from support.full_disk import full_disk
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import (
    avatars_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    media_pb2,
    media_pb2_grpc,
)
from visema_kit.channel import open_channel
from visema_kit.objects import StoreConfig
from visema_kit.server import serve
from visema_media.audio import write_wav
from visema_orchestrator.app import Orchestrator
from visema_orchestrator.settings import OrchestratorSettings

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
ENDED = {jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED}


def speech_wav(seconds: float, seed: int = 0) -> bytes:
    """Noise of some length, 16 kHz."""
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, (1, round(16_000 * seconds))).astype(np.float32)
    return write_wav(samples, 16_000)


class Client:
    """Stubs and a few shortcuts, with the token of one tenant."""

    def __init__(self, address: str, token: str = "") -> None:
        self.channel = open_channel(address)
        self.jobs = jobs_pb2_grpc.JobServiceStub(self.channel)
        self.avatars = avatars_pb2_grpc.AvatarServiceStub(self.channel)
        self.media = media_pb2_grpc.MediaServiceStub(self.channel)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    async def upload(self, content: bytes, kind: int) -> common_pb2.ObjectRef:
        async def requests():
            yield media_pb2.UploadRequest(header=media_pb2.UploadHeader(kind=kind, size_bytes=len(content)))
            for start in range(0, len(content), 1 << 18):
                yield media_pb2.UploadRequest(chunk=content[start : start + (1 << 18)])

        return (await self.media.Upload(requests(), metadata=self.metadata, timeout=PATIENCE_S)).object

    async def portrait(self, content: bytes = b"") -> common_pb2.ObjectRef:
        return await self.upload(content or uuid.uuid4().bytes, media_pb2.MEDIA_KIND_PORTRAIT)

    async def audio(self, seconds: float = 2.0) -> common_pb2.ObjectRef:
        return await self.upload(speech_wav(seconds), media_pb2.MEDIA_KIND_AUDIO)

    async def spec(self, seconds: float = 2.0) -> jobs_pb2.JobSpec:
        """A job with a portrait that nobody used before."""
        return jobs_pb2.JobSpec(portrait=await self.portrait(), audio=await self.audio(seconds))

    async def create(self, spec: jobs_pb2.JobSpec, request_id: str = "") -> jobs_pb2.Job:
        request = jobs_pb2.CreateJobRequest(spec=spec, request_id=request_id)
        return (await self.jobs.CreateJob(request, metadata=self.metadata, timeout=PATIENCE_S)).job

    async def get(self, job_id: str) -> jobs_pb2.Job:
        request = jobs_pb2.GetJobRequest(job_id=job_id)
        return (await self.jobs.GetJob(request, metadata=self.metadata, timeout=PATIENCE_S)).job

    async def wait(self, job_id: str, timeout_s: float = PATIENCE_S) -> jobs_pb2.Job:
        """The job once it has ended."""
        async with asyncio.timeout(timeout_s):
            async for event in self.watch(job_id):
                if event.job.state in ENDED:
                    return event.job
        raise AssertionError("the stream ended before the job")

    def watch(self, job_id: str, after: int = 0):
        request = jobs_pb2.WatchJobRequest(job_id=job_id, after_sequence=after)
        return self.jobs.WatchJob(request, metadata=self.metadata)

    async def until(self, job_id: str, state: int) -> jobs_pb2.Job:
        async with asyncio.timeout(PATIENCE_S):
            async for event in self.watch(job_id):
                if event.job.state == state:
                    return event.job
        raise AssertionError("the job never came there")

    async def close(self) -> None:
        await self.channel.close()


def environment(stages: FakeStages, store: StoreConfig, database_url: str, **settings: object) -> dict[str, str]:
    """Variables of an orchestrator."""
    values = {
        "listen": "127.0.0.1:0",
        "s3_endpoint": store.endpoint,
        "s3_access_key": store.access_key,
        "s3_secret_key": store.secret_key,
        "s3_bucket": store.bucket,
        "s3_region": store.region,
        "database_url": database_url,
        **{f"{name}_address": address for name, address in stages.addresses.items()},
        **settings,
    }
    return {f"VISEMA_{name.upper()}": str(value) for name, value in values.items()}


@asynccontextmanager
async def orchestrator_here(variables: dict[str, str]) -> AsyncIterator[str]:
    """An orchestrator on this event loop. Yields: its address."""
    names = {name.removeprefix("VISEMA_").lower(): value for name, value in variables.items()}
    settings = OrchestratorSettings(**names)
    async with serve(Orchestrator(settings).spec()) as running:
        yield running.address


class OrchestratorProcess:
    """An orchestrator as a process of its own, which can be killed."""

    def __init__(self, variables: dict[str, str], folder: Path, name: str) -> None:
        self.port_file = folder / f"{name}-{uuid.uuid4().hex}.json"
        self.log_path = folder / f"{name}.log"
        self._log = self.log_path.open("ab")
        self._writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=self._log)  # has a disk of its own
        self.process = subprocess.Popen(
            [sys.executable, "-m", "visema_orchestrator"],
            env={**os.environ, **variables, "VISEMA_PORT_FILE": str(self.port_file)},
            stdout=self._writer.stdin,
            stderr=self._writer.stdin,
        )

    def full_disk(self) -> AbstractContextManager[None]:
        """In the block its disk is full."""
        return full_disk(self.process.pid)

    async def address(self, timeout_s: float = PATIENCE_S) -> str:
        """Where it serves, once it does."""
        async with asyncio.timeout(timeout_s):
            while not self.port_file.exists():
                if self.process.poll() is not None:
                    raise AssertionError(f"it ended: {self.log_path.read_text()[-2000:]}")
                await asyncio.sleep(0.01)
        return json.loads(self.port_file.read_text())["grpc"]

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, PATIENCE_S)

    async def terminate(self) -> int:
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        self._writer.communicate(timeout=PATIENCE_S)
        self._log.close()


@contextmanager
def orchestrator_process(
    variables: dict[str, str], folder: Path, name: str = "orchestrator"
) -> Iterator[OrchestratorProcess]:
    process = OrchestratorProcess(variables, folder, name)
    try:
        yield process
    finally:
        process.close()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """ErrorInfo.reason of a failed call."""
    from visema_kit.status import from_rpc_error

    return from_rpc_error(error).reason


def keys_below(store: StoreConfig, prefix: str) -> list[str]:
    """Keys that exist below a prefix."""
    client = minio.Minio(
        urlsplit(store.endpoint).netloc,
        access_key=store.access_key,
        secret_key=store.secret_key,
        secure=False,
        region=store.region,
    )
    return [entry.object_name for entry in client.list_objects(store.bucket, prefix, recursive=True)]


async def no_temporary_objects(store: StoreConfig, job_id: str, tenant: str = "default") -> None:
    """Wait until nothing of a job is left below `jobs/`: it goes right after the job's last event."""
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(keys_below, store, f"jobs/{tenant}/{job_id}/"):
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.01)
