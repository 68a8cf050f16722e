"""A service as a real process: signals, exit codes, the port file, logs on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.servicers import SERVICES, animate_request
from visema.portrait.v1 import portrait_pb2_grpc
from visema_kit.channel import open_channel

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "kit_service.py"
PATIENCE_S = 60.0


@dataclass
class Service:
    """A running process and where it writes."""

    process: asyncio.subprocess.Process
    folder: Path

    @property
    def stopped_in_order(self) -> bool:
        return (self.folder / "stopped").exists()

    @property
    def settled_objects(self) -> int:
        """Objects that no collection looked at any more when it stopped."""
        return int((self.folder / "stopped").read_text())

    async def addresses(self) -> dict[str, Any]:
        path = self.folder / "port.json"
        async with asyncio.timeout(PATIENCE_S):
            while not path.exists():
                assert self.process.returncode is None, self.log()
                await asyncio.sleep(0.02)
        return json.loads(path.read_text())

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    def log(self) -> str:
        return (self.folder / "stdout").read_text() + (self.folder / "stderr").read_text()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in (self.folder / "stdout").read_text().splitlines()]


@asynccontextmanager
async def service(folder: Path, **variables: str) -> AsyncIterator[Service]:
    environment = {
        **os.environ,
        "VISEMA_S3_ENDPOINT": "http://127.0.0.1:1",
        "VISEMA_S3_ACCESS_KEY": "key",
        "VISEMA_S3_SECRET_KEY": "secret",
        "VISEMA_PORT_FILE": str(folder / "port.json"),
        "STOP_FILE": str(folder / "stopped"),
        **variables,
    }
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), env=environment, stdout=out, stderr=err
        )
    try:
        yield Service(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_says_not_serving_at_once_finishes_the_call_and_ends_with_0(
    number: signal.Signals, tmp_path: Path
) -> None:
    go_on = tmp_path / "go_on"
    async with service(tmp_path, CALL_UNTIL=str(go_on), VISEMA_GRACE_S="1000") as running:
        addresses = await running.addresses()
        assert addresses["pid"] == running.process.pid
        async with open_channel(addresses["grpc"]) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            stub = portrait_pb2_grpc.PortraitAnimationServiceStub(channel)
            call = stub.Animate(animate_request())
            assert (await call.read()).HasField("accepted")
            running.process.send_signal(number)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert not call.done()
            go_on.touch()
            assert (await call.read()).HasField("summary")
            assert await call.code() is grpc.StatusCode.OK
        assert await running.ended() == 0
        assert running.stopped_in_order
        assert not (tmp_path / "port.json").exists()
        events = running.events()
        assert events.index("signal") < events.index("draining") < events.index("rpc") < events.index("stopped")


async def test_collections_leave_what_was_loaded_at_the_start_alone(tmp_path: Path) -> None:
    async with service(tmp_path) as running:
        await running.addresses()
        running.process.terminate()
        assert await running.ended() == 0
        assert running.settled_objects > 10_000  # grpc and protobuf alone are more


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with service(tmp_path, CALL_UNTIL=str(tmp_path / "never"), VISEMA_GRACE_S="1000") as running:
        addresses = await running.addresses()
        async with open_channel(addresses["grpc"]) as channel:
            stub = portrait_pb2_grpc.PortraitAnimationServiceStub(channel)
            call = stub.Animate(animate_request())
            await call.read()
            running.process.terminate()
            async with asyncio.timeout(PATIENCE_S):
                while "draining" not in running.log():
                    await asyncio.sleep(0.02)
            running.process.terminate()
            await running.ended()
            with pytest.raises(grpc.aio.AioRpcError):
                await call.read()
        assert "stopped_at_once" in running.events()


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    async with service(tmp_path, START_S="1000") as running:
        async with asyncio.timeout(PATIENCE_S):
            while "listening" not in running.log():
                await asyncio.sleep(0.02)
        running.process.terminate()
        await running.ended()
        assert "stopped_at_once" in running.events()
        assert not running.stopped_in_order


async def test_a_start_that_fails_ends_with_1_and_the_log_says_why(tmp_path: Path) -> None:
    async with service(tmp_path, START_FAILS="yes") as running:
        assert await running.ended() == 1
        lines = [json.loads(line) for line in (tmp_path / "stdout").read_text().splitlines()]
        (failed,) = [line for line in lines if line["event"] == "service_failed"]
        assert "the checkpoint is missing" in failed["exception"]
        assert not (tmp_path / "port.json").exists()


async def test_bad_settings_end_with_2(tmp_path: Path) -> None:
    async with service(tmp_path, VISEMA_ENGINE="magic", VISEMA_LISTEN="here") as running:
        assert await running.ended() == 2
        errors = (tmp_path / "stderr").read_text()
        assert "VISEMA_ENGINE" in errors
        assert "VISEMA_LISTEN" in errors
