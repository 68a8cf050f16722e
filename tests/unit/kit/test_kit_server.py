"""A server in this process: health, reflection, metrics, the plaintext health port, TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
import urllib3
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.ports import free_ports
from support.servicers import SERVICES, Script, inspect_request, running_rig, settings, spec_of
from visema.portrait.v1 import portrait_pb2_grpc
from visema_kit.channel import TlsFiles, open_channel
from visema_kit.errors import StageUnavailable
from visema_kit.server import serve
from visema_kit.status import from_rpc_error

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, service: str = "") -> Any:
    reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return reply.status


async def inspect(channel: grpc.aio.Channel, **options: Any) -> Any:
    return await portrait_pb2_grpc.PortraitAnimationServiceStub(channel).Inspect(inspect_request(), **options)


async def test_each_service_reports_its_health_by_name() -> None:
    async with running_rig() as rig:
        for name in ("", *SERVICES):
            assert await health(rig.channel, name) == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(rig.channel, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services() -> None:
    async with running_rig() as rig:
        stub = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (reply,) = [reply async for reply in stub.ServerReflectionInfo(iter([request]))]
        assert {service.name for service in reply.list_services_response.service} >= set(SERVICES)


async def test_metrics_are_served_until_the_end() -> None:
    async with running_rig() as rig:
        await inspect(rig.channel)
        url = f"http://{rig.running.metrics_address}/metrics"
        text = (await asyncio.to_thread(urllib3.request, "GET", url)).data.decode()
    assert 'visema_build_info{python="3' in text
    assert 'service="test"' in text
    assert 'visema_slo_target_seconds{stage="encoder"} 0.5' in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(urllib3.exceptions.HTTPError):
        await asyncio.to_thread(urllib3.request, "GET", url, retries=False)


async def test_listeners_can_be_off() -> None:
    async with running_rig(settings=settings(metrics_listen="off")) as rig:
        assert (rig.running.metrics_address, rig.running.health_address) == ("", "")


async def test_before_the_start_hook_is_done_nothing_is_served(tmp_path: Path) -> None:
    loading, loaded = asyncio.Event(), asyncio.Event()

    async def load() -> None:
        loading.set()
        await loaded.wait()

    address = f"127.0.0.1:{free_ports(1)[0]}"
    port_file = tmp_path / "port.json"
    spec = spec_of(Script(), on_start=load, settings=settings(listen=address, port_file=port_file))

    async def until_served() -> None:
        async with serve(spec):
            assert json.loads(port_file.read_text())["grpc"] == address
            assert await health(channel) == SERVING
            await inspect(channel)

    async with open_channel(address) as channel:
        serving = asyncio.create_task(until_served())
        await loading.wait()
        assert await health(channel, SERVICES[0]) == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await inspect(channel)
        error = from_rpc_error(caught.value)
        assert type(error) is StageUnavailable
        assert error.retry_after_s > 0
        assert not port_file.exists()
        loaded.set()
        await serving
    assert not port_file.exists()


async def test_a_start_hook_that_fails_closes_everything() -> None:
    stopped = False

    async def fail() -> None:
        raise FileNotFoundError("no checkpoint")

    async def stop() -> None:
        nonlocal stopped
        stopped = True

    address = f"127.0.0.1:{free_ports(1)[0]}"
    for _ in range(2):  # the second time shows that the port is free again
        with pytest.raises(FileNotFoundError):
            async with serve(spec_of(Script(), on_start=fail, on_stop=stop, settings=settings(listen=address))):
                pass
    assert not stopped


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with running_rig() as rig:
        with pytest.raises(OSError, match="cannot listen"):
            async with serve(spec_of(Script(), settings=settings(listen=rig.running.address))):
                pass


async def test_a_running_call_is_finished_and_a_health_watch_is_not_waited_for() -> None:
    script = Script()
    release = asyncio.Event()

    async def act() -> None:
        script.entered.set()
        await release.wait()

    script.act = act  # type: ignore[method-assign]
    spec = spec_of(script, settings=settings(grace_s=60))
    stack = serve(spec)
    running = await stack.__aenter__()
    async with open_channel(running.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert (await watch.read()).status == SERVING
        call = asyncio.create_task(inspect(channel))
        await script.entered.wait()
        closing = asyncio.create_task(stack.__aexit__(None, None, None))
        assert (await watch.read()).status == NOT_SERVING
        assert not closing.done()
        release.set()
        assert (await call).width_px == 1
        await asyncio.wait_for(closing, 60)


async def test_the_drain_hook_ends_calls_that_would_last_and_nobody_waits_for_them() -> None:
    script = Script()
    leave = asyncio.Event()

    async def act() -> None:
        script.entered.set()
        await leave.wait()

    async def drain() -> None:
        leave.set()

    script.act = act  # type: ignore[method-assign]
    stack = serve(spec_of(script, on_drain=drain, settings=settings(grace_s=3600)))
    running = await stack.__aenter__()
    async with open_channel(running.address) as channel:
        call = asyncio.create_task(inspect(channel))
        await script.entered.wait()
        await asyncio.wait_for(stack.__aexit__(None, None, None), 60)
        assert (await call).width_px == 1


async def test_a_call_beyond_the_grace_is_cut() -> None:
    script = Script(hang=True)
    stack = serve(spec_of(script, settings=settings(grace_s=0.2)))
    running = await stack.__aenter__()
    async with open_channel(running.address) as channel:
        call = asyncio.create_task(inspect(channel))
        await script.entered.wait()
        await stack.__aexit__(None, None, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert from_rpc_error(caught.value).retryable
    assert script.cancelled.is_set()


# TLS


@dataclass
class Authority:
    """A CA and files made with it."""

    folder: Path
    ca: trustme.CA

    def ca_file(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return path

    def pair(self, name: str, *, expired: bool = False) -> tuple[Path, Path]:
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        made = self.ca.issue_cert(name, "127.0.0.1", "localhost", not_after=yesterday if expired else None)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(cert)
        made.private_key_pem.write_to_path(key)
        return cert, key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "ours"
    folder.mkdir()
    return Authority(folder, trustme.CA())


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    folder = tmp_path / "theirs"
    folder.mkdir()
    return Authority(folder, trustme.CA())


async def refused(address: str, tls: TlsFiles | None) -> None:
    async with open_channel(address, tls) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await inspect(channel, timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_tls_serves_those_who_trust_the_ca_and_nobody_in_plaintext(
    authority: Authority, stranger: Authority
) -> None:
    cert, key = authority.pair("server")
    async with serve(spec_of(Script(), settings=settings(tls_cert=cert, tls_key=key))) as running:
        async with open_channel(running.address, TlsFiles(ca=authority.ca_file())) as channel:
            assert (await inspect(channel)).width_px == 1
        await refused(running.address, None)
        await refused(running.address, TlsFiles(ca=stranger.ca_file()))


async def test_mtls_serves_only_clients_with_a_good_certificate(authority: Authority, stranger: Authority) -> None:
    cert, key = authority.pair("server")
    ca = authority.ca_file()
    tls = settings(tls_cert=cert, tls_key=key, tls_client_ca=ca, tls_ca=ca, health_listen="127.0.0.1:0")
    async with serve(spec_of(Script(), settings=tls)) as running:
        good = TlsFiles(ca, *authority.pair("client"))
        async with open_channel(running.address, good) as channel:
            assert (await inspect(channel)).width_px == 1
        async with open_channel(running.address, TlsFiles.from_settings(tls)) as channel:
            assert (await inspect(channel)).width_px == 1
        await refused(running.address, TlsFiles(ca))  # missing
        await refused(running.address, TlsFiles(ca, *stranger.pair("client")))  # of another CA
        await refused(running.address, TlsFiles(ca, *authority.pair("expired", expired=True)))
        await refused(running.address, None)

        async with open_channel(running.health_address) as channel:
            assert await health(channel, SERVICES[0]) == SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await inspect(channel)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_without_tls_settings_channels_are_plain() -> None:
    assert TlsFiles.from_settings(settings()) is None
