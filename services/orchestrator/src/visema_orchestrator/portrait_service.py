"""PortraitAnimationService as clients of the orchestrator see it: they may look at portraits; jobs animate them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.auth import current_tenant
from visema_kit.errors import PreconditionFailed
from visema_kit.interceptors import time_left_s

from visema_orchestrator.checks import MediaChecks
from visema_orchestrator.ids import new_id
from visema_orchestrator.stages import Stages

Context = grpc.aio.ServicerContext[Any, Any]


class PortraitServicer(portrait_pb2_grpc.PortraitAnimationServiceServicer):
    """Hands questions on to the animation service, on behalf of the tenant whom the token names."""

    def __init__(self, checks: MediaChecks, stages: Stages, timeout_s: float) -> None:
        self._checks = checks
        self._stages = stages
        self._timeout_s = timeout_s

    async def Describe(  # noqa: N802  # the RPC's name
        self, _request: portrait_pb2.DescribeRequest, _context: Context
    ) -> portrait_pb2.DescribeResponse:
        """The engine that animates."""
        return await self._stages.describe_animation(self._timeout_s)

    async def Inspect(  # noqa: N802  # the RPC's name
        self, request: portrait_pb2.InspectRequest, context: Context
    ) -> portrait_pb2.InspectResponse:
        """The faces of a portrait; a job of the same picture finds them known."""
        own = portrait_pb2.InspectRequest()
        own.CopyFrom(request)
        own.context.tenant, own.context.work_id = current_tenant(), new_id()
        timeout_s = min(self._timeout_s, time_left_s(context) or self._timeout_s)
        return await self._checks.portrait(own, "portrait", timeout_s)

    async def Animate(  # noqa: N802  # the RPC's name
        self, _request: portrait_pb2.AnimateRequest, _context: Context
    ) -> AsyncIterator[portrait_pb2.AnimateResponse]:
        """Refused: the stage takes the tenant of a request at its word, which only the orchestrator may give."""
        none: tuple[portrait_pb2.AnimateResponse, ...] = ()
        for reply in none:  # a function without `yield` would be no stream
            yield reply
        raise PreconditionFailed("Portraits are animated as part of a job: give one as `spec.portrait` of CreateJob.")
