"""HTTPS towards browsers and TLS towards the orchestrator are two things, with certificates of their own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema.orchestrator.v1 import jobs_pb2, jobs_pb2_grpc, media_pb2_grpc
from visema_gateway.settings import GatewaySettings
from visema_kit.interceptors import CallInterceptor
from visema_kit.metrics import Metrics
from visema_kit.settings import load_settings

FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}


def written(folder: Path, name: str, authority: trustme.CA) -> dict[str, Path]:
    """Certificate, key and CA as files."""
    issued = authority.issue_cert("127.0.0.1")
    paths = {part: folder / f"{name}-{part}.pem" for part in ("cert", "key", "ca")}
    issued.private_key_pem.write_to_path(paths["key"])
    authority.cert_pem.write_to_path(paths["ca"])
    for pem in issued.cert_chain_pems:
        pem.write_to_path(paths["cert"], append=True)
    return paths


@asynccontextmanager
async def serve_mutually(files: dict[str, Path]) -> AsyncIterator[str]:
    """An orchestrator that asks for a certificate of its own CA. Yields: its address."""
    pair = (files["key"].read_bytes(), files["cert"].read_bytes())
    mutual = grpc.ssl_server_credentials([pair], files["ca"].read_bytes(), require_client_auth=True)
    interceptor = CallInterceptor(Metrics())
    interceptor.ready = True
    server = grpc.aio.server(interceptors=[interceptor])
    fake = FakeOrchestrator(Script())
    jobs_pb2_grpc.add_JobServiceServicer_to_server(fake, server)
    media_pb2_grpc.add_MediaServiceServicer_to_server(fake, server)
    port = server.add_secure_port("127.0.0.1:0", mutual)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


def client(url: str, authority: trustme.CA) -> httpx.AsyncClient:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return httpx.AsyncClient(base_url=url, verify=context, timeout=60, trust_env=False)


async def status_of_generate(url: str, authority: trustme.CA) -> int:
    async with client(url, authority) as web:
        return (await web.post("/generate", files=FILES)).status_code


async def test_https_for_browsers_says_nothing_about_the_orchestrator(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    public = trustme.CA()
    files = written(tmp_path, "public", public)
    async with serving(orchestrator[0], tmp_path, tls_cert=files["cert"], tls_key=files["key"]) as url:
        assert url.startswith("https://")
        assert await status_of_generate(url, public) == 202
        large = jobs_pb2.Job(job_id="large", state=jobs_pb2.JOB_STATE_SUCCEEDED)
        large.result.video.CopyFrom(orchestrator[1].store(bytes(16 << 20), "video/mp4"))
        orchestrator[1].jobs["large"] = large
        async with client(url, public) as web:
            assert len((await web.get("/download/large")).content) == 16 << 20


async def test_the_orchestrator_is_shown_the_clients_certificate_and_not_that_of_the_page(tmp_path: Path) -> None:
    public, inner = trustme.CA(), trustme.CA()
    page, service = written(tmp_path, "public", public), written(tmp_path, "inner", inner)
    https = {"tls_cert": page["cert"], "tls_key": page["key"], "tls_ca": service["ca"]}
    shown = {"client_cert": service["cert"], "client_key": service["key"]}
    async with serve_mutually(service) as address:
        async with serving(address, tmp_path, **https, **shown) as url:
            assert await status_of_generate(url, public) == 202
        async with serving(address, tmp_path, **https) as url:  # it cannot call without one
            assert await status_of_generate(url, public) == 503


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["client_cert"], "VISEMA_CLIENT_CERT: needs VISEMA_TLS_CA"),
        (["client_cert", "tls_ca"], "VISEMA_CLIENT_KEY: is not set, but VISEMA_CLIENT_CERT is"),
        (["client_key"], "VISEMA_CLIENT_KEY: needs VISEMA_CLIENT_CERT"),
        (["client_cert", "client_key"], "VISEMA_CLIENT_CERT: needs VISEMA_TLS_CA"),
        (["tls_cert"], "VISEMA_TLS_KEY: is not set, but VISEMA_TLS_CERT is"),
        (["tls_key"], "VISEMA_TLS_KEY: needs VISEMA_TLS_CERT"),
    ],
)
def test_half_a_certificate_is_named_with_every_other_mistake(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    complaint: str,
) -> None:
    files = written(tmp_path, "some", trustme.CA())
    monkeypatch.delenv("VISEMA_ORCHESTRATOR_ADDRESS", raising=False)
    for name in given:
        monkeypatch.setenv(f"VISEMA_{name.upper()}", str(files[name.partition("_")[2]]))
    with pytest.raises(SystemExit):
        load_settings(GatewaySettings)
    assert set(capsys.readouterr().err.splitlines()) == {complaint, "VISEMA_ORCHESTRATOR_ADDRESS: is not set"}
