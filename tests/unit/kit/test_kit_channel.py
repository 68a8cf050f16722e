"""Channels to real servers: status, endings, balance."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import grpc
import pytest
from support.servicers import Script, animate_request, encode_requests, running_rig, upload_requests
from visema.encoding.v1 import encoding_pb2_grpc
from visema.orchestrator.v1 import media_pb2_grpc
from visema.portrait.v1 import portrait_pb2_grpc
from visema_kit.auth import TokenTable
from visema_kit.channel import CHANNEL_OPTIONS, ending, open_channel
from visema_kit.errors import QueueFull, StageUnavailable, Unauthenticated
from visema_kit.status import from_rpc_error

ROUNDS = 100
PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed


async def refusals(channel: grpc.aio.Channel) -> Counter[str]:
    """How a call ends that the server refuses while the client writes."""
    found: Counter[str] = Counter()
    for _ in range(ROUNDS):
        with ending(encoding_pb2_grpc.EncodingServiceStub(channel).Encode(iter(encode_requests() * 3))) as call:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in call:
                    pass
            found[type(from_rpc_error(caught.value)).__name__] += 1
    return found


async def test_an_early_refusal_is_not_lost_while_the_client_writes(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"x" * 16: "acme"}))
    async with running_rig(tokens=TokenTable(tokens)) as rig:
        assert await refusals(rig.channel) == {Unauthenticated.__name__: ROUNDS}
        async with grpc.aio.insecure_channel(rig.running.address, options=CHANNEL_OPTIONS) as plain:
            lost = await refusals(plain)
    if set(lost) == {Unauthenticated.__name__}:
        pytest.fail("grpc.aio keeps the status by itself now: _keeping in visema_kit.client_channel can go")


async def test_a_refused_upload_keeps_its_reason() -> None:
    async with running_rig(Script(error=QueueFull("later", retry_after_s=1.0))) as rig:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await media_pb2_grpc.MediaServiceStub(rig.channel).Upload(iter(upload_requests() * 50))
    assert type(from_rpc_error(caught.value)) is QueueFull


async def test_a_stream_that_is_left_early_ends_at_the_server() -> None:
    script = Script(hang=True)
    async with running_rig(script) as rig:
        stub = portrait_pb2_grpc.PortraitAnimationServiceStub(rig.channel)
        with ending(stub.Animate(animate_request())) as call:
            await call.read()
            await script.entered.wait()
        await asyncio.wait_for(script.cancelled.wait(), PATIENCE_S)


async def test_ending_leaves_a_finished_call_as_it_is() -> None:
    async with running_rig() as rig:
        stub = portrait_pb2_grpc.PortraitAnimationServiceStub(rig.channel)
        with ending(stub.Animate(animate_request())) as call:
            assert len([reply async for reply in call]) == 2
        assert await call.code() is grpc.StatusCode.OK


async def test_nobody_there_is_stage_unavailable() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await portrait_pb2_grpc.PortraitAnimationServiceStub(channel).Inspect(animate_request(), timeout=PATIENCE_S)
    error = from_rpc_error(caught.value)
    assert type(error) is StageUnavailable
    assert error.retryable


async def test_calls_go_round_all_addresses() -> None:
    first, second = Script(), Script()
    async with (
        running_rig(first) as one,
        running_rig(second) as two,
        open_channel(f"ipv4:{one.running.address},{two.running.address}") as channel,
    ):
        stub = portrait_pb2_grpc.PortraitAnimationServiceStub(channel)
        async with asyncio.timeout(PATIENCE_S):
            while not (first.seen and second.seen):  # for a while only one may be connected
                with ending(stub.Animate(animate_request())) as call:
                    async for _ in call:
                        pass
