"""Keys and tokens never reach a log, at the most talkative level and through faults."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from harness import Client, orchestrator_process, reason_of
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.objects import StoreConfig

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TOKEN, WRONG_TOKEN = "token-of-the-right-tenant", "token-that-nobody-has"


async def test_no_key_token_or_signed_address_is_in_the_log(
    variables: dict[str, str], stages: FakeStages, store_config: StoreConfig, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({TOKEN: "alice"}))
    talkative = {**variables, "VISEMA_TOKENS_FILE": str(tokens), "VISEMA_LOG_LEVEL": "DEBUG"}
    with orchestrator_process(talkative, tmp_path) as process:
        client = Client(await process.address(), TOKEN)
        stranger = Client(await process.address(), WRONG_TOKEN)
        job = await client.create(await client.spec(seconds=1))
        ended = await client.wait(job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
        signature = (await client.get(job.job_id)).result.download_url.rpartition("X-Amz-Signature=")[2]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stranger.get(job.job_id)
        assert reason_of(caught.value) == "UNAUTHENTICATED"
        stages.lips.break_after = [0]  # a fault on the way, which is logged
        await client.wait((await client.create(await client.spec(seconds=1))).job_id)
        for opened in (client, stranger):
            await opened.close()
        assert await process.terminate() == 0
        log = process.log_path.read_text()
    assert job.job_id in log, "nothing was logged at all"
    assert len(signature) == 64
    for secret in (TOKEN, WRONG_TOKEN, store_config.secret_key, signature):
        assert secret not in log
