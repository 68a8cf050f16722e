"""The proof: start a stack and ask each stage what it computes with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema.lipsync.v1 import lipsync_pb2, lipsync_pb2_grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.channel import open_channel

from visema_client.diagnosis.check import Check, bad, good, note
from visema_client.localstack import LocalStack, LocalStackError, StackOptions

DESCRIBE_S = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial start showed.

    Attributes:
        checks: The start itself, then one check a stage.
        engines: Stage to the engine that it has.
        degraded: Whether a stage lacks its best engine.
    """

    checks: tuple[Check, ...]
    engines: Mapping[str, str]
    degraded: bool


def try_stack() -> Trial:
    """Start a private stack, ask its stages, and stop it."""
    try:
        with LocalStack(StackOptions()) as stack:
            ready_s = max(stack.ready_after_s.values())
            described = asyncio.run(_describe({name: service.address for name, service in stack.services.items()}))
    except LocalStackError as error:
        lines = error.log_tail.splitlines()
        last_words = f" ({lines[-1][:300]})" if lines else ""
        return Trial((bad("Stack", error.message + last_words, error.hint),), {}, degraded=True)
    except grpc.RpcError as error:
        return Trial((bad("Stack", f"a stage does not answer: {error}", "Try again."),), {}, degraded=True)
    checks = [good("Stack", f"ready after {ready_s:.1f} s")]
    for stage, engine in described.items():
        found = f"{engine.name} {engine.version} on {engine.device}"
        checks.append(
            note(f"Stage {stage}", f"{found}, degraded", engine.degraded_reason)
            if engine.degraded
            else good(f"Stage {stage}", found)
        )
    names = {stage: engine.name for stage, engine in described.items()}
    return Trial(tuple(checks), names, any(engine.degraded for engine in described.values()))


async def _describe(addresses: Mapping[str, str]) -> dict[str, common_pb2.EngineInfo]:
    """Ask the three stages."""
    async with (
        open_channel(addresses["liveportrait"]) as portrait,
        open_channel(addresses["wav2lip"]) as lips,
        open_channel(addresses["encoder"]) as encoding,
    ):
        first = await portrait_pb2_grpc.PortraitAnimationServiceStub(portrait).Describe(
            portrait_pb2.DescribeRequest(), timeout=DESCRIBE_S
        )
        second = await lipsync_pb2_grpc.LipSyncServiceStub(lips).Describe(
            lipsync_pb2.DescribeRequest(), timeout=DESCRIBE_S
        )
        third = await encoding_pb2_grpc.EncodingServiceStub(encoding).Describe(
            encoding_pb2.DescribeRequest(), timeout=DESCRIBE_S
        )
    return {"liveportrait": first.engine, "wav2lip": second.engine, "encoder": third.engine}
