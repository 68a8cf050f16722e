"""What the gateway says about itself."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from grpc_health.v1 import health, health_pb2
from support.fake_orchestrator import FakeOrchestrator
from support.gateway import serving

SECRET = "a-secret-of-the-operator"
TOKEN = "a-token-of-a-client"
NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize("orchestrator_is", ["serving", "not_serving", "unreachable"])
async def test_health_tells_whether_jobs_can_be_made(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path, orchestrator_is: str
) -> None:
    address, fake = orchestrator
    if orchestrator_is == "not_serving":
        await fake.health.set(health.OVERALL_HEALTH, health_pb2.HealthCheckResponse.NOT_SERVING)
    async with (
        serving(NOWHERE if orchestrator_is == "unreachable" else address, tmp_path) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as web,
    ):
        reply = await web.get("/health")
    works = orchestrator_is == "serving"
    assert reply.status_code == (200 if works else 503)
    assert reply.json() == {"status": "ok" if works else "unavailable", "orchestrator": orchestrator_is}


async def test_what_needs_no_token_holds_no_secret(orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(f'{{"{TOKEN}": "team"}}')
    async with (
        serving(orchestrator[0], tmp_path, webhook_secret=SECRET, tokens_file=tokens) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as web,
    ):
        config = await web.get("/config")
        assert config.json()["limits"]["image_max_bytes"] == 5 * 1024 * 1024
        assert config.json()["tokens_needed"]
        assert config.json()["webhooks"]
        for reply in (config, await web.get("/health"), await web.get("/openapi.json"), await web.get("/")):
            assert reply.status_code == 200
            for secret in (SECRET, TOKEN, str(tmp_path)):
                assert secret not in reply.text
        assert (await web.get("/v1/jobs")).status_code == 401
