"""SpeechService as clients of the orchestrator see it: they may list voices, and speak through jobs only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.errors import PreconditionFailed

from visema_orchestrator.stages import Stages

Context = grpc.aio.ServicerContext[Any, Any]


class VoiceServicer(speech_pb2_grpc.SpeechServiceServicer):
    """Hands questions on to the speech service."""

    def __init__(self, stages: Stages, timeout_s: float) -> None:
        self._stages = stages
        self._timeout_s = timeout_s

    async def Describe(  # noqa: N802  # the RPC's name
        self, _request: speech_pb2.DescribeRequest, _context: Context
    ) -> speech_pb2.DescribeResponse:
        """The engine that speaks."""
        return await self._stages.describe_speech(self._timeout_s)

    async def ListVoices(  # noqa: N802  # the RPC's name
        self, request: speech_pb2.ListVoicesRequest, _context: Context
    ) -> speech_pb2.ListVoicesResponse:
        """A page of voices."""
        return await self._stages.list_voices(request, self._timeout_s)

    async def Synthesize(  # noqa: N802  # the RPC's name
        self, _request: speech_pb2.SynthesizeRequest, _context: Context
    ) -> AsyncIterator[speech_pb2.SynthesizeResponse]:
        """Refused: the stage takes the tenant of a request at its word, which only the orchestrator may give."""
        none: tuple[speech_pb2.SynthesizeResponse, ...] = ()
        for reply in none:  # a function without `yield` would be no stream
            yield reply
        raise PreconditionFailed("Text is spoken as part of a job: give it as `spec.text` of CreateJob.")
