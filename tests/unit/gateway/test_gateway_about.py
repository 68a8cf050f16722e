"""What the gateway says about itself."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from grpc_health.v1 import health, health_pb2
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema.speech.v1 import speech_pb2
from visema_gateway.core.health import SPEECH

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


async def test_voices_come_from_the_orchestrator_where_it_can_speak(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path, script: Script
) -> None:
    address, fake = orchestrator
    fake.voices += [
        speech_pb2.Voice(voice_id=f"voice-{number}", display_name="Voice", languages=[language], engine="embedded")
        for number, language in enumerate(("en", "de", "en"))
    ]
    for can_speak, names in ((False, []), (True, ["voice-0", "voice-2"])):
        if can_speak:
            await fake.health.set(SPEECH, health_pb2.HealthCheckResponse.SERVING)
        async with (
            serving(address, tmp_path) as url,
            httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as web,
        ):
            assert (await web.get("/config")).json()["text_to_speech"] is can_speak
            reply = await web.get("/v1/voices?language=en", headers={"Authorization": f"Bearer {TOKEN}"})
            assert [voice["id"] for voice in reply.json()["voices"]] == names
    assert script.tokens == {f"Bearer {TOKEN}"}  # the orchestrator decides who may know them


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
