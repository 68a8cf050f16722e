"""Clients of the orchestrator may look at portraits, in the name of their own tenant only, and animate none."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from harness import Client, orchestrator_here, reason_of
from stage_fakes import FakeStages
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import jobs_pb2
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc

STRANGER = common_pb2.WorkContext(tenant="somebody-else", work_id="theirs")


def inspected(stages: FakeStages) -> list[portrait_pb2.InspectRequest]:
    return [request for request in stages.portrait.opened if isinstance(request, portrait_pb2.InspectRequest)]


async def test_a_portrait_is_looked_at_for_the_callers_tenant_and_once(client: Client, stages: FakeStages) -> None:
    look = portrait_pb2_grpc.PortraitAnimationServiceStub(client.channel).Inspect
    request = portrait_pb2.InspectRequest(context=STRANGER, portrait=await client.portrait())
    shown = await look(request, timeout=60)
    assert (shown.width_px, len(shown.faces)) == (8, 1)
    assert [seen.context.tenant for seen in inspected(stages)] == ["default"]
    spec = jobs_pb2.JobSpec(portrait=request.portrait, audio=await client.audio())
    await client.wait((await client.create(spec)).job_id)
    assert len(inspected(stages)) == 1  # the job found the answer known


async def test_what_a_picture_lacks_is_said_as_for_a_job(client: Client) -> None:
    stub = portrait_pb2_grpc.PortraitAnimationServiceStub(client.channel)
    request = portrait_pb2.InspectRequest(context=STRANGER, portrait=await client.portrait(b"nobody"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Inspect(request, timeout=60)
    assert reason_of(caught.value) == "NO_FACE_FOUND"
    wish = portrait_pb2.AnimateRequest(
        context=STRANGER,
        portrait=request.portrait,
        size_px=256,
        frame_rate=common_pb2.FrameRate(numerator=25, denominator=1),
        frame_count=1,
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [reply async for reply in stub.Animate(wish, timeout=60)]
    assert reason_of(caught.value) == "PRECONDITION_FAILED"


async def test_another_tenants_picture_cannot_be_looked_at(variables: dict[str, str], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"token-of-the-first-one": "first", "token-of-the-second": "second"}))
    async with orchestrator_here({**variables, "VISEMA_TOKENS_FILE": str(tokens)}) as address:
        first, second = Client(address, "token-of-the-first-one"), Client(address, "token-of-the-second")
        context = common_pb2.WorkContext(tenant="first", work_id="mine")
        request = portrait_pb2.InspectRequest(context=context, portrait=await first.portrait())
        look = portrait_pb2_grpc.PortraitAnimationServiceStub(second.channel).Inspect
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await look(request, metadata=second.metadata, timeout=60)
        assert reason_of(caught.value) == "FOREIGN_OBJECT"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await look(request, timeout=60)
        assert reason_of(caught.value) == "UNAUTHENTICATED"
        await first.close()
        await second.close()
