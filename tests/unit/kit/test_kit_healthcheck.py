"""The containers' health check, against a real server."""

from __future__ import annotations

import asyncio
import sys

import pytest
from visema_kit.healthcheck import address_to_ask, health_of
from visema_kit.server import ServiceSpec, serve
from visema_kit.settings import ServiceSettings

S3 = {"s3_endpoint": "http://127.0.0.1:1", "s3_access_key": "a", "s3_secret_key": "b"}


def spec(started: asyncio.Event | None = None) -> ServiceSpec:
    async def start() -> None:
        if started is not None:
            await started.wait()

    settings = ServiceSettings(listen="127.0.0.1:0", metrics_listen="off", grace_s=0, **S3)
    return ServiceSpec("checked", ["test.Checked"], lambda _: None, settings, on_start=start)


async def run_check(listen: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "visema_kit.healthcheck"),
        env={"VISEMA_LISTEN": listen},
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, stderr.decode()


async def test_a_serving_service_is_healthy():
    async with serve(spec()) as running:
        assert await asyncio.to_thread(health_of, running.address, 60) == "SERVING"
        async with asyncio.timeout(60):  # a check may be late on a busy machine; containers count several, too
            while (answer := await run_check(running.address)) == (1, "DEADLINE_EXCEEDED\n"):
                pass
        assert answer == (0, "")


async def test_an_address_without_a_server_is_unhealthy():
    status, reason = await run_check("127.0.0.1:1")
    assert status == 1
    assert reason.strip() == "UNAVAILABLE"


def test_all_interfaces_are_asked_on_the_loopback_one():
    assert address_to_ask({"VISEMA_LISTEN": "0.0.0.0:50051"}) == "127.0.0.1:50051"
    assert address_to_ask({"VISEMA_LISTEN": "[::]:50051"}) == "[::1]:50051"


def test_the_plaintext_health_port_comes_first():
    variables = {"VISEMA_LISTEN": "0.0.0.0:50051", "VISEMA_HEALTH_LISTEN": "0.0.0.0:50052", "VISEMA_TLS_CERT": "x"}
    assert address_to_ask(variables) == "127.0.0.1:50052"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "VISEMA_LISTEN is not set"),
        ({"VISEMA_LISTEN": "127.0.0.1:0"}, "no fixed port"),
        ({"VISEMA_LISTEN": "127.0.0.1:1", "VISEMA_TLS_CERT": "x"}, "VISEMA_HEALTH_LISTEN"),
        ({"VISEMA_LISTEN": "nonsense"}, "must look like"),
    ],
)
def test_an_environment_that_names_no_address_says_why(variables: dict[str, str], words: str):
    with pytest.raises(ValueError, match=words):
        address_to_ask(variables)
